"""An index of the jobs whose usage accounting has still to tell."""

from __future__ import annotations

from typing import Any

from peewee import Database


def up(migrator: Any, db: Database) -> None:
    """Makes the index. Only jobs that an exit record has ended have an entry, and only while their usage is unknown."""
    db.execute_sql(  # type: ignore[no-untyped-call]
        "CREATE INDEX job_without_usage ON job (site, updated_at) "
        "WHERE evidence = 'exit_file' AND cpu_time_s IS NULL AND max_rss_kib IS NULL"
    )
