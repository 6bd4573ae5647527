"""What becomes of a job array, from what is known of its indices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hpcgate.model.job import TaskObservation
from hpcgate.model.state import JobState, Reason


@dataclass(frozen=True, slots=True)
class Derived:
    """The state of a whole array.

    Args:
        state: QUEUED, HELD, RUNNING, SUSPENDED or a final.
        reason: of the first index that failed (or, where none failed, was canceled).
        exit_code: of that index; 0 where all completed; ``None`` while it has not ended.
        signal: of that index.
    """

    state: JobState
    reason: Reason | None = None
    exit_code: int | None = None
    signal: int | None = None


def derive(tasks: Sequence[TaskObservation], total: int) -> Derived:
    """The state of an array, as users understand it.

    - All indices have ended: COMPLETED if every one did, else FAILED if any did, else CANCELED.
    - One runs: RUNNING. None runs but one is suspended: SUSPENDED.
    - Some have run and ended, the others wait or are held: RUNNING, for the array has begun and is not through, and a
      job that has begun does not go back to the queue. An index that was canceled before its start has not run.
    - Nothing has begun: QUEUED, or HELD if every index that is left is.

    Args:
        tasks: what is known, one per index; indices that are not named wait in the queue.
        total: how many indices there are, at least 1.

    Raises:
        ValueError: there are more tasks than ``total``, or one index twice.
    """
    by_index = {task.index: task for task in tasks}
    if len(by_index) != len(tasks) or len(tasks) > total:
        raise ValueError(f"{len(tasks)} tasks with {len(by_index)} indices cannot be of an array of {total}")
    if len(tasks) == total and all(task.state.final for task in tasks):
        return _ended([by_index[index] for index in sorted(by_index)])
    return Derived(_under_way(tasks, total))


def _ended(tasks: Sequence[TaskObservation]) -> Derived:
    for state in (JobState.FAILED, JobState.CANCELED):
        for task in tasks:
            if task.state is state:
                return Derived(state, task.reason, task.exit_code, task.signal)
    return Derived(JobState.COMPLETED, exit_code=0)


def _under_way(tasks: Sequence[TaskObservation], total: int) -> JobState:
    states = {task.state for task in tasks}
    if JobState.RUNNING in states or JobState.SUSPENDED in states:
        return JobState.RUNNING if JobState.RUNNING in states else JobState.SUSPENDED
    if any(_has_run(task) for task in tasks):
        return JobState.RUNNING
    waiting = total - sum(task.state.final or task.state is JobState.HELD for task in tasks)
    return JobState.QUEUED if waiting else JobState.HELD


def _has_run(task: TaskObservation) -> bool:
    return task.state.final and (task.state is not JobState.CANCELED or task.started_at is not None)
