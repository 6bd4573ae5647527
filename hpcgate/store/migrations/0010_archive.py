"""Records that were archived and have changed since, and those that were deleted before they were archived."""

from __future__ import annotations

from typing import Any

from peewee import BigIntegerField, BooleanField, Database, ForeignKeyField, Model, TextField


def up(migrator: Any, db: Database) -> None:
    """Adds two tables."""

    class RecordRow(Model):
        id = BigIntegerField(primary_key=True)

        class Meta:
            database = db
            table_name = "record"

    class RewriteRow(Model):
        record = ForeignKeyField(RecordRow, primary_key=True, on_delete="CASCADE", column_name="record_id")
        failed = BooleanField()
        began = BigIntegerField(null=True)

        class Meta:
            database = db
            table_name = "record_rewrite"
            indexes = ((("failed", "record"), False),)

    class GoneRow(Model):
        record_id = BigIntegerField(primary_key=True)
        document = TextField()
        failed = BooleanField()

        class Meta:
            database = db
            table_name = "record_gone"
            indexes = ((("failed", "record_id"), False),)

    db.create_tables([RewriteRow, GoneRow])
