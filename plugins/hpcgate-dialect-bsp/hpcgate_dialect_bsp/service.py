"""What the routes ask of the gateway: systems, projects, jobs and files by the names that clients know."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from hpcgate.errors import Conflict, Forbidden, JobRejected, NotFound, QuotaExceeded, SiteError
from hpcgate.model.allocation import Project
from hpcgate.model.files import FileChunk, FileInfo
from hpcgate.model.job import Job
from hpcgate.model.principal import Principal, Role
from hpcgate.model.query import MAX_LIMIT, JobFilter
from hpcgate.service.admission import JobRequest
from hpcgate_dialect_bsp import mapping
from hpcgate_dialect_bsp.making import NAME, example_request, job_request
from hpcgate_dialect_bsp.payload import Upload
from hpcgate_dialect_bsp.schemas import read_payload
from hpcgate_dialect_bsp.settings import Hpc, Kind, Settings
from hpcgate_dialect_bsp.stages import Step, first_stage, step_of

if TYPE_CHECKING:
    from hpcgate.gateway import Gateway

Wire = dict[str, Any]

_JOB_ID: Final = re.compile(r"[A-Z0-9_-]{1,160}\Z")


@dataclass(frozen=True, slots=True)
class Place:
    """A project of a system."""

    hpc_name: str
    hpc: Hpc
    project: Project


class Bsp:
    """The use cases of this API.

    Args:
        gateway: the services.
        settings: which systems and projects there are.
        clock: epoch seconds.
    """

    def __init__(self, gateway: Gateway, settings: Settings, clock: Callable[[], float] = time.time) -> None:
        self._gateway = gateway
        self._hpcs = settings.hpc
        self._clock = clock

    # --- systems

    def hpcs(self) -> list[Wire]:
        """All systems."""
        return [mapping.hpc_wire(name, hpc) for name, hpc in self._hpcs.items()]

    def hpc(self, asked: str) -> Wire:
        """One system."""
        return mapping.hpc_wire(*self._hpc(asked))

    def _hpc(self, asked: str) -> tuple[str, Hpc]:
        name = asked.upper()
        if name not in self._hpcs:
            raise NotFound("HPC not found!")
        return name, self._hpcs[name]

    # --- projects and quotas

    def projects(self, principal: Principal | None, asked: str | None = None) -> list[Wire]:
        """The projects that the configuration lists; with figures for those who may use them."""
        return [self._project_wire(principal, place) for place in self._places(asked)]

    def project(self, principal: Principal | None, asked: str, name: str) -> Wire:
        """One of them."""
        return self._project_wire(principal, self._place(asked, name))

    def _project_wire(self, principal: Principal | None, place: Place) -> Wire:
        wire = mapping.project_wire(place.hpc_name, place.project.name)
        projects = self._gateway.projects
        if principal is None or not self._may_use(principal, place):
            return wire
        limits, total = projects.limits(place.project, principal.name), projects.total(place.project)
        return wire | mapping.project_figures(place.project, limits, total)

    def quotas(self, principal: Principal, asked: str | None = None) -> list[Wire]:
        """What the principal has left of the projects that it may use."""
        return [self._quota_wire(principal, place) for place in self._places(asked) if self._may_use(principal, place)]

    def quota(self, principal: Principal, asked: str, name: str) -> Wire:
        """What it has left of one of them."""
        return self._quota_wire(principal, self._usable(principal, asked, name))

    def _quota_wire(self, principal: Principal, place: Place) -> Wire:
        balance = self._gateway.projects.balance(place.project, principal.name)
        return mapping.quota_wire(place.hpc_name, place.project.name, principal.name, balance)

    def _places(self, asked: str | None) -> Iterator[Place]:
        hpcs: Mapping[str, Hpc] = self._hpcs if asked is None else dict([self._hpc(asked)])
        for hpc_name, hpc in hpcs.items():
            for name in hpc.projects:
                project = self._gateway.projects.find(name)
                if project is not None:
                    yield Place(hpc_name, hpc, project)

    def _place(self, asked: str, name: str | None) -> Place:
        hpc_name, hpc = self._hpc(asked)
        wanted = hpc.default_project if name is None else name
        project = self._gateway.projects.find(wanted) if wanted is not None and wanted in hpc.projects else None
        if project is None:
            raise NotFound("Project not found!" if name else f"Project not found! {hpc_name} has no default project")
        return Place(hpc_name, hpc, project)

    def _usable(self, principal: Principal, asked: str, name: str | None) -> Place:
        place = self._place(asked, name)
        if not self._may_use(principal, place):
            raise Forbidden(f"You do not have permission to use project {place.project.name}")
        return place

    def _may_use(self, principal: Principal, place: Place) -> bool:
        return self._gateway.projects.is_member(principal, place.project) or principal.has(Role.ADMIN)

    # --- jobs

    def submit(self, principal: Principal, asked: str, name: str | None, upload: Callable[[], Upload]) -> Wire:
        """Makes a job of what came."""
        place = self._usable(principal, asked, name)
        came = upload()
        payload = read_payload(came.payload)
        request = job_request(place.hpc_name, place.hpc, place.project.name, payload, came.file, self._clock())
        return self._submit(principal, place, request, payload.expiration_time)

    def example(self, principal: Principal, asked: str, name: str) -> Wire:
        """Makes a job that only tells the date."""
        place = self._usable(principal, asked, name)
        return self._submit(principal, place, example_request(place.hpc_name, place.hpc, place.project.name), None)

    def _submit(self, principal: Principal, place: Place, request: JobRequest, expires_at: float | None) -> Wire:
        assert request.origin is not None
        assert request.origin.foreign_id is not None
        job_id = request.origin.foreign_id
        try:
            job = self._gateway.jobs.submit(principal, request).job
        except QuotaExceeded:
            raise
        except JobRejected:
            self._forget(principal, job_id)
            raise
        if expires_at is not None:
            job = self._gateway.jobs.expire(principal, job.id, expires_at)
        return mapping.job_wire(job, job_id, first_stage(place.hpc.kind))

    def _forget(self, principal: Principal, job_id: str) -> None:
        """Removes a job that its scheduler refused: clients never learn its id, and it would keep their space."""
        with suppress(NotFound, SiteError):  # it was refused before it was stored, or stays listed as failed
            self._gateway.jobs.delete(principal, self._gateway.foreign.job(principal, NAME, job_id).id)

    def jobs(self, principal: Principal, asked: str | None = None, name: str | None = None) -> list[Wire]:
        """The principal's own jobs, newest first."""
        hpc_name = None if asked is None else self._hpc(asked)[0]
        project = None if asked is None or name is None else self._usable(principal, asked, name).project.name
        found = [
            job
            for job in self._own_jobs(principal, project)
            if job.dialect == NAME and hpc_name in (None, job.dialect_data["hpc"])
        ]
        names = self._gateway.foreign.names(NAME, found)
        return [mapping.job_wire(job, names[job.id]) for job in found if job.id in names]

    def _own_jobs(self, principal: Principal, project: str | None) -> Iterator[Job]:
        query = JobFilter(owner=principal.name, tags=(NAME,), project=project)
        cursor: str | None = None
        while True:
            page = self._gateway.jobs.list(principal, query, cursor=cursor, limit=MAX_LIMIT)
            yield from page.items
            cursor = page.next_cursor
            if cursor is None:
                return

    def job(self, principal: Principal, asked: str, name: str, job_id: str) -> Wire:
        """One job."""
        return mapping.job_wire(self._job(principal, asked, name, job_id), job_id)

    def remove(self, principal: Principal, asked: str, name: str, job_id: str) -> Wire:
        """Cancels a job, or removes the files of one that has ended."""
        job = self._job(principal, asked, name, job_id)
        if job.state.final:
            job = self._gateway.jobs.remove_files(principal, job.id)
        elif not job.canceling:
            job = self._gateway.jobs.cancel(principal, [job.id])[0]
        return mapping.job_wire(job, job_id)

    def _job(self, principal: Principal, asked: str, name: str, job_id: str) -> Job:
        place = self._usable(principal, asked, name)
        job = self._found(principal, job_id)
        if job is None or (job.dialect_data["hpc"], job.dialect_data["project"]) != (
            place.hpc_name,
            place.project.name,
        ):
            raise NotFound("Job not found!")
        return job

    def _found(self, principal: Principal, job_id: str) -> Job | None:
        if not _JOB_ID.match(job_id):
            return None
        try:
            job = self._gateway.foreign.job(principal, NAME, job_id)
            return self._gateway.jobs.get(principal, job.id)
        except NotFound:
            return None

    # --- files

    def files(self, principal: Principal, asked: str, name: str, job_id: str) -> list[Any]:
        """The files of a job."""
        job, found = self._files(principal, asked, name, job_id)
        return mapping.files_wire(Kind(job.dialect_data["kind"]), found, ended=job.state.final)

    def file(
        self, principal: Principal, asked: str, name: str, job_id: str, file_id: str
    ) -> tuple[str, Callable[[int, int | None], FileChunk]]:
        """The name of a file, and what reads a part of it."""
        job, found = self._files(principal, asked, name, job_id)
        file = mapping.file_named(file_id, found)
        if file is None:
            raise NotFound("File not found!")
        return file.name, partial(self._read, principal, job.id, file.name)

    def _read(self, principal: Principal, job: int, path: str, offset: int, length: int | None) -> FileChunk:
        return self._gateway.files.read(principal, job, path, offset=offset, length=length)

    def _files(self, principal: Principal, asked: str, name: str, job_id: str) -> tuple[Job, Sequence[FileInfo]]:
        job = self._job(principal, asked, name, job_id)
        if step_of(job) is Step.DELETED:
            raise NotFound("Job files not found!")
        try:
            return job, self._gateway.files.list(principal, job.id)
        except Conflict:  # they went at this very moment
            raise NotFound("Job files not found!") from None
