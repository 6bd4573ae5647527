"""The listing as JSON, whatever the version of Slurm: fields that changed their form are read in all of them.

Numbers are plain or ``{"set", "infinite", "number"}``, states one word or a list, exit codes a wait status or an
object.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from hpcgate_slurm.indices import indices
from hpcgate_slurm.mark import Mark
from hpcgate_slurm.rows import Row
from hpcgate_slurm.states import shown
from hpcgate_slurm.values import nodes

#: Versions of Slurm's data parser whose documents were looked at, the newest last.
VERSIONS: Final = ("v0.0.40", "v0.0.41", "v0.0.42", "v0.0.43", "v0.0.44", "v0.0.45")

_OFFERED: Final = re.compile(r"data_parser/(v[\d.]+)")


def choose(told: str) -> str:
    """The newest version that is offered and known here; ``""`` = whatever Slurm takes by itself."""
    offered = set(_OFFERED.findall(told))
    return next((version for version in reversed(VERSIONS) if version in offered), "")


def read_jobs(text: str) -> tuple[Row, ...]:
    """The rows of ``squeue --json``.

    Raises:
        ValueError: it is no such document, or Slurm tells of errors in it.
    """
    document = json.loads(text)
    if not isinstance(document, dict) or not isinstance(document.get("jobs"), list):
        raise ValueError("it holds no list of jobs")
    if document.get("errors"):
        raise ValueError(f"it tells of errors: {str(document['errors'])[:200]}")
    return tuple(row for job in document["jobs"] for row in _rows(job))


def _rows(job: Mapping[str, Any]) -> Iterator[Row]:
    array, het = _number(job.get("array_job_id")), _number(job.get("het_job_id"))
    exit_code, signal = _ending(job.get("exit_code"))
    words = job.get("job_state")
    for index in _indices(job) if array else (None,):
        yield Row(
            native_id=str(array or het or job["job_id"]),
            index=index,
            component=_number(job.get("het_job_offset")) if het else None,
            word=shown([words] if isinstance(words, str) else words or []),
            reason=str(job.get("state_reason") or ""),
            exit_code=exit_code,
            signal=signal,
            submitted_at=_time(job.get("submit_time")),
            started_at=_time(job.get("start_time")),
            ended_at=_time(job.get("end_time")),
            restarts=_number(job.get("restart_cnt")),
            account=str(job.get("user_name") or "") or None,
            nodes=nodes(str(job.get("nodes") or "")),
            mark=Mark.read(_text(job.get("comment"))),
        )


def _indices(job: Mapping[str, Any]) -> Iterator[int | None]:
    """The index of a task, or those of all tasks that wait together."""
    index = _number(job.get("array_task_id"))
    if index is not None:
        yield index
        return
    told = str(job.get("array_task_string") or "")
    if told and "..." not in told:  # one that was cut off leaves the array incomplete
        yield from indices(told)


def _number(value: Any) -> int | None:
    if isinstance(value, Mapping):
        value = value.get("number") if value.get("set") and not value.get("infinite") else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _time(value: Any) -> float | None:
    return float(_number(value) or 0) or None


def _text(value: Any) -> str:
    # In accounting's documents a comment is an object with that of the job among others.
    return str((value.get("job") if isinstance(value, Mapping) else value) or "")


def _ending(value: Any) -> tuple[int | None, int | None]:
    """Exit code and signal."""
    if not isinstance(value, Mapping):
        status = _number(value)
        return (None, None) if status is None else ((status >> 8) & 0xFF, status & 0x7F)
    signal = value.get("signal")
    return _number(value.get("return_code")), _number(signal.get("id")) or 0 if isinstance(signal, Mapping) else 0
