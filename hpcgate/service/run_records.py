"""What the records of the gateway's own jobs say: one for each run, and of an array for each element of a run."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from hpcgate.model.job import Attempt, Job, Task, Usage
from hpcgate.model.quota import cores_of
from hpcgate.model.record import Monitoring, Record, RecordState, Resource, Sharing, Source
from hpcgate.model.state import JobState, Reason

#: (site, names of nodes) -> (cluster, sub-cluster).
Place = Callable[[str, Sequence[str]], tuple[str, str]]

#: A number that the native id begins with: ``12``, ``12_3``, ``12[].server``, but not the ``12`` of ``12ab34``.
_NUMBER: Final = re.compile(r"\d{1,18}(?![0-9A-Za-z])")
_RAN: Final = frozenset({JobState.RUNNING, JobState.SUSPENDED, JobState.STAGING_OUT, JobState.COMPLETED})
_BY_REASON: Final = {
    Reason.TIMEOUT: RecordState.TIMEOUT,
    Reason.OUT_OF_MEMORY: RecordState.OUT_OF_MEMORY,
    Reason.NODE_FAIL: RecordState.NODE_FAIL,
    Reason.BOOT_FAIL: RecordState.BOOT_FAIL,
    Reason.PREEMPTED: RecordState.PREEMPTED,
    Reason.DEADLINE: RecordState.DEADLINE,
}
_BY_STATE: Final = {
    JobState.COMPLETED: RecordState.COMPLETED,
    JobState.FAILED: RecordState.FAILED,
    JobState.CANCELED: RecordState.CANCELLED,
    JobState.SUSPENDED: RecordState.SUSPENDED,
}

Run = Attempt | Task


def records_of(job: Job, attempts: Sequence[Attempt], tasks: Sequence[Task], place: Place, now: float) -> list[Record]:
    """The records that a job should have now. What never ran has none.

    Args:
        job: as it is; the last attempt is its present one.
        attempts: all of them, in order.
        tasks: of an array what is known of its elements, in all attempts.
        place: knows clusters.
        now: epoch seconds, for what has begun at an unknown time.
    """
    return list(_records(job, attempts, tasks, place, now))


def _records(
    job: Job, attempts: Sequence[Attempt], tasks: Sequence[Task], place: Place, now: float
) -> Iterator[Record]:
    for attempt in attempts:
        present = attempt.attempt == job.attempt
        runs: list[Run] = [task for task in tasks if task.attempt == attempt.attempt]
        if not runs and (job.spec.array is None or attempt.state.final):
            runs = [attempt]
        for run in runs:
            if _has_run(run):
                yield _record(job, attempt, run, place, now, over=not present or run.state.final)


def _has_run(run: Run) -> bool:
    return run.started_at is not None or run.state in _RAN


def _record(job: Job, attempt: Attempt, run: Run, place: Place, now: float, *, over: bool) -> Record:
    number = number_of(attempt.native_id, job.id)
    began = run.started_at or run.ended_at or now
    cluster, subcluster = place(job.site or "", run.nodes)
    of_job = run is attempt and attempt.attempt == job.attempt
    duration_s = max(0, int(run.ended_at or began) - int(began)) if over else 0
    usage = run.usage if isinstance(run, Task) else job.usage if of_job else None
    return Record(
        number=number,
        job_id=job.id,
        attempt=attempt.attempt,
        array_number=number if job.spec.array is not None else 0,
        array_index=run.index if isinstance(run, Task) else -1,
        name=job.spec.name,
        user=job.owner,
        project=job.spec.project or job.spec.account or "",
        cluster=cluster,
        subcluster=subcluster,
        partition=job.spec.queue or "",
        site=job.site,
        state=_state(run, over=over),
        sharing=Sharing.NONE if job.spec.resources.exclusive else Sharing.MULTI_USER,
        monitoring=Monitoring.OPEN,
        num_nodes=len(run.nodes) or job.spec.resources.nodes,
        num_hwthreads=len(job.cpu_ids) if of_job and job.cpu_ids else cores_of(job.spec.resources),
        num_accelerators=len(job.gpu_ids)
        if of_job and job.gpu_ids
        else job.spec.resources.nodes * job.spec.resources.gpus_per_node,
        submitted_at=None if attempt.submitted_at is None else int(attempt.submitted_at),
        started_at=int(began),
        duration_s=duration_s,
        walltime_s=job.spec.resources.walltime_s or 0,
        resources=_resources(job, run.nodes, told=of_job),
        source=Source.GATEWAY,
        metadata={"jobName": job.spec.name},
        statistics=statistics_of(usage, duration_s) if over else None,
    )


def number_of(native_id: str | None, job_id: int) -> int:
    """What a batch system calls a job, as a number; else the gateway's own."""
    found = _NUMBER.match(native_id or "")
    return int(found[0]) if found else job_id


def _resources(job: Job, nodes: Sequence[str], *, told: bool) -> tuple[Resource, ...]:
    """By node. Which threads and accelerators there are is known for jobs of one node alone."""
    alone = told and len(nodes) == 1
    return tuple(
        Resource(hostname=name, hwthreads=job.cpu_ids if alone else (), accelerators=job.gpu_ids if alone else ())
        for name in nodes
    )


def _state(run: Run, *, over: bool) -> RecordState:
    if not over:
        return _BY_STATE.get(run.state, RecordState.RUNNING)
    if run.reason in _BY_REASON:
        return _BY_REASON[run.reason]
    return _BY_STATE[run.state] if run.state.final else RecordState.STOPPED


def statistics_of(usage: Usage | None, duration_s: int) -> dict[str, Any] | None:
    """What accounting tells, in the form of statistics: of one number that is all there is, average and extremes."""
    if usage is None:
        return None
    told: dict[str, Any] = {}
    if usage.cpu_time_s is not None and duration_s > 0:
        told["cpu_used"] = _all("cores", round(usage.cpu_time_s / duration_s, 3))
    if usage.max_rss_kib is not None:
        told["mem_used"] = _all("GB", round(usage.max_rss_kib * 1024 / 1e9, 6))
    return told or None


def _all(unit: str, value: float) -> dict[str, Any]:
    return {"unit": unit, "avg": value, "min": value, "max": value}
