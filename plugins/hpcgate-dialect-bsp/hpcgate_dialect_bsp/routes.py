"""The routes. All of it is decided elsewhere; here is what is called how."""

from __future__ import annotations

from functools import partial

from flask import Response, request

from hpcgate.model.principal import Principal
from hpcgate.server.auth import caller
from hpcgate.server.byteranges import BYTES, download
from hpcgate.server.dialect_api import DialectBlueprint
from hpcgate.server.smorest import empty, reply
from hpcgate_dialect_bsp.making import NAME
from hpcgate_dialect_bsp.payload import read_upload
from hpcgate_dialect_bsp.schemas import (
    FILES,
    HpcSchema,
    JobSchema,
    PayloadSchema,
    ProjectSchema,
    QuotaSchema,
    StatusSchema,
)
from hpcgate_dialect_bsp.service import Bsp

_PAYLOAD = {
    "name": "Payload",
    "description": "the payload, JSON on one line; or send it as the part `payload` of a form",
    "schema": {"type": "string", "example": '{"command": "ls", "runtime": 1}'},
}
_DISPOSITION = {
    "name": "Content-Disposition",
    "description": "names the file",
    "schema": {"type": "string", "example": "attachment; filename=job.zip"},
}
_BINARY = {"type": "string", "format": "binary"}
_FORM = {"type": "object", "properties": {"file": _BINARY, "payload": PayloadSchema}}
_BODY = {"content": {BYTES: {"schema": _BINARY}, "multipart/form-data": {"schema": _FORM}}}


def routes(bsp: Bsp) -> DialectBlueprint:
    """All routes of the API."""
    blp = DialectBlueprint(NAME, __name__, description="HPC systems behind one service account.")
    _open_routes(blp, bsp)
    _quota_routes(blp, bsp)
    _submit_routes(blp, bsp)
    _job_routes(blp, bsp)
    _file_routes(blp, bsp)
    return blp


def _open_routes(blp: DialectBlueprint, bsp: Bsp) -> None:
    """What needs no token."""

    @blp.route("/status")
    @blp.response(200, StatusSchema)
    def status() -> Response:
        """Tell that the service is there."""
        return reply({"bsp-service-account-status": 1})

    @blp.route("/hpc")
    @blp.response(200, HpcSchema(many=True))
    def list_hpcs() -> Response:
        """List the systems."""
        return reply(bsp.hpcs())

    @blp.route("/hpc/<hpc>")
    @blp.response(200, HpcSchema)
    @blp.problems(404)
    def get_hpc(hpc: str) -> Response:
        """Look at a system."""
        return reply(bsp.hpc(hpc))

    @blp.route("/projects")
    @blp.response(200, ProjectSchema(many=True))
    def list_projects() -> Response:
        """List the projects; with figures for those who may use them."""
        return reply(bsp.projects(caller(request)))

    @blp.route("/projects/<hpc>")
    @blp.response(200, ProjectSchema(many=True))
    @blp.problems(404)
    def list_projects_of(hpc: str) -> Response:
        """List the projects of a system."""
        return reply(bsp.projects(caller(request), hpc))

    @blp.route("/projects/<hpc>/<project>")
    @blp.response(200, ProjectSchema)
    @blp.problems(404)
    def get_project(hpc: str, project: str) -> Response:
        """Look at a project."""
        return reply(bsp.project(caller(request), hpc, project))


def _quota_routes(blp: DialectBlueprint, bsp: Bsp) -> None:
    @blp.route("/quotas")
    @blp.login
    @blp.response(200, QuotaSchema(many=True))
    def list_quotas(principal: Principal) -> Response:
        """List what one has left."""
        return reply(bsp.quotas(principal))

    @blp.route("/quotas/<hpc>")
    @blp.login
    @blp.response(200, QuotaSchema(many=True))
    @blp.problems(404)
    def list_quotas_of(principal: Principal, hpc: str) -> Response:
        """List what one has left at a system."""
        return reply(bsp.quotas(principal, hpc))

    @blp.route("/quotas/<hpc>/<project>")
    @blp.login
    @blp.response(200, QuotaSchema)
    @blp.problems(404)
    def get_quota(principal: Principal, hpc: str, project: str) -> Response:
        """Look at what one has left of a project."""
        return reply(bsp.quota(principal, hpc, project))


