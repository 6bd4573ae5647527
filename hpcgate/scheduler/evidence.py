"""The start, exit and task records that a job's wrapper, supervisor or driver leaves in the job folder.

Each is one JSON object, written by atomic rename. The exit record is evidence of how a job ended when queue and
accounting no longer know it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from hpcgate.model.files import JobFolder
from hpcgate.model.job import JobRef, Observation, TaskObservation, Usage
from hpcgate.model.state import Evidence, JobState, Reason
from hpcgate.transport.base import Transport

MAX_RECORD_BYTES: Final = 1 << 16
MAX_TEXT_CHARS: Final = 4096


def read_exit(job: JobRef, transport: Transport) -> Observation | None:
    """What the exit record of the job's current attempt says; ``None`` = there is none.

    The record holds ``native_id exit_code signal reason message started_at ended_at`` and, where known, ``cpu_time_s
    max_rss_kib node``. One that carries another native id is of another run and does not count, nor does one that is
    not of this form: the folder belongs to the job's account, which may have written anything there.

    Raises:
        TransportError: the folder did not answer.
    """
    record = _record(JobFolder(job.folder).exit(job.attempt), job, transport)
    return None if record is None else parse_exit(record)


def _record(path: str, job: JobRef, transport: Transport) -> Mapping[str, Any] | None:
    """A record of this very run of a job; ``None`` = there is none, or what stands there is something else."""
    try:
        data = transport.read(path, length=MAX_RECORD_BYTES).data
    except FileNotFoundError:
        return None
    try:
        record = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) and record.get("native_id") == job.native_id else None


def read_tasks(job: JobRef, transport: Transport) -> tuple[TaskObservation, ...] | None:
    """What the driver's record says of the tasks of the job's current attempt, as far as they have begun.

    A task that ended after the job was told to stop counts as RUNNING: only the scheduler knows what that meant. It has
    its exit code or signal all the same.

    Returns:
        ``None`` where there is no such record.

    Raises:
        TransportError: the folder did not answer.
    """
    record = _record(JobFolder(job.folder).tasks(job.attempt), job, transport)
    tasks = record.get("tasks") if record is not None else None
    if record is None or not isinstance(tasks, list):
        return None
    node = _text(record.get("node"))
    nodes = (node,) if node else ()
    return tuple(_task(index, item, nodes) for index, item in enumerate(tasks[: job.tasks]) if isinstance(item, dict))


def _task(index: int, item: Mapping[str, Any], nodes: tuple[str, ...]) -> TaskObservation:
    exit_code, signal = _integer(item.get("exit_code"), 255), _integer(item.get("signal"), 127)
    state, reason = JobState.RUNNING, None
    if item.get("ended_at") is not None and item.get("stopped") is not True:
        completed = exit_code == 0 and item.get("signal") is None
        state = JobState.COMPLETED if completed else JobState.FAILED
        reason = None if completed else Reason.SIGNALED if signal is not None else Reason.EXIT_NONZERO
    return TaskObservation(
        index=index,
        state=state,
        reason=reason,
        exit_code=exit_code,
        signal=signal,
        started_at=_number(item.get("started_at")),
        ended_at=_number(item.get("ended_at")),
        nodes=nodes,
    )


def parse_exit(record: Mapping[str, Any], evidence: Evidence = Evidence.EXIT_FILE) -> Observation:
    """An exit record as an observation. Without an exit code of 0, and nothing that speaks against it, no COMPLETED.

    A value of a wrong type or out of range counts as not told, but it speaks against COMPLETED.
    """
    exit_code = _integer(record.get("exit_code"), 255)
    signal = _integer(record.get("signal"), 127)
    told = _text(record.get("reason"))
    reason = Reason(told) if told in set(Reason) else None
    if exit_code == 0 and record.get("signal") is None and record.get("reason") is None:
        state = JobState.COMPLETED
    elif reason in (Reason.CANCELED_BY_USER, Reason.CANCELED_BY_ADMIN, Reason.CANCELED_BY_GATEWAY):
        state = JobState.CANCELED
    else:
        state = JobState.FAILED
        reason = reason or (Reason.SIGNALED if signal is not None else Reason.EXIT_NONZERO)
    node = _text(record.get("node"))
    return Observation(
        native_id=str(record["native_id"]),
        state=state,
        evidence=evidence,
        reason=reason,
        message=_text(record.get("message")),
        exit_code=exit_code,
        signal=signal,
        started_at=_number(record.get("started_at")),
        ended_at=_number(record.get("ended_at")),
        nodes=(node,) if node else (),
        usage=Usage(
            cpu_time_s=_number(record.get("cpu_time_s")),
            max_rss_kib=_integer(record.get("max_rss_kib"), 2**53),
        ),
    )


def _integer(value: object, most: int) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most else None


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 2**53:
        return None
    return float(value)


def _text(value: object) -> str | None:
    return value[:MAX_TEXT_CHARS] if isinstance(value, str) else None
