"""Webhooks on the wire."""

from __future__ import annotations

from typing import Any

import marshmallow as ma

from hpcgate.model.state import JobState
from hpcgate.model.webhook import EVENT_TYPES, DeliveryState
from hpcgate.server.paging import PageArgsSchema, page_schema
from hpcgate.server.resources.common import MAX_INT, flag, integer, text, time
from hpcgate.server.smorest import Schema


def _words(description: str, known: list[str] | None = None) -> ma.fields.List[Any]:
    checks = [ma.validate.OneOf(known)] if known else [ma.validate.Length(1, 128)]
    return ma.fields.List(
        ma.fields.String(validate=checks), validate=ma.validate.Length(max=64), metadata={"description": description}
    )


class WebhookUpdateSchema(Schema):
    """What changes; the rest stays."""

    url = text("where messages are sent by POST", validate=ma.validate.Length(1, 2048))
    description = text("what it is for", allow_none=True, validate=ma.validate.Length(0, 512))
    events = _words("only events of these types; empty = of all", list(EVENT_TYPES))
    states = _words("only when a job comes into one of these states; empty = all events", list(JobState))
    sites = _words("only of jobs at these sites; empty = at all")
    labels = ma.fields.Dict(
        keys=ma.fields.String(validate=ma.validate.Length(1, 128)),
        values=ma.fields.String(validate=ma.validate.Length(0, 1024)),
        metadata={"description": "only of jobs that have all of these labels"},
    )
    everybody = flag("of all jobs that one may see, not only of one's own")
    enabled = flag("whether it is told anything; what happens while it is not is not told later")


class WebhookCreateSchema(WebhookUpdateSchema):
    """A new webhook."""

    url = text("where messages are sent by POST", required=True, validate=ma.validate.Length(1, 2048))
    job = ma.fields.Integer(
        strict=True, validate=ma.validate.Range(1, MAX_INT), metadata={"description": "of this job alone"}
    )


class WebhookSchema(Schema):
    """A webhook."""

    id = text("unique name")
    owner = text("whose it is; it is told of what the owner may see")
    url = text("where messages are sent by POST")
    created_at = time("when it was made")
    description = text("what it is for", allow_none=True)
    events = _words("types of events; empty = all")
    states = _words("states that a job comes into; empty = all events")
    sites = _words("sites; empty = all")
    labels = ma.fields.Dict(metadata={"description": "labels that a job must have"})
    job = integer("of this job alone; null = of all", allow_none=True)
    everybody = flag("of all jobs that its owner may see, not only of its own")
    callback = flag("whether it comes from a job's `callback`")
    enabled = flag("whether it is told anything")
    disabled_reason = text("why the gateway has switched it off", allow_none=True)


class NewWebhookSchema(WebhookSchema):
    """A webhook; the only answer that holds its key."""

    secret = text("the key that messages are signed with, `whsec_...`")


class SigningKeySchema(Schema):
    """A new key; the only answer that holds it."""

    secret = text("the key that messages are signed with, `whsec_...`")


class WebhookListArgsSchema(Schema):
    """Whose webhooks."""

    user = text("of this user; `*` = of all; one's own when not given", load_default=None, allow_none=False)


class DeliverySchema(Schema):
    """A message to a webhook."""

    id = text("the same at each try, as `webhook-id`")
    type = text("type of the event, or `webhook.ping`")
    seq = integer("number of the event; null = a ping", allow_none=True)
    job_id = integer("the job that the event is about", allow_none=True)
    state = text("`WAITING`, `DELIVERED`, or `DEAD`: given up")
    created_at = time("when it was made")
    due_at = time("when it is tried next; null = not again")
    tries = integer("how often it was tried")
    status = integer("HTTP status of the last answer", allow_none=True)
    error = text("why the last try failed", allow_none=True)
    ended_at = time("when it was delivered or given up")


class DeliveryArgsSchema(PageArgsSchema):
    """Which messages."""

    state = text("only those in this state", load_default=None, validate=ma.validate.OneOf(list(DeliveryState)))


class RedeliveredSchema(Schema):
    """How much is sent again."""

    count = integer("messages that are sent again")


WebhookPageSchema = page_schema(WebhookSchema)
DeliveryPageSchema = page_schema(DeliverySchema)
