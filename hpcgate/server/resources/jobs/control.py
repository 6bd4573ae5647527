"""Routes that tell jobs what to do."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from flask import Response

from hpcgate.errors import InvalidSpec
from hpcgate.model.codec import job_to_wire
from hpcgate.model.principal import Principal
from hpcgate.model.state import JobState
from hpcgate.server.context import gateway
from hpcgate.server.resources.common import JOB
from hpcgate.server.resources.jobs.filters import filter_from_body
from hpcgate.server.resources.jobs.routes import brief
from hpcgate.server.resources.jobs.schemas import (
    CanceledSchema,
    CancelOneSchema,
    CancelSchema,
    JobSchema,
    RetriedSchema,
    RetrySchema,
    SignalSchema,
)
from hpcgate.server.resources.jobs.submit import KEY, idempotency_key, submitted
from hpcgate.server.smorest import Blueprint, reply

blp = Blueprint("control", __name__, description="Tell jobs what to do.")


@blp.route("/jobs/cancel", methods=["POST"])
@blp.login
@blp.arguments(CancelSchema)
@blp.response(200, CanceledSchema)
@blp.problems(404)
def cancel_many(principal: Principal, wanted: dict[str, Any]) -> Response:
    """Ask many jobs to end, by their ids or by a filter. Those that have ended stay as they ended.

    By a filter at most 1,000 are asked at once: repeat the request with the `cursor` of the answer while there is one.
    """
    if ("ids" in wanted) == ("filter" in wanted):
        raise InvalidSpec.of("body", "exactly one of ids and filter says which jobs")
    if "ids" in wanted:
        if len(wanted) != 1:
            raise InvalidSpec.of("body", "cursor and dry_run go with filter")
        jobs = gateway().jobs.cancel(principal, wanted["ids"])
        return reply(
            {
                "count": sum(job.canceling or job.state is JobState.CANCELED for job in jobs),
                "items": list(map(brief, jobs)),
            }
        )
    which = filter_from_body(wanted["filter"])
    if wanted.get("dry_run"):
        return reply({"count": gateway().jobs.count_cancelable(principal, which), "next_cursor": None})
    return reply(asdict(gateway().jobs.cancel_matching(principal, which, cursor=wanted.get("cursor"))))


@blp.route(f"/jobs/{JOB}/cancel", methods=["POST"])
@blp.login
@blp.arguments(CancelOneSchema, required=False)
@blp.response(200, JobSchema)
@blp.problems(404, 409, 501, 502, 504)
def cancel(principal: Principal, wanted: dict[str, Any], job_id: int) -> Response:
    """Ask a job, or some tasks of an array, to end.

    It is CANCELED when its scheduler says so; until then `canceling` is true. One that has ended stays as it ended.
    With `indices` the other tasks of the array go on.
    """
    if "indices" in wanted:
        return reply(job_to_wire(gateway().jobs.cancel_tasks(principal, job_id, wanted["indices"])))
    return reply(job_to_wire(gateway().jobs.cancel(principal, [job_id])[0]))


@blp.route(f"/jobs/{JOB}/hold", methods=["POST"])
@blp.login
@blp.response(200, JobSchema)
@blp.problems(404, 409, 501, 502, 504)
def hold(principal: Principal, job_id: int) -> Response:
    """Keep a queued job from starting."""
    return reply(job_to_wire(gateway().jobs.hold(principal, job_id)))


@blp.route(f"/jobs/{JOB}/release", methods=["POST"])
@blp.login
@blp.response(200, JobSchema)
@blp.problems(404, 409, 501, 502, 504)
def release(principal: Principal, job_id: int) -> Response:
    """Let a held job start."""
    return reply(job_to_wire(gateway().jobs.release(principal, job_id)))


@blp.route(f"/jobs/{JOB}/requeue", methods=["POST"])
@blp.login
@blp.response(200, JobSchema)
@blp.problems(404, 409, 501, 502, 504)
def requeue(principal: Principal, job_id: int) -> Response:
    """Stop a running job and put it back into the queue, as its next attempt."""
    return reply(job_to_wire(gateway().jobs.requeue(principal, job_id)))


@blp.route(f"/jobs/{JOB}/signal", methods=["POST"])
@blp.login
@blp.arguments(SignalSchema)
@blp.response(200, JobSchema)
@blp.problems(404, 409, 501, 502, 504)
def signal(principal: Principal, wanted: dict[str, Any], job_id: int) -> Response:
    """Send a signal to the processes of a running job."""
    return reply(job_to_wire(gateway().jobs.signal(principal, job_id, wanted["signal"])))


@blp.route(f"/jobs/{JOB}/clone", methods=["POST"])
@blp.login
@blp.response(201, JobSchema, description="The scheduler has the new job.")
@blp.alt_response(202, schema=JobSchema, description="The new job is on its way.", success=True)
@blp.problems(404, 409, 422, 501, 502, 503, 504)
@blp.header(KEY)
def clone(principal: Principal, job_id: int) -> Response:
    """Submit the same job again, as a new one of one's own."""
    return submitted(gateway().jobs.clone(principal, job_id, idempotency_key=idempotency_key()))


@blp.route(f"/jobs/{JOB}/retry", methods=["POST"])
@blp.login
@blp.arguments(RetrySchema, required=False)
@blp.response(200, RetriedSchema)
@blp.problems(404, 409, 422, 501, 502, 503, 504)
@blp.header(KEY)
def retry(principal: Principal, wanted: dict[str, Any], job_id: int) -> Response:
    """Run tasks of an array that has ended again, under the same indices, as new jobs that name it in `retry_of`."""
    made = gateway().jobs.retry(principal, job_id, wanted.get("indices", ()), idempotency_key=idempotency_key())
    return reply({"items": list(map(brief, made))})
