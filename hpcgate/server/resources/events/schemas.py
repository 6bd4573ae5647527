"""Events on the wire."""

from __future__ import annotations

import marshmallow as ma

from hpcgate.server.resources.common import MAX_INT, integer, text, time
from hpcgate.server.smorest import Schema

#: Longest long poll, seconds: proxies commonly cut at 60.
MAX_WAIT_S = 55.0


class EventSchema(Schema):
    """One accepted change."""

    seq = integer("its number, in commit order; the only cursor there is")
    at = time("when it was accepted")
    type = text("`job.created`, `job.state`, `job.requeued`, `job.canceling`, `job.deleted`, `project.changed`, ...")
    job_id = integer("the job it is about", allow_none=True)
    owner = text("the job's owner, or the member; null = operators alone see it", allow_none=True)
    actor = text(
        "whose request caused it, `ann by portal` where a client acted for her; null = the gateway's own doing",
        allow_none=True,
    )
    data = ma.fields.Dict(metadata={"description": "what changed"})


class EventArgsSchema(Schema):
    """Which events."""

    after = ma.fields.Integer(
        validate=ma.validate.Range(0, MAX_INT), metadata={"description": "number of the last event that is known"}
    )
    wait = ma.fields.Float(
        validate=ma.validate.Range(0, MAX_WAIT_S),
        metadata={"description": "wait so long for the first event before the answer is an empty list, seconds"},
    )
    limit = ma.fields.Integer(
        load_default=500, validate=ma.validate.Range(1, 1000), metadata={"description": "most events in one list"}
    )
    job = ma.fields.Integer(validate=ma.validate.Range(1, MAX_INT), metadata={"description": "of this job only"})


class EventListSchema(Schema):
    """The answer of a long poll."""

    items = ma.fields.List(ma.fields.Nested(EventSchema))
    next = integer("give it as `after` next time")
