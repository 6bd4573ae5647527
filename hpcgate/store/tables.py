"""The tables as peewee sees them now. Imported inside ``store`` only.

They are made by the numbered files in ``migrations``, which also say which indices there are.
"""

# ruff: noqa: D106
from __future__ import annotations

from peewee import (
    BigIntegerField,
    BlobField,
    BooleanField,
    CompositeKey,
    DoubleField,
    IntegerField,
    Model,
    TextField,
)


class CounterRow(Model):
    """Numbers that are given once: ``id`` (jobs and workflows), ``event``, ``outbox``, ``delivery``, ``record(_tag)``.

    ``clock_steps``: see ``adding``. ``push``, ``records``: up to where the event log was read for webhooks and mail, or
    for accounting; the others of these count what became of them. ``event_pruned``: ``events``. ``schema_floor``:
    ``schema``.
    """

    name = TextField(primary_key=True)
    value = BigIntegerField()

    class Meta:
        table_name = "counter"


class JobRow(Model):
    """A job without its spec. ``name`` and ``project`` are copies from there, for lists."""

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
    expires_at = DoubleField(null=True)
    retry_of = BigIntegerField(null=True)

    class Meta:
        table_name = "job"


class SpecRow(Model):
    """The spec of a job. What may be large stands behind what lists read."""

    job_id = BigIntegerField(primary_key=True)
    spec = TextField()
    secret_names = TextField(null=True)
    script = TextField(null=True)
    inputs = TextField(null=True)
    secrets = BlobField(null=True)

    class Meta:
        table_name = "job_spec"


class MarkRow(Model):
    """A label, or a tag (then the key is empty). Owner and state are copies from the job, for lists."""

    job_id = BigIntegerField()
    key = TextField()
    value = TextField()
    owner = TextField()
    state = TextField()

    class Meta:
        table_name = "job_mark"
        primary_key = CompositeKey("job_id", "key", "value")


class TaskRow(Model):
    """One task, or one index of an array, in one attempt."""

    job_id = BigIntegerField()
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
        table_name = "job_task"
        primary_key = CompositeKey("job_id", "attempt", "role", "position")


class AttemptRow(Model):
    """An attempt that is over. The current one is the job's own row, so that the two cannot differ."""

    job_id = BigIntegerField()
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
        table_name = "job_attempt"
        primary_key = CompositeKey("job_id", "attempt")


class EventRow(Model):
    """An event; rows are only added, and pruned when they are old."""

    seq = BigIntegerField(primary_key=True)
    at = DoubleField()
    type = TextField()
    job_id = BigIntegerField(null=True)
    owner = TextField(null=True)
    actor = TextField(null=True)
    data = TextField()

    class Meta:
        table_name = "event"


class OutboxRow(Model):
    """An event that a topic has still to deal with."""

    id = BigIntegerField(primary_key=True)
    topic = TextField()
    seq = BigIntegerField()
    job_id = BigIntegerField(null=True)
    due_at = DoubleField()
    tries = IntegerField()
    error = TextField(null=True)

    class Meta:
        table_name = "outbox"


class IdempotencyRow(Model):
    """What an Idempotency-Key was used for."""

    principal = TextField()
    key = TextField()
    fingerprint = TextField()
    job_ids = TextField()
    created_at = DoubleField()

    class Meta:
        table_name = "idempotency"
        primary_key = CompositeKey("principal", "key")


class LeaseRow(Model):
    """A lease. The row stays when it is given back, so that its token only grows."""

    name = TextField(primary_key=True)
    holder = TextField(null=True)
    token = BigIntegerField()
    until = DoubleField()

    class Meta:
        table_name = "lease"


class SiteRow(Model):
    """How a site answers: one row a site, written once a round, so that no job row has to be."""

    site = TextField(primary_key=True)
    polled_at = DoubleField(null=True)
    failed_at = DoubleField(null=True)
    error = TextField(null=True)
    commands = BigIntegerField()
    polls = BigIntegerField()
    failures = BigIntegerField()

    class Meta:
        table_name = "site"


