"""Starting a job, within the time that clients wait for it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from hpcgate.errors import Conflict
from hpcgate.model.job import Job
from hpcgate.model.principal import Principal
from hpcgate.model.spec import JobSpec
from hpcgate.service.admission import JobRequest, Origin
from hpcgate.service.deadline import within
from hpcgate_dialect_rimrock import mapping
from hpcgate_dialect_rimrock.settings import HOME, Settings

if TYPE_CHECKING:
    from hpcgate.gateway import Gateway

NAME: Final = "rimrock"
#: What is left for the submit at least, however long the host took before, seconds.
_LEAST_S: Final = 0.1


def start(gateway: Gateway, settings: Settings, principal: Principal, wanted: Mapping[str, Any]) -> tuple[str, Job]:
    """Brings a job to its scheduler; its id here, and the job.

    Raises:
        CommandTimeout: the host did not take it in time. It is withdrawn, so it may be sent again.
        SiteError: nor does the host take it at all.
        InvalidSpec, JobRejected, Forbidden: as ``JobService.submit``.
    """
    until = time.monotonic() + settings.timeout_s
    host = wanted["host"]
    mapping.to_spec(wanted, None)  # what is wrong anyway is told without asking the host

    def prepare() -> tuple[str, str | None]:
        home = gateway.shell.home(principal, host)
        folder = mapping.folder_of(wanted["working_directory"], home)
        if folder is not None:
            gateway.shell.make_folder(principal, host, folder)
        return home, folder or (home if settings.default_directory == HOME else None)

    home, folder = within(settings.timeout_s, prepare, gateway.release_thread)
    spec = mapping.to_spec(wanted, folder)
    data = {"host": host, "home": home, "tag": wanted["tag"]}
    origin = Origin(dialect=NAME, data=data, scope=principal.name, of_spec=_size)
    request = JobRequest(spec=spec, site=host, origin=origin)
    left = max(until - time.monotonic(), _LEAST_S)
    job = gateway.jobs.submit(principal, request, within_s=left).job
    job_id = mapping.job_id_of(job.native_id or str(job.id), host)
    _name(gateway, principal, job, job_id)
    return job_id, job


def _size(told: JobSpec) -> dict[str, int]:
    """How large the job is, by its script's own directives."""
    nodes, cores = mapping.size_of(told.resources)
    return {"nodes": nodes, "cores": cores}


def _name(gateway: Gateway, principal: Principal, job: Job, job_id: str) -> None:
    """Notes the id. A scheduler that was set up anew counts from the start: the older job loses the name then."""
    try:
        gateway.foreign.give(principal, job.id, NAME, job_id, scope=principal.name)
    except Conflict:
        gateway.foreign.forget(principal, NAME, job_id, scope=principal.name)
        gateway.foreign.give(principal, job.id, NAME, job_id, scope=principal.name)
