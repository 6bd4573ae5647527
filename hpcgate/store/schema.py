"""Brings a database to the tables that this version of the code knows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from peewee import Database
from playhouse.migrations import Runner

from hpcgate.errors import ConfigError
from hpcgate.store.dialect import Dialect

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


def status(db: Dialect, files: Path = _FILES) -> list[MigrationStatus]:
    """All steps, those that are applied and those that are not."""
    with db.schema() as peewee:
        return [MigrationStatus(step.name, step.applied) for step in _runner(peewee, files).status()]


def migrate(db: Dialect, files: Path = _FILES) -> None:
    """Applies what is missing. Processes that do so at the same time wait for each other.

    Raises:
        ConfigError: the database was made by a later version.
    """
    with db.schema() as peewee:
        runner = _runner(peewee, files)
        if _missing(db, runner):
            with db.migrating():
                if _missing(db, runner):  # nobody else has done it while we waited
                    runner.up()


def _runner(peewee: Database, files: Path) -> Any:
    return Runner(peewee, str(files))  # type: ignore[no-untyped-call]


def _missing(db: Dialect, runner: Any) -> bool:
    steps = runner.status()
    unknown = [step.name for step in steps if step.path is None]
    if unknown:
        raise ConfigError(
            f"{db.name}: was made by a later version of hpcgate (it has {', '.join(unknown)}); "
            "upgrade hpcgate, or name another database"
        )
    return any(step.applied is None for step in steps)
