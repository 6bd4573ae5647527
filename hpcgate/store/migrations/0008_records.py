"""Accounting records, with their tags and nodes, and what is known of nodes."""

from __future__ import annotations

from typing import Any

from peewee import (
    BigIntegerField,
    CompositeKey,
    Database,
    DoubleField,
    ForeignKeyField,
    IntegerField,
    Model,
    PostgresqlDatabase,
    SqliteDatabase,
    TextField,
)

#: Every list is in this order, backwards. Behind it stands what is looked at without reading the row.
_ORDER = "started_at, id"
_INDICES = (
    ("record_started", _ORDER),
    ("record_state", f"state, {_ORDER}"),
    ("record_cluster", f"cluster, {_ORDER}"),
    ("record_cluster_state", f"cluster, state, {_ORDER}"),
    ("record_project", f"project, {_ORDER}, cluster"),
    ("record_project_state", f"project, state, {_ORDER}, cluster"),
    ("record_owner", f"owner, {_ORDER}, cluster"),
    ("record_owner_state", f"owner, state, {_ORDER}, cluster"),
    ("record_subcluster", f"subcluster, {_ORDER}, cluster"),
    ("record_partition", f"partition, {_ORDER}, cluster"),
    ("record_number", f"number, cluster, {_ORDER}"),
    ("record_name", "name"),
    ("record_duration", "duration_s"),
    ("record_num_nodes", f"num_nodes, {_ORDER}"),
)
_PARTIAL = (
    ("UNIQUE INDEX record_job", "job_id, attempt, array_index", "job_id IS NOT NULL"),
    ("INDEX record_array", f"array_number, {_ORDER}", "array_number <> 0"),
    ("INDEX record_ended", "ended_at, id", "ended_at IS NOT NULL"),
    ("INDEX record_open", f"cluster, {_ORDER}", "ended_at IS NULL"),
    ("INDEX record_unarchived", "monitoring, id", "monitoring IN (1, 2) AND ended_at IS NOT NULL"),
)


def up(migrator: Any, db: Database) -> None:
    """Makes the tables, and the place up to which the event log was read: what was before has no records."""
    lean = isinstance(db, SqliteDatabase)  # SQLite: keep narrow rows inside their primary key

    class RecordRow(Model):
        id = BigIntegerField(primary_key=True)
        number = BigIntegerField()
        job_id = BigIntegerField(null=True)
        attempt = IntegerField()
        array_number = BigIntegerField()
        array_index = IntegerField()
        name = TextField()
        owner = TextField()
        project = TextField()
        cluster = TextField()
        subcluster = TextField()
        partition = TextField()
        site = TextField(null=True)
        state = TextField()
        sharing = TextField()
        smt = IntegerField()
        monitoring = IntegerField()
        num_nodes = IntegerField()
        num_hwthreads = IntegerField()
        num_accelerators = IntegerField()
        submitted_at = BigIntegerField(null=True)
        started_at = BigIntegerField()
        ended_at = BigIntegerField(null=True)
        duration_s = BigIntegerField()
        walltime_s = BigIntegerField()
        resources = TextField()
        source = TextField()

        class Meta:
            database = db
            table_name = "record"

    class DetailRow(Model):
        record = ForeignKeyField(RecordRow, primary_key=True, on_delete="CASCADE", column_name="record_id")
        metadata = TextField(null=True)
        statistics = TextField(null=True)

        class Meta:
            database = db
            table_name = "record_detail"

    class TagRow(Model):
        id = BigIntegerField(primary_key=True)
        type = TextField()
        name = TextField()
        scope = TextField()
        owner = TextField()

        class Meta:
            database = db
            table_name = "record_tag"
            indexes = ((("name", "type", "scope", "owner"), True),)

    class TaggedRow(Model):
        record = ForeignKeyField(RecordRow, on_delete="CASCADE", column_name="record_id", index=False)
        tag = ForeignKeyField(TagRow, on_delete="CASCADE", column_name="tag_id", index=False)
        started_at = BigIntegerField()

        class Meta:
            database = db
            table_name = "record_tagged"
            without_rowid = lean
            primary_key = CompositeKey("record", "tag")
            indexes = ((("tag", "started_at", "record"), False),)

    class NodeRow(Model):
        record = ForeignKeyField(RecordRow, on_delete="CASCADE", column_name="record_id", index=False)
        hostname = TextField()
        started_at = BigIntegerField()

        class Meta:
            database = db
            table_name = "record_node"
            without_rowid = lean
            primary_key = CompositeKey("record", "hostname")
            indexes = ((("hostname", "started_at", "record"), False),)

    class NodeStateRow(Model):
        cluster = TextField()
        hostname = TextField()
        state = TextField()
        cpus = IntegerField()
        memory_mib = BigIntegerField()
        gpus = IntegerField()
        jobs = IntegerField()
        at = DoubleField()

        class Meta:
            database = db
            table_name = "node_state"
            without_rowid = lean
            primary_key = CompositeKey("cluster", "hostname")

    db.create_tables([RecordRow, DetailRow, TagRow, TaggedRow, NodeRow, NodeStateRow])
    steps = [f"CREATE INDEX {name} ON record ({columns})" for name, columns in _INDICES]
    steps += [f"CREATE {kind} ON record ({columns}) WHERE {where}" for kind, columns, where in _PARTIAL]
    if isinstance(db, PostgresqlDatabase):
        # How a name begins is a range of an index only where letters are compared by their code.
        steps.insert(0, 'ALTER TABLE record ALTER COLUMN name TYPE text COLLATE "C"')
    steps.append(
        "INSERT INTO counter (name, value) SELECT 'records', value FROM counter WHERE name = 'event' "
        "UNION ALL SELECT 'record', 0 UNION ALL SELECT 'record_tag', 0"
    )
    for step in steps:
        db.execute_sql(step)  # type: ignore[no-untyped-call]
