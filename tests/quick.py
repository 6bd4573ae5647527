"""What takes its time in the product, once or on purpose, made quick in the process of the tests.

The steps of the schema take half of the time in which a gateway opens, and most tests open one: an empty SQLite
database is filled with a copy of one that was migrated. The steps are taken one by one where a test names them
(``tests/store/test_database.py``) and in every process that a test starts. Passwords are hashed with little work.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from hpcgate.store import schema
from hpcgate.store.dialect import Dialect
from hpcgate.store.sqlite import ThreadSqlite

_migrate = schema.migrate


def _migrated(folder: Path) -> sqlite3.Connection:
    """A database in memory with the present schema."""
    db = ThreadSqlite(folder / "migrated.db")
    _migrate(db)
    copy = sqlite3.connect(":memory:", check_same_thread=False)
    db.connection().backup(copy)  # type: ignore[no-untyped-call]
    db.close_all()
    return copy


@pytest.fixture(scope="session", autouse=True)
def _cheap_passwords() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hpcgate.service.passwords.WORK", 1 << 4)
        yield


@pytest.fixture(scope="session", autouse=True)
def _quick_first_start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    ready: list[sqlite3.Connection] = []
    lock = threading.Lock()

    def migrate(db: Dialect, *files: Path) -> None:
        with lock:
            if isinstance(db, ThreadSqlite) and not files and not db.read("SELECT 1 FROM sqlite_master"):
                if not ready:
                    ready.append(_migrated(tmp_path_factory.mktemp("migrated")))
                ready[0].backup(db.connection())  # type: ignore[no-untyped-call]
        _migrate(db, *files)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hpcgate.store.database.schema.migrate", migrate)
        yield
