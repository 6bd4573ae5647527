"""The routes of jobs: for programs below ``/api``, for people below ``/userapi``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from itertools import chain
from types import MappingProxyType
from typing import Any, Final

from flask import Response, request, stream_with_context

from hpcgate.model.principal import Principal
from hpcgate.server.dialect_api import DialectBlueprint
from hpcgate.server.smorest import reply
from hpcgate_dialect_clustercockpit.bodies import EditBody, PairBody, StartBody, StopBody, TagBody, WhichBody
from hpcgate_dialect_clustercockpit.decoding import read, read_texts
from hpcgate_dialect_clustercockpit.jobs import Jobs
from hpcgate_dialect_clustercockpit.query import Query, integer, read_query
from hpcgate_dialect_clustercockpit.schemas import (
    JobSchema,
    JobsSchema,
    JobWithMetricsSchema,
    MessageSchema,
    StartedSchema,
)

_START: Final = StartBody()
_STOP: Final = StopBody()
_WHICH: Final = WhichBody()
_TAGS: Final = TagBody(many=True)
_PAIR: Final = PairBody()
_EDIT: Final = EditBody()

_TEXT: Final = {"type": "string"}
_INTEGER: Final = {"type": "integer"}


def _parameter(name: str, meaning: str, schema: Any = MappingProxyType(_TEXT)) -> dict[str, Any]:
    return {"in": "query", "name": name, "description": meaning, "schema": dict(schema)}


_QUERY: Final = [
    _parameter(*each)
    for each in (
        ("state", "may be repeated", {"type": "array", "items": _TEXT}),
        ("cluster", "name of a cluster", _TEXT),
        ("project", "name of a project", _TEXT),
        ("start-time", "FROM-TO, epoch seconds, both inclusive", _TEXT),
        ("items-per-page", "25 when it is not given; -1 = all", _INTEGER),
        ("page", "from 1", _INTEGER),
        ("with-metadata", "whether `metaData` is told", _TEXT),
    )
]


def _body(schema: Any) -> dict[str, Any]:
    return {"required": True, "content": {"application/json": {"schema": schema}}}


def api_routes(jobs: Jobs) -> DialectBlueprint:
    """Jobs, for programs that report and read them."""
    blp = DialectBlueprint("jobs", __name__, description="Jobs, for programs.")
    _reading(blp, jobs, "/api/jobs")
    _start_and_stop(blp, jobs)
    _tags(blp, jobs)
    _metadata(blp, jobs)
    _removal(blp, jobs)
    return blp


def people_routes(jobs: Jobs) -> DialectBlueprint:
    """Jobs, for those whose they are."""
    blp = DialectBlueprint("userjobs", __name__, description="One's own jobs, and of the projects one manages.")
    _reading(blp, jobs, "/userapi/jobs")
    return blp


def _reading(blp: DialectBlueprint, jobs: Jobs, at: str) -> None:
    @blp.route(at, methods=["GET"])
    @blp.login
    @blp.response(200, JobsSchema)
    @blp.problems(400)
    @blp.doc(parameters=_QUERY)
    def list_jobs(principal: Principal) -> Response:
        """List jobs, the newest first."""
        query = read_query(request.args)
        parts = jobs.page(principal, query)
        first = next(parts)  # what is wrong is found out before anything is sent
        return Response(stream_with_context(_page(query, chain([first], parts))), content_type="application/json")

    @blp.route(f"{at}/<id:record>", methods=["GET"])
    @blp.login
    @blp.response(200, JobWithMetricsSchema)
    @blp.problems(400, 422)
    @blp.doc(parameters=[_parameter("all-metrics", "passed over")])
    def get_job(principal: Principal, record: str) -> Response:
        """Look at a job. It has no time series."""
        return reply({"Meta": jobs.get(principal, _id(record)), "Data": None})

    @blp.route(f"{at}/<id:record>", methods=["POST"])
    @blp.login
    @blp.response(200, JobWithMetricsSchema)
    @blp.problems(400, 422)
    @blp.doc(requestBody=_body({"type": "array", "items": _TEXT}))
    def get_job_with_metrics(principal: Principal, record: str) -> Response:
        """Look at a job and its time series of some metrics. It has none."""
        number = _id(record)
        read_texts(request)
        return reply({"Meta": jobs.get(principal, number), "Data": []})


def _start_and_stop(blp: DialectBlueprint, jobs: Jobs) -> None:
    @blp.route("/api/jobs/start_job", methods=["POST", "PUT"])
    @blp.login
    @blp.response(201, StartedSchema)
    @blp.problems(400, 422)
    @blp.doc(requestBody=_body(StartBody))
    def start_job(principal: Principal) -> Response:
        """Report that a job has started."""
        return reply({"id": jobs.start(principal, read(request, _START)), "msg": "success"}, 201)

    @blp.route("/api/jobs/stop_job/<id:record>", methods=["POST", "PUT"])
    @blp.login
    @blp.response(200, JobSchema)
    @blp.problems(400, 422)
    @blp.doc(requestBody=_body(StopBody))
    def stop_job(principal: Principal, record: str) -> Response:
        """Report that a job has ended, by the id of its record."""
        body = read(request, _STOP)
        return reply(jobs.stop(principal, _id(record), body))

    @blp.route("/api/jobs/stop_job", methods=["POST", "PUT"])
    @blp.login
    @blp.response(200, JobSchema)
    @blp.problems(400, 422)
    @blp.doc(requestBody=_body(StopBody))
    def stop_job_by_request(principal: Principal) -> Response:
        """Report that a job has ended, by what its batch system calls it."""
        return reply(jobs.stop_which(principal, read(request, _STOP)))


def _tags(blp: DialectBlueprint, jobs: Jobs) -> None:
    body = _body({"type": "array", "items": TagBody})
    bodies = partial(read, request, _TAGS)

    @blp.route("/api/jobs/tag_job/<id:record>", methods=["POST", "PATCH"])
    @blp.login
    @blp.response(200, JobSchema)
    @blp.problems(400, 404)
    @blp.doc(requestBody=body)
    def tag_job(principal: Principal, record: str) -> Response:
        """Give tags to a job."""
        return reply(jobs.tag(principal, _id(record), bodies))

    @blp.route("/api/jobs/tag_job/<id:record>", methods=["DELETE"])
    @blp.login
    @blp.response(200, JobSchema)
    @blp.problems(400, 404)
    @blp.doc(requestBody=body)
    def untag_job(principal: Principal, record: str) -> Response:
        """Take tags from a job."""
        return reply(jobs.untag(principal, _id(record), bodies))

    @blp.route("/api/tags", methods=["DELETE"])
    @blp.login
    @blp.response(200, _TEXT, content_type="text/plain")
    @blp.problems(400)
    @blp.doc(requestBody=body)
    def remove_tags(principal: Principal) -> Response:
        """Remove tags from all jobs."""
        removed, asked = jobs.remove_tags(principal, bodies())
        said = f"Deleted Tags from DB: {removed} successfull of {asked} requested\n"
        return Response(said, content_type="text/plain; charset=utf-8")


def _metadata(blp: DialectBlueprint, jobs: Jobs) -> None:
    @blp.route("/api/jobs/edit_meta/<id:record>", methods=["PATCH", "POST"])
    @blp.login
    @blp.response(200, JobSchema)
    @blp.problems(400, 404)
    @blp.doc(requestBody=_body(PairBody))
    def edit_meta(principal: Principal, record: str) -> Response:
        """Set a metadatum of a job."""
        number = _id(record)
        return reply(jobs.edit(principal, number, read(request, _PAIR)))

    @blp.route("/api/jobs/edit_meta", methods=["PATCH"])
    @blp.login
    @blp.response(200, JobSchema)
    @blp.problems(400, 422)
    @blp.doc(requestBody=_body(EditBody))
    def edit_meta_by_request(principal: Principal) -> Response:
        """Set a metadatum of a job, by what its batch system calls it."""
        return reply(jobs.edit_which(principal, read(request, _EDIT)))


def _removal(blp: DialectBlueprint, jobs: Jobs) -> None:
    @blp.route("/api/jobs/delete_job/<id:record>", methods=["DELETE"])
    @blp.login
    @blp.response(200, MessageSchema)
    @blp.problems(400)
    def delete_job(principal: Principal, record: str) -> Response:
        """Remove a job's record; one that is not there is as good as removed."""
        return reply({"msg": jobs.delete(principal, _id(record))})

    @blp.route("/api/jobs/delete_job", methods=["DELETE"])
    @blp.login
    @blp.response(200, MessageSchema)
    @blp.problems(400, 422)
    @blp.doc(requestBody=_body(WhichBody))
    def delete_job_by_request(principal: Principal) -> Response:
        """Remove a job's record, by what its batch system calls it."""
        return reply({"msg": jobs.delete_which(principal, read(request, _WHICH))})

    @blp.route("/api/jobs/delete_job_before/<id:moment>", methods=["DELETE"])
    @blp.login
    @blp.response(200, MessageSchema)
    @blp.problems(400)
    @blp.doc(
        parameters=[{"in": "query", "name": "omit-tagged", "description": "`none`, `all` or `user`", "schema": _TEXT}]
    )
    def delete_jobs_before(principal: Principal, moment: str) -> Response:
        """Remove the records of all jobs that started before a moment, also of those that run."""
        before = integer(moment, "ts")
        return reply({"msg": jobs.delete_before(principal, before, request.args.get("omit-tagged", "none"))})


def _id(text: str) -> int:
    return integer(text, "id")


def _page(query: Query, parts: Iterator[list[Any]]) -> Iterator[str]:
    """The answer of a list, piece by piece: a page may have millions."""
    yield '{"jobs":['
    comma = ""
    for part in parts:
        if part:
            yield comma + json.dumps(part, ensure_ascii=False, separators=(",", ":"))[1:-1]
            comma = ","
    yield f'],"items":{query.items},"page":{query.page}}}'
