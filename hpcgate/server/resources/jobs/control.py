"""Routes that tell jobs what to do."""

from __future__ import annotations

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
from hpcgate.server.resources.jobs.schemas import CanceledSchema, CancelSchema, JobSchema, SignalSchema
from hpcgate.server.resources.jobs.submit import KEY, idempotency_key, submitted
from hpcgate.server.smorest import Blueprint, reply

blp = Blueprint("control", __name__, description="Tell jobs what to do.")


@blp.route("/jobs/cancel", methods=["POST"])
@blp.login
@blp.arguments(CancelSchema)
@blp.response(200, CanceledSchema)
@blp.problems(404)
def cancel_many(principal: Principal, wanted: dict[str, Any]) -> Response:
    """Ask many jobs to end, by their ids or by a filter. Those that have ended stay as they ended."""
    if len(wanted) != 1:
        raise InvalidSpec.of("body", "exactly one of ids and filter says which jobs")
    if "ids" in wanted:
        jobs = gateway().jobs.cancel(principal, wanted["ids"])
        return reply(
            {
                "count": sum(job.canceling or job.state is JobState.CANCELED for job in jobs),
                "items": list(map(brief, jobs)),
            }
        )
    return reply({"count": gateway().jobs.cancel_matching(principal, filter_from_body(wanted["filter"]))})


@blp.route(f"/jobs/{JOB}/cancel", methods=["POST"])
@blp.login
@blp.response(200, JobSchema)
@blp.problems(404)
def cancel(principal: Principal, job_id: int) -> Response:
    """Ask a job to end.

    It is CANCELED when its scheduler says so; until then `canceling` is true. One that has ended stays as it ended.
    """
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
@blp.problems(404, 409, 422, 501, 502, 504)
@blp.header(KEY)
def clone(principal: Principal, job_id: int) -> Response:
    """Submit the same job again, as a new one of one's own."""
    return submitted(gateway().jobs.clone(principal, job_id, idempotency_key=idempotency_key()))
