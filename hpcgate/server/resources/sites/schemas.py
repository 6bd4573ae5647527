"""Sites on the wire."""

from __future__ import annotations

import marshmallow as ma

from hpcgate.server.paging import page_schema
from hpcgate.server.resources.common import flag, integer, text, time
from hpcgate.server.smorest import Schema
from hpcgate.service.sites import MAX_REASON


class DrainSchema(Schema):
    """Why a site takes no new jobs."""

    reason = text("for those whose jobs are refused")
    since = time("when it was said")
    by = text("who said it")


class DrainRequestSchema(Schema):
    """Why a site shall take no new jobs."""

    reason = text("for those whose jobs are refused", required=True, validate=ma.validate.Length(1, MAX_REASON))


class SiteSchema(Schema):
    """A site and what is known of it."""

    name = text("as the configuration names it")
    scheduler = text("the plugin that speaks to its batch system")
    transport = text("`local` or `ssh`")
    aliases = ma.fields.List(ma.fields.String(), metadata={"description": "other names that requests may use"})
    default_queue = text("for jobs that name no queue", allow_none=True)
    stale = flag("whether it has not answered for longer than its poll table promises")
    polled_at = time("when it last answered a poll")
    failed_at = time("since when it does not answer; null = it does")
    error = text("why it does not answer", allow_none=True)
    drained = ma.fields.Nested(
        DrainSchema, allow_none=True, metadata={"description": "why it takes no new jobs; null = it takes them"}
    )
    counts = ma.fields.Dict(
        keys=ma.fields.String(),
        values=ma.fields.Integer(),
        metadata={"description": "jobs that have not ended, by state, as far as the principal may see them"},
    )


class QueueSchema(Schema):
    """A queue (partition)."""

    name = text("its name")
    state = text("the scheduler's word")
    default = flag("whether jobs that name none go here")
    nodes = integer("how many nodes", allow_none=True)
    cpus = integer("how many cores", allow_none=True)
    running = integer("running jobs", allow_none=True)
    pending = integer("waiting jobs", allow_none=True)
    max_walltime_s = integer("longest run, seconds", allow_none=True)


class NodeSchema(Schema):
    """A node."""

    name = text("its name")
    state = text("the scheduler's word")
    cpus = integer("how many cores", allow_none=True)
    cpus_used = integer("cores in use", allow_none=True)
    memory_mib = integer("memory, MiB", allow_none=True)
    memory_used_mib = integer("memory in use, MiB", allow_none=True)
    gpus = integer("accelerators", allow_none=True)
    reason = text("why it is not up", allow_none=True)


class CheckSchema(Schema):
    """One thing that was looked at."""

    name = text("what")
    ok = flag("whether it is good")
    detail = text("what was found, or what should be done")


class ProbeSchema(Schema):
    """What a look at a site found."""

    site = text("its name")
    ok = flag("whether every check is good")
    version = text("of the batch system", allow_none=True)
    sees_all_jobs = flag("whether the polling account sees the jobs of all accounts")
    checks = ma.fields.List(ma.fields.Nested(CheckSchema))


SitePageSchema = page_schema(SiteSchema)
QueuePageSchema = page_schema(QueueSchema)
NodePageSchema = page_schema(NodeSchema)
