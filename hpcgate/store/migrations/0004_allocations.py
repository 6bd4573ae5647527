"""Projects and shares, what is used of them, and what each job costs."""

from __future__ import annotations

from typing import Any

from peewee import (
    BigIntegerField,
    BooleanField,
    CompositeKey,
    Database,
    ForeignKeyField,
    IntegerField,
    Model,
    SqliteDatabase,
    TextField,
)


def up(migrator: Any, db: Database) -> None:
    """Makes the tables."""
    lean = isinstance(db, SqliteDatabase)  # SQLite: keep narrow rows inside their primary key

    class JobRow(Model):
        id = BigIntegerField(primary_key=True)

        class Meta:
            database = db
            table_name = "job"

    class AllocationRow(Model):
        kind = TextField()
        name = TextField()
        default_at = TextField(null=True, unique=True)
        settings = TextField()

        class Meta:
            database = db
            table_name = "allocation"
            primary_key = CompositeKey("kind", "name")
            without_rowid = lean

    class MemberRow(Model):
        kind = TextField()
        name = TextField()
        principal = TextField()
        time_s = BigIntegerField(null=True)
        space_kb = BigIntegerField(null=True)

        class Meta:
            database = db
            table_name = "allocation_member"
            primary_key = CompositeKey("kind", "name", "principal")
            indexes = ((("principal", "kind"), False),)
            without_rowid = lean

    class BalanceRow(Model):
        project = TextField()
        principal = TextField()
        used_s = BigIntegerField()
        reserved_s = BigIntegerField()
        used_kb = BigIntegerField()
        reserved_kb = BigIntegerField()

        class Meta:
            database = db
            table_name = "quota_balance"
            primary_key = CompositeKey("project", "principal")
            without_rowid = lean

    class ChargeRow(Model):
        job = ForeignKeyField(JobRow, column_name="job_id", primary_key=True, on_delete="CASCADE")
        project = TextField(index=True)
        principal = TextField()
        weighting = TextField()
        units = BigIntegerField()
        width = IntegerField()
        time_s = BigIntegerField()
        space_kb = BigIntegerField()
        used_s = BigIntegerField()
        settled = BooleanField()

        class Meta:
            database = db
            table_name = "quota_charge"

    class LoadRow(Model):
        job = ForeignKeyField(JobRow, column_name="job_id", primary_key=True, on_delete="CASCADE")
        share = TextField(index=True)
        cpus = BigIntegerField()
        memory_mib = BigIntegerField()
        gpus = BigIntegerField()
        passed = BooleanField()

        class Meta:
            database = db
            table_name = "share_load"

    db.create_tables([AllocationRow, MemberRow, BalanceRow, ChargeRow, LoadRow])
