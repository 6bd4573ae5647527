"""Our models in their words. Nothing here asks anybody."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from hpcgate.model.allocation import Grant, Project
from hpcgate.model.files import FileInfo
from hpcgate.model.job import Job
from hpcgate.model.quota import Balance
from hpcgate_dialect_bsp.settings import Hpc, Kind
from hpcgate_dialect_bsp.stages import Stage, stage_of

#: What the streams of a job are called among its files.
STREAMS: Final[Mapping[Kind, tuple[str, str]]] = {
    Kind.COMMAND: ("stdout", "stderr"),
    Kind.TOOL: ("STDOUT", "STDERR"),
}


def number_of(*names: str) -> int:
    """A number for what has none of its own; the same for ever, and for every server."""
    return zlib.crc32("/".join(names).encode()) & 0x7FFF_FFFF


def date(at: float | None) -> str | None:
    """A time in whole seconds: clients cannot read fractions, and know UTC as Z alone."""
    return None if at is None else datetime.fromtimestamp(int(at), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def hpc_wire(name: str, hpc: Hpc) -> dict[str, Any]:
    """A system."""
    return {"id": name, "name": hpc.title or name}


def job_wire(job: Job, job_id: str, stage: Stage | None = None) -> dict[str, Any]:
    """A job.

    Args:
        job: came by this dialect.
        job_id: the id that clients know.
        stage: instead of that in which it is.
    """
    data = job.dialect_data
    stage = stage or stage_of(job, Kind(data["kind"]))
    return {
        "id": job.id,
        "job_id": job_id,
        "owner": job.owner,
        "project": number_of(data["hpc"], data["project"]),
        "project_hpc": data["hpc"],
        "project_name": data["project"],
        "title": data["title"],
        "runtime": data["runtime"],
        "init_date": date(job.created_at),
        "end_date": date(job.ended_at or job.updated_at) if stage.terminal else None,
        "stage": stage.word,
        "terminal_stage": stage.terminal,
        "failed": stage.failed,
        "is_advanced": False,
    }


def project_wire(hpc: str, name: str) -> dict[str, Any]:
    """A project as everybody may see it."""
    return {"hpc": hpc, "id": number_of(hpc, name), "name": name}


def project_figures(project: Project, limits: Grant, total: Balance) -> dict[str, Any]:
    """What those who may use it see beside: what all have, and what each may have."""
    return {
        "init_time": project.total_time_s,
        "time_left": total.time.left,
        "user_time": limits.time_s,
        "init_space": _kb(project.total_space_kb),
        "space_left": _kb(total.space.left),
        "user_space": _kb(limits.space_kb),
    }


def quota_wire(hpc: str, name: str, user: str, balance: Balance) -> dict[str, Any]:
    """What a user has left of a project."""
    return {
        "id": number_of(hpc, name, user),
        "user": user,
        "project": number_of(hpc, name),
        "project_hpc": hpc,
        "project_name": name,
        "time_left": balance.time.left,
        "space_left": _kb(balance.space.left),
    }


def _kb(value: int | None) -> float | None:
    return None if value is None else float(value)


# --- files


def plain_files(found: Sequence[FileInfo]) -> list[FileInfo]:
    """The files that can be named in a path and in JSON: clients know no folders."""
    return [each for each in found if not (each.is_dir or each.is_link) and each.name.isprintable()]


def files_wire(kind: Kind, found: Sequence[FileInfo], *, ended: bool) -> list[Any]:
    """The files of a job, as systems of its kind list them: streams first, as people look for them."""
    streams = STREAMS[kind]
    files = sorted(
        plain_files(found),
        key=lambda each: (streams.index(each.name) if each.name in streams else len(streams), each.name),
    )
    if kind is Kind.COMMAND:
        return [f"/{each.name}" for each in files]
    if ended:
        return [{"fileid": file_id(each.name), "filename": each.name, "length": str(each.size)} for each in files]
    return [{"filename": each.name, "length": str(each.size), "modified": date(each.modified_at)} for each in files]


def file_id(name: str) -> str:
    """The id of a file of a tool: the same in every list, whatever comes beside it."""
    return str(zlib.crc32(name.encode()))


def file_named(asked: str, found: Sequence[FileInfo]) -> FileInfo | None:
    """The file that a path means, by name or by id; a name goes first."""
    files = plain_files(found)
    by_name = next((each for each in files if each.name == asked), None)
    return by_name or next((each for each in files if file_id(each.name) == asked), None)
