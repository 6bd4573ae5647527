"""PostgreSQL through psycopg 3; peewee writes the queries and runs the migrations."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, Final
from urllib.parse import quote

import psycopg
from peewee import Database, IntegrityError, Node, PostgresqlDatabase
from psycopg import errors
from psycopg.conninfo import conninfo_to_dict
from psycopg.types.numeric import IntLoader
from psycopg.types.string import StrDumperUnknown

from hpcgate.errors import ConfigError, DatabaseUnavailable
from hpcgate.store import writer
from hpcgate.store.dialect import Row, StatementTimeout
from hpcgate.store.listener import Listener
from hpcgate.store.pool import Connection, Pool

OLDEST_VERSION: Final = 13
STATEMENT_TIMEOUT: Final = "60s"

_CHANNEL: Final = "hpcgate"
_NO_LIMIT: Final = f"SET LOCAL statement_timeout = '{STATEMENT_TIMEOUT}'"
_COMMIT: Final = f"NOTIFY {_CHANNEL}; COMMIT"

#: What libpq is told where the URL says nothing else. The times are seconds.
_CONNECT: Final = {
    "application_name": "hpcgate",
    "connect_timeout": "5",
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "target_session_attrs": "read-write",
}

#: What every connection is set to.
_SETTINGS: Final = {
    "client_encoding": "UTF8",
    "statement_timeout": STATEMENT_TIMEOUT,
    "lock_timeout": f"{writer.WAIT_S:g}s",
    "idle_in_transaction_session_timeout": f"{writer.SILENT_S:g}s",
    "default_transaction_isolation": "read committed",
    "default_transaction_read_only": "off",
    "jit": "off",  # costs more than these statements do
}
_SET: Final = (
    "SELECT "
    + ", ".join(f"set_config('{name}', '{value}', false)" for name, value in _SETTINGS.items())
    # Whoever sets it to more than `on` shall keep that; with less a commit may be lost.
    + ", CASE WHEN current_setting('synchronous_commit') IN ('off', 'local') "
    "THEN set_config('synchronous_commit', 'on', false) END, current_setting('server_encoding')"
)


class _Text(StrDumperUnknown):
    """PostgreSQL stores no NUL. What comes from a site is rid of them before; what is looked for just is not there."""

    def dump(self, obj: str) -> Any:
        return super().dump(obj.replace("\0", "\N{REPLACEMENT CHARACTER}") if "\0" in obj else obj)


class _Peewee(PostgresqlDatabase):
    """Peewee on connections of our own making."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres
        super().__init__(postgres.name, prefer_psycopg3=True)

    def _connect(self) -> Connection:
        return self._postgres.connect()


class _Local(threading.local):
    """The connection of the calling thread's transaction."""

    connection: Connection | None = None


