"""Rimrock's words for what the gateway knows, and the other way round. Pure functions."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from datetime import datetime, tzinfo
from typing import Any, Final

from hpcgate.errors import InvalidSpec
from hpcgate.model.job import Attempt, Job
from hpcgate.model.spec import JobSpec, Resources
from hpcgate.model.state import JobState, Reason

_S = JobState

#: Its words for our states, but for CANCELED: see ``status_of``.
STATUSES: Final[Mapping[JobState, str]] = {
    **dict.fromkeys((_S.CREATED, _S.STAGING_IN, _S.SUBMITTING, _S.QUEUED, _S.HELD), "QUEUED"),
    **dict.fromkeys((_S.RUNNING, _S.SUSPENDED, _S.STAGING_OUT), "RUNNING"),
    _S.COMPLETED: "FINISHED",
    _S.FAILED: "ERROR",
}


def status_of(state: JobState, reason: Reason | None) -> str:
    """One of the five statuses. ABORTED is what the owner wished for; a job that others ended is an ERROR."""
    if state is JobState.CANCELED:
        return "ABORTED" if reason is Reason.CANCELED_BY_USER else "ERROR"
    return STATUSES[state]


def job_id_of(native_id: str, host: str) -> str:
    """Under which id a job goes out: PBS ids name their server already, others get the host as it was asked for."""
    return native_id if "." in native_id else f"{native_id}.{host}"


def folder_of(given: str | None, home: str) -> str | None:
    """The working directory as an absolute path; relative ones are below the home folder.

    Raises:
        InvalidSpec: a shell would have to say where that is.
    """
    if not given:
        return None
    if given == "~" or given.startswith("~/"):
        given = given[2:]
    if given.startswith(("~", "$")):
        raise InvalidSpec.of("working_directory", f"{given!r} is not expanded; give a path, absolute or below ~/")
    return posixpath.join(home, given).rstrip("/") or "/"


def to_spec(wanted: Mapping[str, Any], folder: str | None) -> JobSpec:
    """The job that a request describes.

    Args:
        wanted: the request.
        folder: where it starts; ``None`` = in a folder of its own.
    """
    tags = (wanted["tag"],) if wanted["tag"] else ()
    return JobSpec(script=wanted["script"], working_directory=folder, tags=tags)


def size_of(wanted: Resources) -> tuple[int, int]:
    """The nodes and the cores over all of them that a job asks for."""
    if wanted.total_cpus_range is not None:
        return wanted.nodes, wanted.total_cpus_range[0]
    if wanted.tasks is not None and wanted.cpus_per_node is None:
        return wanted.nodes, wanted.tasks * (wanted.cpus_per_task or 1)
    return wanted.nodes, wanted.nodes * wanted.least_cpus_per_node()


def from_job(job: Job, job_id: str, zone: tzinfo, earlier: Attempt | None = None) -> dict[str, str | None]:
    """A job with all that is known of it.

    Args:
        job: came by this dialect.
        job_id: its id here.
        zone: of its times.
        earlier: its last attempt that started, where the current one has not: what was known stays.
    """
    return brief(job, job_id) | _runtime(job, zone, earlier)


def brief(job: Job, job_id: str) -> dict[str, str | None]:
    """A job without what its scheduler tells of a run."""
    home = job.dialect_data.get("home", "~")
    return {
        "job_id": job_id,
        "stdout_path": _absolute(job.stdout_path, home),
        "stderr_path": _absolute(job.stderr_path, home),
        "status": status_of(job.state, job.reason),
        "tag": job.dialect_data.get("tag"),
    }


def _absolute(path: str | None, home: str) -> str | None:
    return posixpath.join(home, path[2:]) if path is not None and path.startswith("~/") else path


def _runtime(job: Job, zone: tzinfo, earlier: Attempt | None) -> dict[str, str | None]:
    known: dict[str, str | None] = {}
    started_at, nodes = job.started_at, job.nodes
    if started_at is None and earlier is not None:
        started_at, nodes = earlier.started_at, earlier.nodes
    if started_at is not None:
        # The job's own record, which comes first, names one node alone; accounting names them all.
        known["nodes"] = str(max(len(nodes), job.dialect_data.get("nodes", 1)))
        known["cores"] = str(job.dialect_data.get("cores", 1))
        known["start_time"] = moment(started_at, zone)
        known["queue_time"] = duration(started_at - (job.submitted_at or job.created_at))
    if job.ended_at is not None and job.state.final:
        known["end_time"] = moment(job.ended_at, zone)
        if started_at is not None:
            known["wall_time"] = duration(job.ended_at - started_at)
    return known


def moment(at: float, zone: tzinfo) -> str:
    """``2026-03-01 09:15:02``."""
    return datetime.fromtimestamp(at, zone).strftime("%Y-%m-%d %H:%M:%S")


def duration(seconds: float) -> str:
    """``00:01:40``; past a day ``1-00:01:40``."""
    minutes, second = divmod(max(round(seconds), 0), 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    clock = f"{hour:02}:{minute:02}:{second:02}"
    return f"{days}-{clock}" if days else clock
