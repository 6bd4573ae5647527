"""Brings a database to the tables that this version of the code knows, or works on with those of a later one."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from peewee import Database
from playhouse.migrations import Runner

from hpcgate.errors import SchemaTooNew
from hpcgate.store.dialect import Dialect

_log = logging.getLogger(__name__)

_FILES: Final = Path(__file__).with_name("migrations")
#: The first step that a program must know to work on this database: see ``migrations``.
FLOOR: Final = "SELECT value FROM counter WHERE name = 'schema_floor'"


@dataclass(frozen=True, slots=True)
class MigrationStatus:
    """One step of the schema.

    Args:
        name: name of its file, without ``.py``.
        applied_at: when it was applied (local time); ``None`` = it has still to be.
        known: whether it is a step of this version, not of a later one.
        breaks: whether this version cannot work on the database because of it.
    """

    name: str
    applied_at: datetime | None
    known: bool = True
    breaks: bool = False


def newest(files: Path = _FILES) -> int:
    """The number of the last step that this version knows."""
    return max(_number(path.name) for path in files.glob("[0-9]*.py"))


def status(db: Dialect, files: Path = _FILES) -> list[MigrationStatus]:
    """All steps: those that are applied, those that are not, and those of a later version."""
    with db.schema() as peewee:
        return _status(peewee, _runner(peewee, files))


def migrate(db: Dialect, files: Path = _FILES) -> None:
    """Applies what is missing. Processes that do so at the same time wait for each other.

    Raises:
        SchemaTooNew: a later version has changed the database so that this one cannot work on it.
    """
    with db.schema() as peewee:
        runner = _runner(peewee, files)
        if _missing(db, _status(peewee, runner)):
            with db.migrating():
                if _missing(db, _status(peewee, runner)):  # nobody else has done it while we waited
                    runner.up()


def too_new(name: str, steps: Sequence[str]) -> SchemaTooNew:
    """The error for a database that this version cannot work on."""
    return SchemaTooNew(
        f"{name}: was made by a later version of hpcgate (it has {', '.join(steps)}); "
        "upgrade hpcgate, or name another database"
    )


def _runner(peewee: Database, files: Path) -> Any:
    return Runner(peewee, str(files))  # type: ignore[no-untyped-call]


def _status(peewee: Database, runner: Any) -> list[MigrationStatus]:
    steps = runner.status()
    floor = _floor(peewee) if any(step.path is None for step in steps) else 0
    return [
        MigrationStatus(
            step.name,
            step.applied,
            known=step.path is not None,
            breaks=step.path is None and (floor is None or step.idx <= floor),
        )
        for step in steps
    ]


def _floor(peewee: Database) -> int | None:
    """``None`` = the database does not say."""
    if not peewee.table_exists("counter"):
        return None
    row = peewee.execute_sql(FLOOR).fetchone()  # type: ignore[no-untyped-call]
    return None if row is None else int(row[0])


def _missing(db: Dialect, steps: Sequence[MigrationStatus]) -> bool:
    breaking = [step.name for step in steps if step.breaks]
    if breaking:
        raise too_new(db.name, breaking)
    later = [step.name for step in steps if not step.known]
    if later:
        _log.warning("%s: was upgraded by a later version of hpcgate (%s); going on", db.name, ", ".join(later))
    return any(step.applied_at is None for step in steps)


def _number(name: str) -> int:
    return int(name.partition("_")[0])
