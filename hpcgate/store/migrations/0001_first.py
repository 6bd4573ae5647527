"""The first tables."""

from __future__ import annotations

from typing import Any

from peewee import (
    BigIntegerField,
    BlobField,
    BooleanField,
    CompositeKey,
    Database,
    DoubleField,
    ForeignKeyField,
    IntegerField,
    Model,
    SqliteDatabase,
    TextField,
)


def up(migrator: Any, db: Database) -> None:
    """Makes all tables."""
    lean = isinstance(db, SqliteDatabase)  # SQLite: keep narrow rows inside their primary key

    class CounterRow(Model):
        name = TextField(primary_key=True)
        value = BigIntegerField()

        class Meta:
            database = db
            table_name = "counter"

    class JobRow(Model):
        id = BigIntegerField(primary_key=True)
        key = TextField()
        owner = TextField()
        site = TextField(null=True)
        state = TextField()
        attempt = IntegerField()
        revision = IntegerField()
        name = TextField()
        project = TextField(null=True)
        workflow_id = BigIntegerField(null=True)
        is_array = BooleanField()
        phase = TextField(null=True)
        reason = TextField(null=True)
        message = TextField(null=True)
        exit_code = IntegerField(null=True)
        signal = IntegerField(null=True)
        native_id = TextField(null=True)
        native_state = TextField(null=True)
        native_reason = TextField(null=True)
        evidence = TextField(null=True)
        canceling = BooleanField()
        cancel_reason = TextField(null=True)
        folder = TextField(null=True)
        account = TextField(null=True)
        stdout_path = TextField(null=True)
        stderr_path = TextField(null=True)
        created_at = DoubleField()
        submitted_at = DoubleField(null=True)
        started_at = DoubleField(null=True)
        ended_at = DoubleField(null=True)
        updated_at = DoubleField()
        nodes = TextField(null=True)
        cpu_ids = TextField(null=True)
        gpu_ids = TextField(null=True)
        cpu_time_s = DoubleField(null=True)
        max_rss_kib = BigIntegerField(null=True)
        claim_holder = TextField(null=True)
        claim_until = DoubleField()
        absent_since = DoubleField(null=True)
        absences = IntegerField()
        submitting_since = DoubleField(null=True)
        dialect = TextField(null=True)
        dialect_data = TextField(null=True)

        # Lists run newest first: every index ends with the id. They have the state before it, so that "any state"
        # is a merge of eleven ranges and "this state" is one of them.
        class Meta:
            database = db
            table_name = "job"
            indexes = (
                (("key",), True),
                (("state", "id"), False),
                (("owner", "state", "id"), False),
                (("site", "state", "id"), False),
                (("name", "state", "id"), False),
                (("owner", "site", "state", "id"), False),
                (("owner", "name", "state", "id"), False),
                (("created_at", "id"), False),
            )

    # What most jobs do not have needs no entry for them.
    of_project = JobRow.project.is_null(False)
    JobRow.add_index(JobRow.index(JobRow.site, JobRow.id, where=JobRow.reason == "LOST"))
    JobRow.add_index(JobRow.index(JobRow.project, JobRow.state, JobRow.id, where=of_project))
    JobRow.add_index(JobRow.index(JobRow.owner, JobRow.project, JobRow.state, JobRow.id, where=of_project))
    JobRow.add_index(JobRow.index(JobRow.workflow_id, JobRow.id, where=JobRow.workflow_id.is_null(False)))

    class SpecRow(Model):
        job = ForeignKeyField(JobRow, column_name="job_id", primary_key=True, on_delete="CASCADE")
        spec = TextField()
        secret_names = TextField(null=True)
        script = TextField(null=True)
        inputs = TextField(null=True)
        secrets = BlobField(null=True)

        class Meta:
            database = db
            table_name = "job_spec"

    class MarkRow(Model):
        job = ForeignKeyField(JobRow, column_name="job_id", index=False, on_delete="CASCADE")
        key = TextField()
        value = TextField()
        owner = TextField()
        state = TextField()

        class Meta:
            database = db
            table_name = "job_mark"
            without_rowid = lean
            primary_key = CompositeKey("job", "key", "value")
            indexes = (
                (("key", "value", "state", "job"), False),
                (("key", "value", "owner", "state", "job"), False),
            )

    class TaskRow(Model):
        job = ForeignKeyField(JobRow, column_name="job_id", index=False, on_delete="CASCADE")
        attempt = IntegerField()
        role = TextField()
        position = IntegerField(column_name="idx")
        state = TextField()
        reason = TextField(null=True)
        exit_code = IntegerField(null=True)
        signal = IntegerField(null=True)
        native_id = TextField(null=True)
        started_at = DoubleField(null=True)
        ended_at = DoubleField(null=True)
        nodes = TextField(null=True)
        cpu_time_s = DoubleField(null=True)
        max_rss_kib = BigIntegerField(null=True)

        class Meta:
            database = db
            table_name = "job_task"
            without_rowid = lean
            primary_key = CompositeKey("job", "attempt", "role", "position")

    class AttemptRow(Model):
        job = ForeignKeyField(JobRow, column_name="job_id", index=False, on_delete="CASCADE")
        attempt = IntegerField()
        state = TextField()
        native_id = TextField(null=True)
        reason = TextField(null=True)
        exit_code = IntegerField(null=True)
        signal = IntegerField(null=True)
        submitted_at = DoubleField(null=True)
        started_at = DoubleField(null=True)
        ended_at = DoubleField(null=True)
        nodes = TextField(null=True)

        class Meta:
            database = db
            table_name = "job_attempt"
            without_rowid = lean
            primary_key = CompositeKey("job", "attempt")

    class EventRow(Model):
        seq = BigIntegerField(primary_key=True)
        at = DoubleField()
        type = TextField()
        job_id = BigIntegerField(null=True)
        owner = TextField(null=True)
        actor = TextField(null=True)
        data = TextField()

        class Meta:
            database = db
            table_name = "event"
            indexes = (
                (("job_id", "seq"), False),
                (("owner", "seq"), False),
            )

    class OutboxRow(Model):
        id = BigIntegerField(primary_key=True)
        topic = TextField()
        seq = BigIntegerField()
        job_id = BigIntegerField(null=True)
        due_at = DoubleField()
        tries = IntegerField()
        error = TextField(null=True)

        class Meta:
            database = db
            table_name = "outbox"

    OutboxRow.add_index(OutboxRow.index(OutboxRow.topic, OutboxRow.job_id, OutboxRow.id, where=OutboxRow.tries > 0))

    class IdempotencyRow(Model):
        principal = TextField()
        key = TextField()
        fingerprint = TextField()
        job_ids = TextField()
        created_at = DoubleField()

        class Meta:
            database = db
            table_name = "idempotency"
            primary_key = CompositeKey("principal", "key")
            indexes = ((("created_at",), False),)

    class LeaseRow(Model):
        name = TextField(primary_key=True)
        holder = TextField(null=True)
        token = BigIntegerField()
        until = DoubleField()

        class Meta:
            database = db
            table_name = "lease"

    class SiteRow(Model):
        site = TextField(primary_key=True)
        polled_at = DoubleField(null=True)
        failed_at = DoubleField(null=True)
        error = TextField(null=True)
        commands = BigIntegerField()

        class Meta:
            database = db
            table_name = "site"

    class UserRow(Model):
        name = TextField(primary_key=True)
        roles = TextField()
        created_at = DoubleField()
        password_hash = TextField(null=True)
        locked = BooleanField()

        class Meta:
            database = db
            table_name = "principal"

    class TokenRow(Model):
        id = TextField(primary_key=True)
        user = TextField()
        roles = TextField()
        created_at = DoubleField()
        expires_at = DoubleField()
        revoked_at = DoubleField(null=True)
        comment = TextField(null=True)

        class Meta:
            database = db
            table_name = "token"
            indexes = ((("user",), False),)

    class ForeignIdRow(Model):
        dialect = TextField()
        scope = TextField()
        ext_id = TextField()
        kind = TextField()
        id = BigIntegerField()

        class Meta:
            database = db
            table_name = "external_id"
            primary_key = CompositeKey("dialect", "scope", "ext_id")
            indexes = ((("kind", "id"), False),)

    db.create_tables(
        [
            CounterRow,
            JobRow,
            SpecRow,
            MarkRow,
            TaskRow,
            AttemptRow,
            EventRow,
            OutboxRow,
            IdempotencyRow,
            LeaseRow,
            SiteRow,
            UserRow,
            TokenRow,
            ForeignIdRow,
        ]
    )
    CounterRow.insert_many([{"name": name, "value": 0} for name in ("id", "event", "outbox", "clock_steps")]).execute()
