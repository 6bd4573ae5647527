"""One observation for a gang, from the rows of its components and the records that its tasks leave."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from hpcgate.errors import TransportError
from hpcgate.model.files import JobFolder
from hpcgate.model.job import JobRef, Observation, TaskObservation, Usage
from hpcgate.model.state import FINAL, Evidence, JobState, Phase, Reason
from hpcgate.scheduler.evidence import MAX_RECORD_BYTES, parse_exit
from hpcgate.transport.base import Transport
from hpcgate_slurm.rows import Row

#: Name of the exit record of a gang, which tells of its script alone: the tasks have records of their own.
OUTCOME: Final = "outcome"
_MAX_BYTES: Final = 8 << 20
#: Ends of a job that are no end of each of its tasks: the launcher decided it.
_DECIDED: Final = frozenset({Reason.EXIT_NONZERO, Reason.SIGNALED})


def observe(rows: Sequence[Row], evidence: Evidence) -> Observation:
    """What the rows of all components say of the job: the first one runs the script, so its end is the job's."""
    ordered = sorted(rows, key=lambda row: row.component or 0)
    whole = replace(ordered[0].observe(evidence), nodes=_nodes(ordered), usage=_usage(ordered))
    if whole.state in FINAL and not all(row.ended for row in rows):
        whole = replace(
            whole, state=JobState.RUNNING, phase=Phase.COMPLETING, reason=None, exit_code=None, signal=None,
            ended_at=None,
        )  # fmt: skip
    if whole.state is None or whole.state in FINAL:
        return whole  # its tasks are told by their records
    return replace(whole, tasks=tuple(_under_way(ordered, whole.state)))


def _under_way(rows: Sequence[Row], state: JobState) -> Iterator[TaskObservation]:
    by_number = {row.component or 0: row for row in rows}
    for number, (name, count) in enumerate(_roles(rows)):
        row = by_number.get(number, rows[0])
        # Which of several nodes a task is on is told by its record.
        where = row.nodes if len(row.nodes) == 1 and state is not JobState.QUEUED else ()
        started_at = row.started_at if state in (JobState.RUNNING, JobState.SUSPENDED) else None
        for index in range(count):
            yield TaskObservation(role=name, index=index, state=state, started_at=started_at, nodes=where)


def is_gang(rows: Sequence[Row]) -> bool:
    """Whether the rows are of a job with roles."""
    return bool(_roles(rows))


def _roles(rows: Sequence[Row]) -> tuple[tuple[str, int], ...]:
    return next((row.mark.roles for row in rows if row.mark and row.mark.roles), ())


def _nodes(rows: Sequence[Row]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(node for row in rows if not row.waits for node in row.nodes))


def _usage(rows: Sequence[Row]) -> Usage | None:
    used = [row.usage for row in rows if row.usage is not None]
    times = [each.cpu_time_s for each in used if each.cpu_time_s is not None]
    sizes = [each.max_rss_kib for each in used if each.max_rss_kib is not None]
    return Usage(cpu_time_s=sum(times) if times else None, max_rss_kib=max(sizes, default=None)) if used else None


# --- records ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Record:
    """How one task ended by itself."""

    status: int
    started_at: float
    ended_at: float
    node: str


def with_records(seen: Observation, rows: Sequence[Row], job: JobRef, transport: Transport) -> Observation:
    """A gang that has ended, with what became of each task."""
    attempt = job.attempt if seen.restarts is None else 1 + seen.restarts
    records = _read(JobFolder(job.folder), attempt, transport)
    tasks = [
        _task(name, index, records.get((name, index)), seen) for name, count in _roles(rows) for index in range(count)
    ]
    return replace(seen, tasks=tuple(tasks))


def read_outcome(job: JobRef, transport: Transport) -> Observation | None:
    """How a gang ended, by its own records alone: for where nobody else tells.

    Raises:
        TransportError: the folder did not answer.
    """
    folder = JobFolder(job.folder)
    try:
        record = json.loads(transport.read(f"{folder.root}/{OUTCOME}.{job.attempt}", length=MAX_RECORD_BYTES).data)
    except (FileNotFoundError, ValueError, RecursionError):
        return None
    if not isinstance(record, dict) or record.get("native_id") != job.native_id:
        return None
    seen = parse_exit(record)
    tasks = [_task(*place, each, seen) for place, each in sorted(_read(folder, job.attempt, transport).items())]
    return replace(seen, tasks=tuple(tasks))


def _task(role: str, index: int, record: Record | None, job: Observation) -> TaskObservation:
    if record is None:
        state, reason = _without_record(job)
        return TaskObservation(role=role, index=index, state=state, reason=reason, ended_at=job.ended_at)
    signal = record.status - 128 if 128 < record.status <= 192 else None
    reason_of = Reason.SIGNALED if signal else Reason.EXIT_NONZERO
    return TaskObservation(
        role=role,
        index=index,
        state=JobState.FAILED if record.status else JobState.COMPLETED,
        reason=reason_of if record.status else None,
        exit_code=None if signal else record.status,
        signal=signal,
        started_at=record.started_at,
        ended_at=record.ended_at,
        nodes=(record.node,),
    )


def _without_record(job: Observation) -> tuple[JobState, Reason | None]:
    """What became of a task that did not end by itself: what ended the job, or else the launcher."""
    if job.state is JobState.CANCELED:
        return job.state, job.reason
    if job.state is JobState.FAILED and job.reason not in _DECIDED:
        return job.state, job.reason
    return JobState.CANCELED, Reason.CANCELED_BY_GATEWAY


def _read(folder: JobFolder, attempt: int, transport: Transport) -> Mapping[tuple[str, int], Record]:
    """The file belongs to the job's account, which may have written anything there: what is no record is left out."""
    try:
        data = transport.read(f"{folder.root}/gang.{attempt}", length=_MAX_BYTES).data
    except (FileNotFoundError, TransportError):
        return {}
    found = {}
    for line in data.splitlines():
        try:
            told = json.loads(line)
            status, index = int(told["status"]), int(told["index"])
            started_at, ended_at = float(told["started_at"]), float(told["ended_at"])
            if 0 <= status <= 255 and 0 <= started_at <= ended_at < 2**53:
                found[str(told["role"]), index] = Record(status, started_at, ended_at, str(told["node"])[:255])
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
            continue
    return found
