"""How often sites were asked, and how often they did not answer."""

from __future__ import annotations

from typing import Any

from peewee import Database, PostgresqlDatabase


def up(migrator: Any, db: Database) -> None:
    """Adds the columns."""
    number = "BIGINT" if isinstance(db, PostgresqlDatabase) else "INTEGER"
    for name in ("polls", "failures"):
        db.execute_sql(f"ALTER TABLE site ADD COLUMN {name} {number} NOT NULL DEFAULT 0")  # type: ignore[no-untyped-call]
