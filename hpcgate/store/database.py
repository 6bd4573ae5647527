"""Opens the database: the one way into the store."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Final

from peewee import DatabaseError

from hpcgate.errors import ConfigError
from hpcgate.model.allocation import Project, Share
from hpcgate.store import schema
from hpcgate.store.allocations import AllocationStore
from hpcgate.store.cipher import Cipher as Cipher
from hpcgate.store.deliveries import DeliveryStore
from hpcgate.store.dialect import Dialect
from hpcgate.store.events import EventStore
from hpcgate.store.foreign import ForeignIdStore
from hpcgate.store.identities import IdentityStore
from hpcgate.store.jobs import JobStore
from hpcgate.store.leases import LeaseStore
from hpcgate.store.logins import LoginStore
from hpcgate.store.mail import MailStore
from hpcgate.store.node_states import NodeStateStore
from hpcgate.store.outbox import OutboxStore
from hpcgate.store.quota import QuotaStore
from hpcgate.store.record_archiving import RecordArchiving
from hpcgate.store.record_tags import RecordTagStore
from hpcgate.store.records import RecordStore
from hpcgate.store.retention import RetentionStore
from hpcgate.store.schema import MigrationStatus as MigrationStatus
from hpcgate.store.session import Session
from hpcgate.store.shares import ShareLoadStore
from hpcgate.store.sites import SiteStore
from hpcgate.store.sqlite import ThreadSqlite
from hpcgate.store.webhooks import WebhookStore

_SQLITE: Final = "sqlite:///"
_POSTGRES: Final = ("postgresql://", "postgres://")

#: Most connections of one process to PostgreSQL.
POOL: Final = 10


class Store:
    """A database. Threads may share it; processes open their own (after a fork, not before)."""

    def __init__(self, db: Dialect, *, cipher: Cipher | None = None, topics: Sequence[str] = ()) -> None:
        self._db = db
        self._session = Session(db, topics)
        self.jobs = JobStore(self._session, cipher)
        self.events = EventStore(self._session)
        self.outbox = OutboxStore(self._session)
        self.identities = IdentityStore(self._session)
        self.logins = LoginStore(self._session)
        self.leases = LeaseStore(self._session)
        self.sites = SiteStore(self._session)
        self.retention = RetentionStore(self._session)
        self.foreign = ForeignIdStore(self._session)
        self.projects = AllocationStore(self._session, Project)
        self.shares = AllocationStore(self._session, Share)
        self.quota = QuotaStore(self._session)
        self.share_loads = ShareLoadStore(self._session)
        self.webhooks = WebhookStore(self._session, cipher)
        self.deliveries = DeliveryStore(self._session)
        self.mail = MailStore(self._session)
        self.records = RecordStore(self._session, RecordTagStore(self._session))
        self.archiving = RecordArchiving(self._session, self.records)
        self.node_states = NodeStateStore(self._session)

    def transaction(self) -> AbstractContextManager[None]:
        """All that is written inside is written together, durably, or not at all; nobody else writes meanwhile.

        An inner transaction is part of the outer one. If it fails, what it did is undone and the outer one may go on.
        """
        return self._session.transaction()

    def version(self) -> tuple[int, ...]:
        """Changes whenever any process or thread has committed something. Costs microseconds.

        On SQLite it has changed when the commit is over, on PostgreSQL it changes milliseconds later. Compare it only
        with what the same thread got before; now and then it changes without need.
        """
        return self._db.version()

    def schema_status(self) -> list[MigrationStatus]:
        """All steps of the schema, with the time at which each was applied."""
        return schema.status(self._db)

    def check_schema(self) -> None:
        """Looks whether this version may still work on the database, which a later one may have upgraded meanwhile.

        Raises:
            SchemaTooNew: it may not.
        """
        row = self._session.one(schema.FLOOR)
        if row is not None and row[0] > schema.newest():
            raise schema.too_new(self._db.name, [f"step {row[0]}"])

    def release(self) -> None:
        """Gives the calling thread's connection back; the next use takes another one."""
        self._db.release()

    def close(self) -> None:
        """Closes the connections of all threads, for good."""
        self._db.close_all()


def open_store(url: str, *, cipher: Cipher | None = None, topics: Sequence[str] = (), pool: int = POOL) -> Store:
    """Opens a database, and brings it to the present schema.

    Args:
        url: ``sqlite:///PATH``, where PATH is absolute, relative to the current folder, or begins with ``~/``; or
            ``postgresql://USER@HOST:PORT/NAME``.
        cipher: encrypts secrets; without it jobs with secrets are refused.
        topics: names of queues; each gets an outbox row for every event.
        pool: most connections to PostgreSQL.

    Raises:
        ConfigError: the URL is bad, the database cannot be opened, or a later version has made it unusable for this.
    """
    with _explained(url, "cannot be opened"):
        db = _postgres(url, pool) if url.startswith(_POSTGRES) else _sqlite(_path(url))
        try:
            schema.migrate(db)
        except BaseException:
            db.close_all()
            raise
    return Store(db, cipher=cipher, topics=topics)


def read_schema(url: str) -> list[MigrationStatus]:
    """The steps of a database's schema as they are. Nothing is made and nothing is applied.

    Raises:
        ConfigError: the URL is bad, or there is no database that can be read.
    """
    with _explained(url, "cannot be read"):
        db = _postgres(url, 1) if url.startswith(_POSTGRES) else _present_sqlite(url)
        try:
            return schema.status(db)
        finally:
            db.close_all()


@contextmanager
def _explained(url: str, what: str) -> Iterator[None]:
    """Errors of a driver as what is wrong with the configuration."""
    try:
        yield
    except DatabaseError as error:
        if url.startswith(_POSTGRES):
            from hpcgate.store.postgres import one_line, without_secrets

            raise ConfigError(f"database {without_secrets(url)} {what}: {one_line(error)}") from None
        raise ConfigError(f"database {url}: {_path(url)} {what}: {error}") from error


def _postgres(url: str, pool: int) -> Dialect:
    try:
        from hpcgate.store.postgres import Postgres
    except ImportError as error:
        raise ConfigError(
            f"database: postgresql:// needs psycopg, which cannot be imported ({error}); install 'hpcgate[postgres]'"
        ) from error
    return Postgres(url, pool)


def _sqlite(path: Path) -> Dialect:
    try:
        _make(path)
    except OSError as error:
        raise ConfigError(f"database sqlite:///{path}: {path} cannot be made: {error.strerror}") from error
    db = ThreadSqlite(path)
    try:
        db.use_wal()
    except BaseException:
        db.close_all()
        raise
    return db


def _present_sqlite(url: str) -> Dialect:
    path = _path(url)
    if not path.exists():
        raise ConfigError(f"database {url}: {path} does not exist")
    return ThreadSqlite(path)


def _path(url: str) -> Path:
    if not url.startswith(_SQLITE):
        # What is no URL may hold a password all the same.
        scheme, known, _ = url.partition("://")
        shown = f"{scheme}://..." if known else repr(url)
        raise ConfigError(f"database: {shown} is no database URL; use sqlite:///PATH or postgresql://USER@HOST/NAME")
    path = url.removeprefix(_SQLITE)
    if not path or path == ":memory:":
        raise ConfigError(f"database: {url!r} names no file; use sqlite:///PATH")
    return Path(path).expanduser().absolute()


def _make(path: Path) -> None:
    """Makes the file, for its owner alone: it holds password hashes."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Never by opening it: closing any descriptor of the file drops the locks that this process's other connections
    # hold, and then another process that ends takes the WAL away under them.
    with suppress(FileExistsError):
        os.mknod(path, 0o600)
