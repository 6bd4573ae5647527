"""Routes of what belongs to a job: its events, tasks, attempts and script."""

from __future__ import annotations

from typing import Any

import marshmallow as ma
from flask import Response

from hpcgate.errors import InvalidSpec
from hpcgate.model.codec import attempt_to_wire, event_to_wire, task_to_wire
from hpcgate.model.principal import Principal
from hpcgate.server.context import gateway
from hpcgate.server.paging import PageArgsSchema, list_to_wire, page_schema, page_to_wire
from hpcgate.server.resources.common import JOB, MAX_INT
from hpcgate.server.resources.events.schemas import EventSchema
from hpcgate.server.resources.jobs.schemas import AttemptPageSchema, ExplanationSchema, TaskPageSchema
from hpcgate.server.smorest import Blueprint, reply
from hpcgate.service.wire import explanation_to_wire

blp = Blueprint("history", __name__, description="What happened to a job.")


class JobEventArgsSchema(PageArgsSchema):
    """Which events of a job."""

    after = ma.fields.Integer(
        validate=ma.validate.Range(0, MAX_INT), metadata={"description": "number of the last event that is known"}
    )


class TaskArgsSchema(PageArgsSchema):
    """Which tasks."""

    attempt = ma.fields.Integer(
        load_default=None,
        allow_none=False,
        validate=ma.validate.Range(1, 2**31 - 1),
        metadata={"description": "of this run; of the current one when not given"},
    )


@blp.route(f"/jobs/{JOB}/events")
@blp.login
@blp.arguments(JobEventArgsSchema, location="query")
@blp.response(200, page_schema(EventSchema))
@blp.problems(404)
def events(principal: Principal, args: dict[str, Any], job_id: int) -> Response:
    """List what happened to a job, in order. `cursor` and `after` mean the same."""
    limit = args["limit"]
    found = gateway().jobs.events(principal, job_id, after=_after(args), limit=limit)
    return reply(list_to_wire(map(event_to_wire, found), str(found[-1].seq) if len(found) == limit else None))


def _after(args: dict[str, Any]) -> int:
    cursor = args["cursor"]
    if cursor is None:
        return int(args.get("after", 0))
    if not (cursor.isascii() and cursor.isdecimal() and int(cursor) <= MAX_INT):
        raise InvalidSpec.of("cursor", f"{cursor!r} did not come from this list")
    return int(cursor)


@blp.route(f"/jobs/{JOB}/tasks")
@blp.login
@blp.arguments(TaskArgsSchema, location="query")
@blp.response(200, TaskPageSchema)
@blp.problems(404)
def tasks(principal: Principal, args: dict[str, Any], job_id: int) -> Response:
    """List the tasks of a job, or the indices of an array."""
    page = gateway().jobs.tasks(principal, job_id, attempt=args["attempt"], cursor=args["cursor"], limit=args["limit"])
    return reply(page_to_wire(page, task_to_wire))


@blp.route(f"/jobs/{JOB}/attempts")
@blp.login
@blp.response(200, AttemptPageSchema)
@blp.problems(404)
def attempts(principal: Principal, job_id: int) -> Response:
    """List the runs of a job, first to last."""
    return reply(list_to_wire(map(attempt_to_wire, gateway().jobs.attempts(principal, job_id))))


@blp.route(f"/jobs/{JOB}/explanation")
@blp.login
@blp.response(200, ExplanationSchema)
@blp.problems(404)
def explanation(principal: Principal, job_id: int) -> Response:
    """Say why a job waits, or why it failed, with the last lines that it wrote."""
    return reply(explanation_to_wire(gateway().explainer.explain(principal, job_id)))


@blp.route(f"/jobs/{JOB}/script")
@blp.login
@blp.response(200, {"type": "string"}, content_type="text/plain")
@blp.problems(404, 409)
def script(principal: Principal, job_id: int) -> Response:
    """Show the script as it was submitted, or what the scheduler makes of the command."""
    return Response(gateway().jobs.script(principal, job_id), content_type="text/plain; charset=utf-8")
