"""The event stream, and the long poll for those who cannot read streams."""

from __future__ import annotations

import time
from typing import Any

from flask import Response, request

from hpcgate.errors import InvalidSpec
from hpcgate.model.codec import event_to_wire
from hpcgate.model.job import Event
from hpcgate.model.principal import Principal
from hpcgate.server.auth import Recheck
from hpcgate.server.context import serving
from hpcgate.server.resources.events.schemas import EventArgsSchema, EventListSchema
from hpcgate.server.smorest import Blueprint, reply
from hpcgate.server.sse import event_frames, last_event_id, stream_response
from hpcgate.service.access import Verb, require

blp = Blueprint("events", __name__, description="Everything that was accepted, numbered in commit order.")


@blp.route("/events")
@blp.login
@blp.arguments(EventArgsSchema, location="query")
@blp.response(200, EventListSchema)
@blp.alt_response(200, schema={"type": "string"}, content_type="text/event-stream", success=True)
@blp.problems(404, 410, 503)
@blp.header(
    {
        "name": "Last-Event-ID",
        "schema": {"type": "integer"},
        "description": "for streams: go on behind this event; browsers send it by themselves",
    }
)
def get(principal: Principal, args: dict[str, Any]) -> Response:
    """Follow the events.

    Without `after` and `wait`, or with `Accept: text/event-stream`: a stream of server-sent events that goes on until
    the client leaves; each has its number as `id`, its type as `event` and the event as JSON in `data`. It begins
    behind `Last-Event-ID` or `after`, else with what happens from now on, and never leaves one out or sends one twice.
    With `after` or `wait`: a list, at once or as soon as there is something in it.
    """
    require(principal, Verb.READ)  # here, since a stream that has begun has no status any more
    job_id = args.get("job")
    if job_id is not None:
        serving().gateway.jobs.get(principal, job_id)
    if _wants_list(args):
        return _long_poll(principal, args, job_id)
    return _stream(principal, args, job_id)


def _wants_list(args: dict[str, Any]) -> bool:
    accepts = request.headers.get("Accept", "")
    if "text/event-stream" in accepts:
        return False
    return "after" in args or "wait" in args or "application/json" in accepts


def _start(after: int | None) -> int:
    """Where to begin. A number that was never given out means another database: going on would lose events."""
    last = serving().gateway.events.last()
    if after is not None and after > last:
        raise InvalidSpec.of("after", f"{after} is behind the last event, which is {last}")
    if after is not None:
        serving().gateway.events.require_kept(after)
    return last if after is None else after


def _stream(principal: Principal, args: dict[str, Any], job_id: int | None) -> Response:
    hub = serving().hub
    given = last_event_id(request)
    after = _start(given if given is not None else args.get("after"))
    subscription = hub.open(principal, job_id=job_id)
    return stream_response(request, event_frames(hub, subscription, after, Recheck()), subscription)


def _long_poll(principal: Principal, args: dict[str, Any], job_id: int | None) -> Response:
    after = _start(args.get("after"))
    found = _read(principal, after, args["limit"], job_id)
    if not found and args.get("wait", 0) > 0:
        found = _wait(principal, after, args, job_id)
    return reply({"items": list(map(event_to_wire, found)), "next": found[-1].seq if found else after})


def _wait(principal: Principal, after: int, args: dict[str, Any], job_id: int | None) -> list[Event]:
    hub = serving().hub
    end = time.monotonic() + args["wait"]
    subscription = hub.open(principal, job_id=job_id)
    try:
        hub.join(subscription)
        found = _read(principal, after, args["limit"], job_id)
        while not found and not subscription.ended.is_set() and (left := end - time.monotonic()) > 0:
            hub.release()
            if subscription.take(left) is not None:
                found = _read(principal, after, args["limit"], job_id)
        return found
    finally:
        subscription.close()


def _read(principal: Principal, after: int, limit: int, job_id: int | None) -> list[Event]:
    return serving().gateway.events.after(principal, after, limit=limit, job_id=job_id)
