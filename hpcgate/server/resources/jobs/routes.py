"""Routes that look at jobs, and forget them."""

from __future__ import annotations

from typing import Any

from flask import Response, request

from hpcgate.model.codec import job_to_wire
from hpcgate.model.job import Job
from hpcgate.model.principal import Principal
from hpcgate.server.context import gateway
from hpcgate.server.paging import page_to_wire
from hpcgate.server.resources.common import JOB
from hpcgate.server.resources.jobs.filters import JobListArgsSchema, filter_from_args
from hpcgate.server.resources.jobs.schemas import JobPageSchema, JobSchema
from hpcgate.server.smorest import Blueprint, empty, reply

blp = Blueprint("jobs", __name__, description="Look at jobs.")


@blp.route("/jobs")
@blp.login
@blp.arguments(JobListArgsSchema, location="query")
@blp.response(200, JobPageSchema)
def list_jobs(principal: Principal, args: dict[str, Any]) -> Response:
    """List jobs, newest first."""
    page = gateway().jobs.list(principal, filter_from_args(args), cursor=args["cursor"], limit=args["limit"])
    return reply(page_to_wire(page, brief))


def brief(job: Job) -> dict[str, Any]:
    """A job as lists show it."""
    return job_to_wire(job, detail=False)


@blp.route(f"/jobs/{JOB}")
@blp.login
@blp.response(200, JobSchema, headers={"ETag": {"schema": {"type": "string"}, "description": "changes with the job"}})
@blp.alt_response(304, description="Not changed since the ETag in If-None-Match.", success=True)
@blp.problems(404)
@blp.header(
    {
        "name": "If-None-Match",
        "schema": {"type": "string"},
        "description": "ETag of the answer that the client has",
    }
)
def get(principal: Principal, job_id: int) -> Response:
    """Show a job."""
    job = gateway().jobs.get(principal, job_id)
    response = reply(job_to_wire(job), headers={"Cache-Control": "private, no-cache"})
    # Whether it is stale depends on the clock, not on the row.
    response.set_etag(f"{job.id}.{job.revision}{'s' if job.stale else ''}")
    response.make_conditional(request)
    return response


@blp.route(f"/jobs/{JOB}", methods=["DELETE"])
@blp.login
@blp.response(204)
@blp.problems(404, 409, 502, 504)
def delete(principal: Principal, job_id: int) -> Response:
    """Forget a job that has ended, and remove its folder."""
    gateway().jobs.delete(principal, job_id)
    return empty()
