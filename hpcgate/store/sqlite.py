"""SQLite as peewee opens it, with the settings and the bookkeeping that many threads and processes need."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from peewee import Database, IntegrityError, InterfaceError, Node, OperationalError, SqliteDatabase

from hpcgate.errors import DatabaseUnavailable
from hpcgate.store.dialect import Row, StatementTimeout

#: How long a writer waits for the other ones, seconds.
BUSY_TIMEOUT_S: Final = 30.0

#: The byte of the index of the write-ahead log that is locked while a transaction writes.
_WRITE_LOCK: Final = "120"

#: Connections that stay open for whoever comes next: opening one costs more than most statements.
_MOST_SPARE: Final = 4

_CLOSED: Final = "the store is closed"

#: Steps of SQLite's virtual machine, well below a millisecond.
_STEPS_BETWEEN_LOOKS: Final = 10_000

_PRAGMAS: Final = {
    "synchronous": "full",  # NORMAL may lose commits at a power cut
    "foreign_keys": 1,
    "cache_size": -8000,  # KiB
    "temp_store": "memory",
}


@dataclass(frozen=True, slots=True)
class _Opened:
    """A connection that a thread has.

    Args:
        connection: the connection.
        thread: the thread.
        serial: tells it from others that had the same place in memory.
        busy: held while it works: closing one at that moment crashes the process.
    """

    connection: sqlite3.Connection
    thread: threading.Thread
    serial: int
    busy: threading.RLock = field(default_factory=threading.RLock)


class ThreadSqlite(SqliteDatabase):
    """One connection per thread; any thread can close them all.

    Every transaction begins IMMEDIATE: one that read first and wrote later would fail with "database is locked",
    whatever the time-out, once another process has written in between.
    """

    def __init__(self, path: Path) -> None:
        self._opened: dict[sqlite3.Connection, _Opened] = {}
        self._spare: list[sqlite3.Connection] = []
        self._opened_lock = threading.Lock()
        self._serial = 0
        self._shut = False
        super().__init__(
            str(path), pragmas=_PRAGMAS, timeout=BUSY_TIMEOUT_S, lock_type="IMMEDIATE", check_same_thread=False
        )

    def _connect(self) -> sqlite3.Connection:
        with self._opened_lock:
            if self._shut:
                raise InterfaceError(_CLOSED)
            self._close_of_ended_threads()
            connection: sqlite3.Connection = self._spare.pop() if self._spare else super()._connect()  # type: ignore[misc]
            self._serial += 1
            self._opened[connection] = _Opened(connection, threading.current_thread(), self._serial)
        return connection

    def _close(self, conn: sqlite3.Connection) -> None:
        with self._opened_lock:
            self._opened.pop(conn, None)
            if not self._shut and not conn.in_transaction and len(self._spare) < _MOST_SPARE:
                self._spare.append(conn)
                return
        super()._close(conn)  # type: ignore[misc]

    def _close_of_ended_threads(self) -> None:
        for connection, opened in list(self._opened.items()):
            if not opened.thread.is_alive():
                del self._opened[connection]
                connection.close()

    @property
    def name(self) -> str:
        """The file."""
        return str(self.database)

    def read(self, statement: str | Node, params: Iterable[Any] = ()) -> list[Row]:
        """Runs a statement; all rows that it gives."""
        with self._use():
            return self._run(statement, params).fetchall()

    def write(self, statement: str | Node, params: Iterable[Any] = ()) -> int:
        """Runs a statement that changes rows; how many."""
        return self._run(statement, params).rowcount

    def write_many(self, statement: str, rows: Iterable[Sequence[Any]]) -> None:
        """Runs a statement once for each row of parameters."""
        try:
            with self._use() as opened:
                opened.connection.executemany(statement, rows)
        except sqlite3.IntegrityError as error:
            raise IntegrityError(*error.args) from error

    def begin(self, lock_type: str | None = None) -> None:
        """Begins a transaction, as soon as nobody else writes.

        Raises:
            DatabaseUnavailable: another process has kept the file locked for too long.
        """
        try:
            with self._use():
                super().begin(lock_type)
        except OperationalError as error:
            if not _is_locked(error):
                raise
            raise DatabaseUnavailable(
                f"database {self.name}: {_writer(Path(self.name))} has been writing for {BUSY_TIMEOUT_S:g} s"
            ) from error

    def newest(self, arms: Sequence[str], limit: int, *, order: str = "id DESC", offset: int = 0) -> str:
        """Merges selects: SQLite reads each as far as the outer limit needs it."""
        return f"{' UNION ALL '.join(arms)} ORDER BY {order} LIMIT {limit:d} OFFSET {offset:d}"

    def among(self, column: str, numbers: Sequence[int]) -> tuple[str, Sequence[Any]]:
        """A condition that a column has one of some numbers: a parameter for each."""
        return f"{column} IN ({', '.join('?' * len(numbers))})", numbers

    def hidden(self, column: str) -> str:
        """A column in a condition for which no index is to be taken: SQLite knows not how common its values are."""
        return f"+{column}"

    def _run(self, statement: str | Node, params: Iterable[Any]) -> sqlite3.Cursor:
        if isinstance(statement, Node):
            statement, params = self.get_sql_context().sql(statement).query()  # type: ignore[no-untyped-call]
        return self.execute_sql(statement, params)

    def commit(self) -> None:
        """Peewee runs this one, and the two beside it, on a cursor of its own."""
        with self._use():
            super().commit()

    def rollback(self) -> None:
        """Undoes the transaction."""
        with self._use():
            super().rollback()

    def execute_sql(self, sql: Any, params: Any = None) -> sqlite3.Cursor:
        """What all other statements of peewee go through."""
        with self._use():
            return super().execute_sql(sql, params)  # type: ignore[no-untyped-call, no-any-return]

    @contextmanager
    def _use(self) -> Iterator[_Opened]:
        """The calling thread's connection, which nobody closes meanwhile."""
        opened = self._opened.get(self.connection())  # type: ignore[no-untyped-call]
        if opened is None:
            raise InterfaceError(_CLOSED)
        with opened.busy:
            if opened.connection not in self._opened:
                raise InterfaceError(_CLOSED)
            yield opened

    @contextmanager
    def schema(self) -> Iterator[Database]:
        """What migrations run on."""
        yield self

    @contextmanager
    def migrating(self) -> Iterator[None]:
        """A transaction for changes to the schema: one process at a time.

        The write lock of the file is the lock of the migrations: each step is a savepoint of this transaction. Foreign
        keys are off, since a step that rebuilds a table drops the old one; they can be switched only out here.
        """
        self.pragma("foreign_keys", 0)
        try:
            with self.atomic():
                yield
                broken = self.read("PRAGMA foreign_key_check")
                assert not broken, broken
        finally:
            self.pragma("foreign_keys", 1)

    @contextmanager
    def time_limit(self, seconds: float) -> Iterator[None]:
        """Ends reading statements of this thread that are not done in time.

        Raises:
            StatementTimeout: one was not.
        """
        connection: sqlite3.Connection = self.connection()  # type: ignore[no-untyped-call]
        deadline = time.monotonic() + seconds
        connection.set_progress_handler(lambda: time.monotonic() > deadline, _STEPS_BETWEEN_LOOKS)
        try:
            yield
        except OperationalError as error:
            if str(error) != "interrupted":
                raise
            raise StatementTimeout(f"a statement ran longer than {seconds:g} s") from error
        finally:
            connection.set_progress_handler(None, 0)

    def release(self) -> None:
        """Gives the calling thread's connection back; the next use takes another one."""
        self.close()

    def close_all(self) -> None:
        """Closes the connections of all threads, each once its statement is done; none can be opened after that."""
        with self._opened_lock:
            self._shut = True
            opened, spare = list(self._opened.values()), list(self._spare)
            self._opened.clear()
            self._spare.clear()
        for each in opened:
            with each.busy:
                each.connection.close()
        for connection in spare:
            connection.close()

    def version(self) -> tuple[int, ...]:
        """Changes whenever anything was committed, as the calling thread's connection sees it; microseconds."""
        with self._use() as opened:
            # data_version tells what others committed, total_changes what this connection wrote itself; both belong
            # to the connection.
            (data_version,) = opened.connection.execute("PRAGMA data_version").fetchone()
            return opened.serial, data_version, opened.connection.total_changes

    def use_wal(self) -> None:
        """Turns on the write-ahead log, which the file remembers.

        The switch needs the file alone, and SQLite does not wait for that by itself.
        """
        deadline = time.monotonic() + BUSY_TIMEOUT_S
        while True:
            try:
                self.pragma("journal_mode", "wal")
                return
            except OperationalError as error:
                if not _is_locked(error) or time.monotonic() > deadline:
                    raise
                time.sleep(0.01)


def _is_locked(error: OperationalError) -> bool:
    code = getattr(error.__context__, "sqlite_errorcode", 0)
    return bool(code & 0xFF == sqlite3.SQLITE_BUSY)  # the other bits say more closely why


def _writer(database: Path) -> str:
    """Who holds the lock of those who write, as far as Linux tells: it may be stopped and have to be ended."""
    try:
        inode = Path(f"{database}-shm").stat().st_ino
        for line in Path("/proc/locks").read_text().splitlines():
            # 12: POSIX  ADVISORY  WRITE 4711 fe:00:3064168 120 120
            *_, mode, pid, file, first, last = line.split()
            if mode == "WRITE" and file.endswith(f":{inode}") and (first, last) == (_WRITE_LOCK, _WRITE_LOCK):
                stopped = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
                return f"process {pid}{', which is stopped,' if stopped else ''}"
    except OSError:
        pass  # no Linux, or the process has just ended
    return "another process"
