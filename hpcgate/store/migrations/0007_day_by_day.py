"""Sites that take no new jobs, jobs that may go, what was pruned, and who may use a schema that is newer than it."""

from __future__ import annotations

from typing import Any

from peewee import BigIntegerField, Database, DoubleField, Model, TextField

#: Spelled out in the same way in every query that is to use these indices.
_MOMENT = "COALESCE(ended_at, updated_at)"
_OVER = "state IN ('COMPLETED', 'FAILED', 'CANCELED')"


def up(migrator: Any, db: Database) -> None:
    """Adds columns, indices, a table and two counters."""

    class DrainRow(Model):
        site = TextField(primary_key=True)
        reason = TextField()
        since = DoubleField()
        actor = TextField()

        class Meta:
            database = db
            table_name = "site_drain"

    db.create_tables([DrainRow])
    migrator.migrate(
        migrator.add_column("job", "expires_at", DoubleField(null=True)),
        migrator.add_column("job", "retry_of", BigIntegerField(null=True)),
    )
    for step in (
        f"CREATE INDEX job_over ON job (site, {_MOMENT}, id) WHERE {_OVER}",
        f"CREATE INDEX job_over_files ON job (site, {_MOMENT}, id) WHERE folder IS NOT NULL AND {_OVER}",
        f"CREATE INDEX job_expiring ON job (site, expires_at, id) WHERE expires_at IS NOT NULL AND {_OVER}",
        # The last event that was pruned, and the first step that a program must know to use this database.
        "INSERT INTO counter (name, value) VALUES ('event_pruned', 0), ('schema_floor', 1)",
    ):
        db.execute_sql(step)  # type: ignore[no-untyped-call]