class DrainRow(Model):
    """A site that takes no new jobs."""

    site = TextField(primary_key=True)
    reason = TextField()
    since = DoubleField()
    actor = TextField()

    class Meta:
        table_name = "site_drain"


class UserRow(Model):
    """A user that the gateway keeps."""

    name = TextField(primary_key=True)
    roles = TextField()
    created_at = DoubleField()
    password_hash = TextField(null=True)
    locked = BooleanField()
    email = TextField(null=True)
    identity = TextField(null=True)

    class Meta:
        table_name = "principal"


class TokenRow(Model):
    """What is remembered of a token."""

    id = TextField(primary_key=True)
    user = TextField()
    roles = TextField()
    created_at = DoubleField()
    expires_at = DoubleField()
    revoked_at = DoubleField(null=True)
    comment = TextField(null=True)
    delegate = TextField(null=True)

    class Meta:
        table_name = "token"


class LoginTryRow(Model):
    """How often a user or an address has tried to log in lately."""

    name = TextField(primary_key=True)
    tries = BigIntegerField()
    since = DoubleField()

    class Meta:
        table_name = "login_try"


class ForeignIdRow(Model):
    """Under which id a dialect knows one of our objects."""

    dialect = TextField()
    scope = TextField()
    ext_id = TextField()
    kind = TextField()
    id = BigIntegerField()

    class Meta:
        table_name = "external_id"
        primary_key = CompositeKey("dialect", "scope", "ext_id")


class AllocationRow(Model):
    """A project or a share; ``settings`` is what it says, as JSON. ``default_at``: the site whose default it is."""

    kind = TextField()
    name = TextField()
    default_at = TextField(null=True)
    settings = TextField()

    class Meta:
        table_name = "allocation"
        primary_key = CompositeKey("kind", "name")


class MemberRow(Model):
    """Who may use a project or a share, and what was granted beside what the project says."""

    kind = TextField()
    name = TextField()
    principal = TextField()
    time_s = BigIntegerField(null=True)
    space_kb = BigIntegerField(null=True)

    class Meta:
        table_name = "allocation_member"
        primary_key = CompositeKey("kind", "name", "principal")


class BalanceRow(Model):
    """What a user has used and reserved of a project. It outlives the jobs."""

    project = TextField()
    principal = TextField()
    used_s = BigIntegerField()
    reserved_s = BigIntegerField()
    used_kb = BigIntegerField()
    reserved_kb = BigIntegerField()

    class Meta:
        table_name = "quota_balance"
        primary_key = CompositeKey("project", "principal")


class ChargeRow(Model):
    """What a job costs: what was reserved and, once it is settled, what it used."""

    job_id = BigIntegerField(primary_key=True)
    project = TextField()
    principal = TextField()
    weighting = TextField()
    units = BigIntegerField()
    width = IntegerField()
    time_s = BigIntegerField()
    space_kb = BigIntegerField()
    used_s = BigIntegerField()
    settled = BooleanField()

    class Meta:
        table_name = "quota_charge"


class LoadRow(Model):
    """What an active job of a share takes; ``passed``: there was room, and it may go to its scheduler."""

    job_id = BigIntegerField(primary_key=True)
    share = TextField()
    cpus = BigIntegerField()
    memory_mib = BigIntegerField()
    gpus = BigIntegerField()
    passed = BooleanField()

    class Meta:
        table_name = "share_load"


class WebhookRow(Model):
    """A URL that is told of events."""

    id = TextField(primary_key=True)
    owner = TextField()
    url = TextField()
    created_at = DoubleField()
    after_seq = BigIntegerField()
    description = TextField(null=True)
    events = TextField(null=True)
    states = TextField(null=True)
    sites = TextField(null=True)
    labels = TextField(null=True)
    job_id = BigIntegerField(null=True)
    everybody = BooleanField()
    callback = BooleanField()
    enabled = BooleanField()
    disabled_reason = TextField(null=True)
    secrets = BlobField(null=True)

    class Meta:
        table_name = "webhook"


