"""Routes that make jobs."""

from __future__ import annotations

from typing import Any, Final

from flask import Response, request, url_for

from hpcgate.errors import HpcgateError, InvalidSpec
from hpcgate.model.codec import job_to_wire
from hpcgate.model.job import Job
from hpcgate.model.principal import Principal
from hpcgate.server.context import gateway
from hpcgate.server.errors import problem_of
from hpcgate.server.resources.jobs.request import read_each, read_request
from hpcgate.server.resources.jobs.schemas import (
    BulkAnswerSchema,
    BulkRequestSchema,
    JobRequestSchema,
    JobSchema,
    ValidateRequestSchema,
    ValidationSchema,
)
from hpcgate.server.smorest import Blueprint, reply
from hpcgate.service.admission import JobRequest
from hpcgate.service.jobs import SubmitResult
from hpcgate.service.wire import invalid_to_wire, validation_to_wire

blp = Blueprint("submit", __name__, description="Make jobs.")

KEY: Final = {
    "name": "Idempotency-Key",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255},
    "description": "repeat a request with the same key after a lost answer: the job is made once. Kept for a day; "
    "with another body it is refused.",
}
_HEADERS: Final = {
    "Location": {"schema": {"type": "string"}, "description": "where the job is"},
    "Idempotency-Replayed": {
        "schema": {"type": "string", "enum": ["true"]},
        "description": "only there when the key had been used before, and nothing was made this time",
    },
}


@blp.route("/jobs", methods=["POST"])
@blp.login
@blp.arguments(JobRequestSchema)
@blp.response(201, JobSchema, description="The scheduler has it.", headers=_HEADERS)
@blp.alt_response(
    202,
    schema=JobSchema,
    description="It is stored; the site did not take it in time, and the gateway goes on trying.",
    headers=_HEADERS,
    success=True,
)
@blp.problems(409, 413, 415, 501, 502, 503, 504)
@blp.header(KEY)
def create(principal: Principal, wanted: JobRequest) -> Response:
    """Submit a job."""
    result = gateway().jobs.submit(principal, wanted, idempotency_key=idempotency_key())
    return submitted(result)


def idempotency_key() -> str | None:
    """The key of this request."""
    return request.headers.get("Idempotency-Key")


def submitted(result: SubmitResult) -> Response:
    """The answer to a submit."""
    headers = {"Location": url_for("jobs.get", job_id=result.job.id)}
    if result.replayed:
        headers["Idempotency-Replayed"] = "true"
    return reply(job_to_wire(result.job), 201 if result.accepted else 202, headers)


@blp.route("/jobs/bulk", methods=["POST"])
@blp.login
@blp.arguments(BulkRequestSchema)
@blp.response(200, BulkAnswerSchema)
@blp.problems(409, 413, 415)
@blp.header(KEY)
def bulk(principal: Principal, bodies: list[object]) -> Response:
    """Submit many jobs. One bad job spoils no other: each has a status of its own in the answer."""
    answers = gateway().jobs.submit_many(principal, read_each(bodies), idempotency_key=idempotency_key())
    return reply({"items": list(map(_bulk_item, answers))})


def _bulk_item(answer: Job | HpcgateError) -> dict[str, Any]:
    if isinstance(answer, HpcgateError):
        problem = problem_of(answer)
        return {"status": problem.status, "error": problem.to_wire()}
    return {"status": 202 if answer.native_id is None else 201, "job": job_to_wire(answer, detail=False)}


@blp.route("/jobs/validate", methods=["POST"])
@blp.login
@blp.arguments(ValidateRequestSchema)
@blp.response(200, ValidationSchema)
@blp.problems(413, 415)
def validate(principal: Principal, body: object) -> Response:
    """Say what a submit would do: a verdict for each field, and the script. Nothing is stored, no site is asked."""
    try:
        wanted = read_request(body)
    except InvalidSpec as error:
        return reply(invalid_to_wire(error.errors))
    return reply(validation_to_wire(gateway().jobs.validate(principal, wanted)))