class Postgres:
    """A PostgreSQL database.

    Statements take a connection for as long as they run, transactions until they end; so a few connections serve many
    threads. Transactions are one after the other, over all processes, as they are on SQLite: what one has read still
    holds when it writes, and none has to be tried again.

    Args:
        url: ``postgresql://USER@HOST:PORT/NAME``; what it does not say libpq takes from its environment.
        pool: most connections, beside the one that listens.

    Raises:
        ConfigError: the URL is none.
    """

    def __init__(self, url: str, pool: int) -> None:
        self._params = {**_CONNECT, **_parsed(url)}
        self.name = without_secrets(url)
        self._peewee = _Peewee(self)
        self._pool = Pool(self.connect, pool)
        self._listener = Listener(self.connect, _CHANNEL)
        self._local = _Local()

    def connect(self) -> Connection:
        """Opens a connection beside the pool.

        Raises:
            ConfigError: the database is none that could be used.
            psycopg.OperationalError: it cannot be reached, or lets us not in.
        """
        connection: Connection = psycopg.connect(**self._params, autocommit=True)
        try:
            version = connection.info.server_version
            if version < OLDEST_VERSION * 10_000:
                raise ConfigError(
                    f"database {self.name}: is PostgreSQL {version // 10_000}; hpcgate needs {OLDEST_VERSION} or later"
                )
            row = connection.execute(_SET).fetchone()
            assert row is not None
            if row[-1] != "UTF8":
                raise ConfigError(
                    f"database {self.name}: has the encoding {row[-1]}; make it with ENCODING 'UTF8' TEMPLATE template0"
                )
            connection.adapters.register_dumper(str, _Text)
            # Sums of integers, which PostgreSQL calls numeric; nothing else here is. Decimals take long to make.
            connection.adapters.register_loader("numeric", IntLoader)
        except BaseException:
            connection.close()
            raise
        return connection

    # --- statements

    def read(self, statement: str | Node, params: Iterable[Any] = ()) -> list[Row]:
        """Runs a statement; all rows that it gives."""
        with self._cursor() as cursor:
            cursor.execute(*self._sql(statement, params))
            return cursor.fetchall()

    def write(self, statement: str | Node, params: Iterable[Any] = ()) -> int:
        """Runs a statement that changes rows; how many."""
        with self._cursor() as cursor:
            return cursor.execute(*self._sql(statement, params)).rowcount

    def write_many(self, statement: str, rows: Iterable[Sequence[Any]]) -> None:
        """Runs a statement once for each row of parameters."""
        with self._cursor() as cursor:
            cursor.executemany(_marked(statement), rows)

    def newest(self, arms: Sequence[str], limit: int, *, order: str = "id DESC", offset: int = 0) -> str:
        """Merges selects: without a limit on each PostgreSQL would read and sort all of it."""
        last = f"ORDER BY {order} LIMIT {limit:d} OFFSET {offset:d}"
        of_each = f"ORDER BY {order} LIMIT {limit + offset:d}"
        merged = " UNION ALL ".join(f"({arm} {of_each})" for arm in arms)
        return f"{merged} {last}" if len(arms) > 1 else f"{arms[0]} {last}"

    def among(self, column: str, numbers: Sequence[int]) -> tuple[str, Sequence[Any]]:
        """A condition that a column has one of some numbers: one array, for a statement is dearer than its rows."""
        return f"{column} = ANY(?)", [list(numbers)]

    def hidden(self, column: str) -> str:
        """A column as it is: PostgreSQL knows how common its values are, and would misjudge anything else."""
        return column

    def _sql(self, statement: str | Node, params: Iterable[Any]) -> tuple[Any, Sequence[Any]]:
        if isinstance(statement, Node):
            sql, values = self._peewee.get_sql_context().sql(statement).query()  # type: ignore[no-untyped-call]
            return sql, values
        return _marked(statement), tuple(params)

    @contextmanager
    def _cursor(self) -> Iterator[psycopg.Cursor[Row]]:
        with self._translated(), self._connection() as connection, connection.cursor() as cursor:
            yield cursor

    @contextmanager
    def _connection(self) -> Iterator[Connection]:
        """The transaction's connection, or any."""
        if self._local.connection is not None:
            yield self._local.connection
        else:
            with self._pool.connection() as connection:
                yield connection

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Errors of psycopg as those that the store knows."""
        try:
            yield
        except errors.IntegrityError as error:
            raise IntegrityError(str(error)) from error
        except errors.QueryCanceled as error:
            raise StatementTimeout(f"database {self.name}: {one_line(error)}") from error
        except _UNAVAILABLE as error:
            raise DatabaseUnavailable(f"database {self.name}: {one_line(error)}") from error

    # --- transactions

    def in_transaction(self) -> bool:
        """Whether the calling thread is in a transaction."""
        return self._local.connection is not None

    @contextmanager
    def atomic(self) -> Iterator[None]:
        """All or nothing, and nobody else writes meanwhile. Inside another one it is a savepoint."""
        if self._local.connection is not None:
            with self._translated(), self._local.connection.transaction():
                yield
        else:
            with self._translated(), self._pool.connection() as connection, self._held(connection):
                writer.begin(connection)
                yield
                connection.execute(_COMMIT)

    @contextmanager
    def time_limit(self, seconds: float) -> Iterator[None]:
        """Ends reading statements of this thread that are not done in time.

        Raises:
            StatementTimeout: one was not.
        """
        limit = f"SET LOCAL statement_timeout = {max(1, int(seconds * 1000))}"
        if self._local.connection is not None:
            with self._translated(), self._local.connection.transaction():
                self._local.connection.execute(limit)
                yield
                self._local.connection.execute(_NO_LIMIT)
        else:
            with self._translated(), self._pool.connection() as connection, self._held(connection):
                connection.execute(f"BEGIN READ ONLY; {limit}")
                yield

    @contextmanager
    def _held(self, connection: Connection) -> Iterator[None]:
        """Makes a connection the thread's own; what was not committed at the end is undone."""
        try:
            self._local.connection = connection
            yield
        finally:
            self._local.connection = None
            if connection.info.transaction_status in _IN_TRANSACTION:
                connection.execute("ROLLBACK")

    @contextmanager
    def schema(self) -> Iterator[Database]:
        """What migrations run on: a connection beside the pool."""
        try:
            yield self._peewee
        finally:
            self._peewee.close()

    @contextmanager
    def migrating(self) -> Iterator[None]:
        """A transaction on ``schema`` for changes to it: one process at a time, and nobody writes."""
        with self._peewee.atomic():
            self._peewee.execute_sql("SET LOCAL statement_timeout = 0")  # type: ignore[no-untyped-call]
            self._peewee.execute_sql("SET LOCAL lock_timeout = 0")  # type: ignore[no-untyped-call]
            self._peewee.execute_sql(writer.TAKE)  # type: ignore[no-untyped-call]
            yield

    # --- all of it

    def version(self) -> tuple[int, ...]:
        """Changes soon after anything was committed; microseconds."""
        return self._listener.version()

    def release(self) -> None:
        """Gives back what the calling thread holds: a transaction ends by itself, so that is nothing."""

    def close_all(self) -> None:
        """Closes all connections, those in use once they are not; none can be opened after that."""
        self._listener.close()
        self._pool.close()


_UNAVAILABLE: Final = (
    psycopg.OperationalError,
    psycopg.InterfaceError,
    errors.IdleInTransactionSessionTimeout,
    errors.ReadOnlySqlTransaction,
)
_IN_TRANSACTION: Final = (psycopg.pq.TransactionStatus.INTRANS, psycopg.pq.TransactionStatus.INERROR)


@lru_cache(maxsize=512)
def _marked(sql: str) -> str:
    return sql.replace("%", "%%").replace("?", "%s")


def one_line(error: Exception) -> str:
    """The message of an error."""
    # libpq tells of every address that it tried, a line each.
    return "; ".join(line.strip() for line in str(error).strip().splitlines() if line.strip())


def _parsed(url: str) -> dict[str, Any]:
    try:
        return dict(conninfo_to_dict(url))
    except psycopg.ProgrammingError:
        # The driver's message repeats the URL, which may hold a password.
        raise ConfigError(
            "database: the postgresql:// URL cannot be read; use postgresql://USER@HOST:PORT/NAME?OPTION=VALUE, and "
            "write what is no letter or digit in names and passwords as %XX"
        ) from None


def without_secrets(url: str) -> str:
    """A URL as messages may show it."""
    params = _parsed(url)
    user = f"{quote(str(params['user']))}@" if params.get("user") else ""
    port = f":{params['port']}" if params.get("port") else ""
    return f"postgresql://{user}{params.get('host') or ''}{port}/{params.get('dbname') or ''}"