class DeliveryRow(Model):
    """A message to a webhook."""

    id = TextField(primary_key=True)
    number = BigIntegerField()
    webhook_id = TextField()
    seq = BigIntegerField(null=True)
    job_id = BigIntegerField(null=True)
    type = TextField()
    body = TextField()
    created_at = DoubleField()
    due_at = DoubleField()
    give_up_at = DoubleField()
    state = TextField()
    tries = IntegerField()
    status = IntegerField(null=True)
    error = TextField(null=True)
    ended_at = DoubleField(null=True)

    class Meta:
        table_name = "delivery"


class CallbackKeyRow(Model):
    """What the callbacks of a user's jobs are signed with."""

    owner = TextField(primary_key=True)
    secrets = BlobField()

    class Meta:
        table_name = "callback_key"


class MailRow(Model):
    """A mail about what happened to a job."""

    seq = BigIntegerField(primary_key=True)
    job_id = BigIntegerField()
    owner = TextField()
    status = TextField()
    created_at = DoubleField()
    due_at = DoubleField()
    tries = IntegerField()
    state = TextField()
    error = TextField(null=True)
    ended_at = DoubleField(null=True)

    class Meta:
        table_name = "mail"


class RecordRow(Model):
    """The accounting entry of a job. ``owner`` is its user; ``ended_at`` follows from when it began and how long."""

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
        table_name = "record"


class RecordDetailRow(Model):
    """What is long, and what lists do not read. A record that has none has no row."""

    record_id = BigIntegerField(primary_key=True)
    metadata = TextField(null=True)
    statistics = TextField(null=True)

    class Meta:
        table_name = "record_detail"


class RecordTagRow(Model):
    """A tag. ``owner`` is empty where it is nobody's own."""

    id = BigIntegerField(primary_key=True)
    type = TextField()
    name = TextField()
    scope = TextField()
    owner = TextField()

    class Meta:
        table_name = "record_tag"


class RecordTaggedRow(Model):
    """Which record has which tag. ``started_at`` is a copy from the record, for lists."""

    record_id = BigIntegerField()
    tag_id = BigIntegerField()
    started_at = BigIntegerField()

    class Meta:
        table_name = "record_tagged"
        primary_key = CompositeKey("record_id", "tag_id")


class RecordNodeRow(Model):
    """On which nodes a job ran. ``started_at`` is a copy from the record, for lists."""

    record_id = BigIntegerField()
    hostname = TextField()
    started_at = BigIntegerField()

    class Meta:
        table_name = "record_node"
        primary_key = CompositeKey("record_id", "hostname")


class RecordRewriteRow(Model):
    """A record that was archived and has changed since.

    ``failed``: its file could not be written. ``began``: when it began as its file has it, where it began at
    another time.
    """

    record_id = BigIntegerField(primary_key=True)
    failed = BooleanField()
    began = BigIntegerField(null=True)

    class Meta:
        table_name = "record_rewrite"


class RecordGoneRow(Model):
    """A record that was deleted before it was archived as it was, as JSON."""

    record_id = BigIntegerField(primary_key=True)
    document = TextField()
    failed = BooleanField()

    class Meta:
        table_name = "record_gone"


class NodeStateRow(Model):
    """What was said last about a node."""

    cluster = TextField()
    hostname = TextField()
    state = TextField()
    cpus = IntegerField()
    memory_mib = BigIntegerField()
    gpus = IntegerField()
    jobs = IntegerField()
    at = DoubleField()

    class Meta:
        table_name = "node_state"
        primary_key = CompositeKey("cluster", "hostname")
