"""Records by their job's name: what a list of them is in the order of is read from the index, not from the rows."""

from __future__ import annotations

from typing import Any

from peewee import Database


def up(migrator: Any, db: Database) -> None:
    """Makes an index anew."""
    for step in ("DROP INDEX record_name", "CREATE INDEX record_name ON record (name, started_at, id)"):
        db.execute_sql(step)  # type: ignore[no-untyped-call]
