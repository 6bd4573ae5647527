"""One observation for each job, from the rows of its tasks, components or runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from hpcgate.model.job import Observation, TaskObservation, Usage
from hpcgate.model.state import FINAL, Evidence, JobState, Phase
from hpcgate.scheduler.tasks import derive
from hpcgate_slurm import components
from hpcgate_slurm.rows import Row


def gather(rows: Iterable[Row]) -> Mapping[str, list[Row]]:
    """Rows by native id."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row.native_id, []).append(row)
    return found


def observe(rows: Sequence[Row], evidence: Evidence) -> Observation:
    """What the rows of one job say of it.

    Args:
        rows: at least one.
        evidence: where they were read.
    """
    if rows[0].index is not None:
        return _array(rows, evidence)
    if rows[0].component is not None or components.is_gang(rows):
        return components.observe(rows, evidence)
    return rows[0].observe(evidence)


def ended(rows: Sequence[Row]) -> bool:
    """Whether the rows say that the whole job has ended."""
    return complete(rows) if rows[0].index is not None else all(row.ended for row in rows)


def complete(rows: Sequence[Row]) -> bool:
    """Whether the rows say of every task of an array that it has ended."""
    total = _total(rows)
    return total is not None and len({row.index for row in rows}) == total and all(row.ended for row in rows)


def _total(rows: Sequence[Row]) -> int | None:
    """How many tasks there are, where the rows tell."""
    return next((row.mark.tasks for row in rows if row.mark and row.mark.tasks is not None), None)


def _array(rows: Sequence[Row], evidence: Evidence) -> Observation:
    tasks = {task.index: task for row in rows if (task := row.task()) is not None}
    one = _speaker(rows).observe(evidence)
    whole = replace(
        one,
        exit_code=None,
        signal=None,
        reason=None,
        restarts=None,
        phase=None,
        started_at=min((task.started_at for task in tasks.values() if task.started_at is not None), default=None),
        ended_at=None,
        nodes=tuple(dict.fromkeys(node for index in sorted(tasks) for node in tasks[index].nodes)),
        tasks=tuple(tasks[index] for index in sorted(tasks)),
        usage=_sum(tasks.values()),
    )
    if len(tasks) < len({row.index for row in rows}):
        return replace(whole, state=None)  # a word that is not known
    total = _total(rows)
    if total is not None and len(tasks) >= total:
        derived = derive(tuple(tasks.values()), max(total, len(tasks)))
        ended = max((task.ended_at or 0.0 for task in tasks.values()), default=0.0) or None
        return replace(
            whole,
            state=derived.state,
            reason=derived.reason,
            exit_code=derived.exit_code,
            signal=derived.signal,
            ended_at=ended if derived.state in FINAL else None,
        )
    # Some have left the queue, or it is not known how many there were: the rest decides whether it goes on.
    states = {task.state for task in tasks.values()}
    if states <= FINAL:
        return replace(whole, state=JobState.RUNNING, phase=Phase.COMPLETING)
    if total is None:
        return replace(whole, state=derive(tuple(tasks.values()), len(tasks)).state)
    return replace(whole, state=JobState.SUSPENDED if states <= FINAL | {JobState.SUSPENDED} else JobState.RUNNING)


def _speaker(rows: Sequence[Row]) -> Row:
    """The row whose words are shown for the whole: the first that has not ended."""
    return next((row for row in rows if not row.ended), rows[-1])


def _sum(tasks: Iterable[TaskObservation]) -> Usage | None:
    used = [task.usage for task in tasks if task.usage is not None]
    if not used:
        return None
    times = [each.cpu_time_s for each in used if each.cpu_time_s is not None]
    sizes = [each.max_rss_kib for each in used if each.max_rss_kib is not None]
    return Usage(cpu_time_s=sum(times) if times else None, max_rss_kib=max(sizes, default=None))
