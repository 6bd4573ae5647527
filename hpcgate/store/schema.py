"""Brings a database to the tables that this version of the code knows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from playhouse.migrations import Runner

from hpcgate.errors import ConfigError
from hpcgate.store.sqlite import ThreadSqlite

_FILES: Final = Path(__file__).with_name("migrations")


@dataclass(frozen=True, slots=True)
class MigrationStatus:
    """One step of the schema.

    Args:
        name: name of its file, without ``.py``.
        applied_at: when it was applied (local time); ``None`` = it has still to be.
    """

    name: str
    applied_at: datetime | None


def status(db: ThreadSqlite, files: Path = _FILES) -> list[MigrationStatus]:
    """All steps, those that are applied and those that are not."""
    return [MigrationStatus(step.name, step.applied) for step in _runner(db, files).status()]


def migrate(db: ThreadSqlite, files: Path = _FILES) -> None:
    """Applies what is missing. Processes that do so at the same time wait for each other.

    Raises:
        ConfigError: the database was made by a later version.
    """
    runner = _runner(db, files)
    if _missing(db, runner):
        with _alone(db):
            if _missing(db, runner):  # nobody else has done it while we waited
                runner.up()


def _runner(db: ThreadSqlite, files: Path) -> Any:
    return Runner(db, str(files))  # type: ignore[no-untyped-call]


def _missing(db: ThreadSqlite, runner: Any) -> bool:
    steps = runner.status()
    unknown = [step.name for step in steps if step.path is None]
    if unknown:
        raise ConfigError(
            f"{db.database}: was made by a later version of hpcgate (it has {', '.join(unknown)}); "
            "upgrade hpcgate, or name another database"
        )
    return any(step.applied is None for step in steps)


@contextmanager
def _alone(db: ThreadSqlite) -> Iterator[None]:
    # The write lock of the file is the lock of the migrations: each step is a savepoint of this transaction. Foreign
    # keys are off, since a step that rebuilds a table drops the old one; they can be switched only out here.
    db.pragma("foreign_keys", 0)
    try:
        with db.atomic():
            yield
            broken = db.run("PRAGMA foreign_key_check").fetchall()
            assert not broken, broken
    finally:
        db.pragma("foreign_keys", 1)