def _submit_routes(blp: DialectBlueprint, bsp: Bsp) -> None:
    upload = partial(read_upload, request)

    @blp.route("/jobs/<hpc>", methods=["POST"])
    @blp.login
    @blp.response(201, JobSchema)
    @blp.problems(400, 404, 413, 502)
    @blp.header(_PAYLOAD)
    @blp.header(_DISPOSITION)
    @blp.doc(requestBody=_BODY)
    def submit(principal: Principal, hpc: str) -> Response:
        """Submit a job into the default project of a system."""
        return reply(bsp.submit(principal, hpc, None, upload), 201)

    @blp.route("/jobs/<hpc>/<project>", methods=["POST"])
    @blp.login
    @blp.response(201, JobSchema)
    @blp.problems(400, 404, 413, 502)
    @blp.header(_PAYLOAD)
    @blp.header(_DISPOSITION)
    @blp.doc(requestBody=_BODY)
    def submit_into(principal: Principal, hpc: str, project: str) -> Response:
        """Submit a job into a project."""
        return reply(bsp.submit(principal, hpc, project, upload), 201)

    @blp.route("/jobs/<hpc>/<project>/example")
    @blp.login
    @blp.response(200, JobSchema)
    @blp.problems(400, 404, 502)
    def example(principal: Principal, hpc: str, project: str) -> Response:
        """Submit a job that tells the date. It costs quota like any other."""
        if request.method == "HEAD":
            return empty()  # a look at the path is no wish for a job
        return reply(bsp.example(principal, hpc, project))


def _job_routes(blp: DialectBlueprint, bsp: Bsp) -> None:
    @blp.route("/jobs", methods=["GET"])
    @blp.login
    @blp.response(200, JobSchema(many=True))
    def list_jobs(principal: Principal) -> Response:
        """List one's jobs, newest first."""
        return reply(bsp.jobs(principal))

    @blp.route("/jobs/<hpc>", methods=["GET"])
    @blp.login
    @blp.response(200, JobSchema(many=True))
    @blp.problems(404)
    def list_jobs_of(principal: Principal, hpc: str) -> Response:
        """List one's jobs at a system."""
        return reply(bsp.jobs(principal, hpc))

    @blp.route("/jobs/<hpc>/<project>", methods=["GET"])
    @blp.login
    @blp.response(200, JobSchema(many=True))
    @blp.problems(404)
    def list_jobs_in(principal: Principal, hpc: str, project: str) -> Response:
        """List one's jobs in a project."""
        return reply(bsp.jobs(principal, hpc, project))

    @blp.route("/jobs/<hpc>/<project>/<job_id>", methods=["GET"])
    @blp.login
    @blp.response(200, JobSchema)
    @blp.problems(404)
    def get_job(principal: Principal, hpc: str, project: str, job_id: str) -> Response:
        """Look at a job."""
        return reply(bsp.job(principal, hpc, project, job_id))

    @blp.route("/jobs/<hpc>/<project>/<job_id>", methods=["DELETE"])
    @blp.login
    @blp.response(200, JobSchema)
    @blp.problems(404, 502)
    def remove_job(principal: Principal, hpc: str, project: str, job_id: str) -> Response:
        """Cancel a job, or remove the files of one that has ended."""
        return reply(bsp.remove(principal, hpc, project, job_id))


def _file_routes(blp: DialectBlueprint, bsp: Bsp) -> None:
    @blp.route("/files/<hpc>/<project>/<job_id>")
    @blp.login
    @blp.response(200, FILES)
    @blp.problems(404, 502)
    def list_files(principal: Principal, hpc: str, project: str, job_id: str) -> Response:
        """List the files of a job."""
        return reply(bsp.files(principal, hpc, project, job_id))

    @blp.route("/files/<hpc>/<project>/<job_id>/<file_id>")
    @blp.login
    @blp.response(200, _BINARY, content_type=BYTES)
    @blp.problems(404, 416, 502)
    def get_file(principal: Principal, hpc: str, project: str, job_id: str, file_id: str) -> Response:
        """Download a file, by its name or its id."""
        name, read = bsp.file(principal, hpc, project, job_id, file_id)
        return download(read, request, name)
