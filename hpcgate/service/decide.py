"""What an observation means for a job: pure functions from what is known and what was seen to a move.

Plugins observe, this module decides. Three rules hold throughout: a state is moved only by evidence, an attempt
is never mistaken for another, and nothing seen twice makes two events.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hpcgate.model.job import Observation, TaskObservation
from hpcgate.model.move import Move, Snapshot
from hpcgate.model.state import (
    FINAL,
    Evidence,
    JobState,
    Reason,
    may_correct,
    requeue_route,
    route,
)

_WAITING = frozenset({JobState.QUEUED, JobState.HELD})
_BEGUN = frozenset({JobState.RUNNING, JobState.SUSPENDED})


def decide(job: Snapshot, seen: Observation, now: float, tasks: tuple[TaskObservation, ...] = ()) -> Move | None:
    """The move that an observation of a job at the scheduler calls for; ``None`` = nothing new.

    Args:
        job: the job as the store has it, in one of the states at the scheduler.
        seen: what its scheduler said.
        now: epoch seconds, for what the scheduler did not time.
        tasks: those of ``seen.tasks`` that are news.
    """
    attempt = attempt_of(job, seen)
    if attempt < job.attempt:
        return None  # an echo of an earlier run
    if attempt > job.attempt:
        return _requeued(job, seen, now, attempt, tasks)
    if seen.state is None or seen.state is job.state:
        return _update(job, seen, tasks)
    if job.state in _BEGUN and seen.state in _WAITING:
        # Not the table's way back (that is a new attempt), so the scheduler told an older state late.
        return None
    return Move(
        job_id=job.ref.id,
        old=job.state,
        attempt=job.attempt,
        new=seen.state,
        via=route(job.state, seen.state, ran=_ran(seen)),
        changes=_changes(job, seen, now),
        tasks=tasks,
    )


def attempt_of(job: Snapshot, seen: Observation) -> int:
    """The attempt that an observation is of."""
    if seen.restarts is not None:
        return 1 + seen.restarts
    if job.state in _BEGUN and seen.state in _WAITING:
        return job.attempt + 1  # a running job is waiting again: it was requeued
    return job.attempt


def _ran(seen: Observation) -> bool:
    return seen.started_at is not None or seen.exit_code is not None or seen.signal is not None


def _requeued(
    job: Snapshot, seen: Observation, now: float, attempt: int, tasks: tuple[TaskObservation, ...]
) -> Move | None:
    """The job was put back: a new attempt, and from there to what was seen."""
    new = seen.state or JobState.QUEUED
    if new in (JobState.QUEUED, JobState.HELD, JobState.RUNNING):
        via = requeue_route(job.state, new)
    else:
        via = (*requeue_route(job.state, JobState.QUEUED), *route(JobState.QUEUED, new, ran=_ran(seen)))
    return Move(
        job_id=job.ref.id,
        old=job.state,
        attempt=job.attempt,
        new=new,
        via=via,
        new_attempt=attempt,
        changes=_changes(job, seen, now, attempt=attempt),
        tasks=tasks,
    )


def _update(job: Snapshot, seen: Observation, tasks: tuple[TaskObservation, ...]) -> Move | None:
    """The state stands; its details may be new."""
    known = {
        "phase": job.phase,
        "native_state": job.native_state,
        "native_reason": job.native_reason,
        "message": job.message,
    }
    changes: dict[str, Any] = {
        name: getattr(seen, name) for name, value in known.items() if getattr(seen, name) != value
    }
    changes.update(_where(job, seen))
    if job.absent_since is not None:
        changes["absent_since"] = None
    if not changes and not tasks:
        return None
    return Move(job_id=job.ref.id, old=job.state, attempt=job.attempt, new=job.state, changes=changes, tasks=tasks)


def _where(job: Snapshot, seen: Observation) -> dict[str, Any]:
    """Where it runs, noted while it is told: schedulers forget this soon after the end."""
    if not seen.nodes or seen.nodes == job.nodes:
        return {}
    changes: dict[str, Any] = {"nodes": seen.nodes}
    if seen.cpu_ids:
        changes["cpu_ids"] = seen.cpu_ids
    if seen.gpu_ids:
        changes["gpu_ids"] = seen.gpu_ids
    return changes


def _changes(job: Snapshot, seen: Observation, now: float, attempt: int | None = None) -> Mapping[str, Any]:
    """The fields that go with a change of state."""
    state = seen.state or JobState.QUEUED
    changes: dict[str, Any] = {
        "phase": None if state in FINAL else seen.phase,
        "native_state": seen.native_state,
        "native_reason": seen.native_reason,
        "message": seen.message,
        "evidence": seen.evidence,
        **_where(job, seen),
    }
    if job.absent_since is not None:
        changes["absent_since"] = None
    started_at = job.started_at if attempt is None else None
    if seen.started_at is not None:
        changes["started_at"] = seen.started_at
    elif started_at is None and (state in _BEGUN or (state in FINAL and _ran(seen))):
        changes["started_at"] = seen.ended_at or now
    if seen.usage is not None:
        changes["usage"] = seen.usage
    if state in FINAL:
        changes |= {
            "ended_at": seen.ended_at or now,
            "reason": final_reason(job, seen),
            "exit_code": seen.exit_code,
            "signal": seen.signal,
            "canceling": False,
        }
    return changes


def final_reason(job: Snapshot, seen: Observation) -> Reason | None:
    """Why a job ended: for one that we were asked to cancel, who asked."""
    if seen.state is JobState.CANCELED:
        return job.cancel_reason or seen.reason or Reason.CANCELED_BY_ADMIN
    if seen.state is JobState.FAILED:
        return seen.reason or (Reason.SIGNALED if seen.signal else Reason.EXIT_NONZERO)
    return None


@dataclass(frozen=True, slots=True)
class Denials:
    """Which sources were asked about a job that left the queue, and answered that they do not know how it ended.

    Args:
        queue: the listing was complete and did not hold it.
        accounting: it answered, or the scheduler has none.
        folder: it answered, and held no exit record.
    """

    queue: bool
    accounting: bool
    folder: bool

    @property
    def all(self) -> bool:
        """Whether every source has answered."""
        return self.queue and self.accounting and self.folder


def waiting_tasks(total: int) -> tuple[TaskObservation, ...]:
    """The tasks of a run that has not begun."""
    return tuple(TaskObservation(index=index, state=JobState.QUEUED) for index in range(total))


def ended_tasks(
    known: Sequence[TaskObservation] | None, total: int, state: JobState, reason: Reason | None, ended_at: float | None
) -> tuple[TaskObservation, ...]:
    """What the end of a job means for its tasks, which run one after the other.

    Args:
        known: those that have begun, by the record in the job's folder; ``None`` = the job ran, and there is none.
        total: how many there are.
        state: how the job ended. COMPLETED proves that every task did.
        reason: why.
        ended_at: when, epoch seconds.
    """
    by_index = {task.index: task for task in known or ()}
    if known is None and state is JobState.FAILED:
        lost = TaskObservation(index=0, state=state, reason=Reason.LOST)
        return tuple(replace(lost, index=index) for index in range(total))
    return tuple(
        _ended_task(by_index.get(index) or TaskObservation(index=index, state=JobState.QUEUED), state, reason, ended_at)
        for index in range(total)
    )


def _ended_task(
    task: TaskObservation, state: JobState, reason: Reason | None, ended_at: float | None
) -> TaskObservation:
    if task.state in FINAL:
        return task
    if state is JobState.COMPLETED:
        return replace(task, state=state, exit_code=0, ended_at=task.ended_at or ended_at)
    if task.state is JobState.QUEUED:
        # It never ran: the job was canceled, or what had to be done before has failed.
        why = reason if state is JobState.CANCELED else Reason.DEPENDENCY_NEVER_SATISFIED
        return replace(task, state=JobState.CANCELED, reason=why)
    return replace(task, state=state, reason=reason, ended_at=task.ended_at or ended_at)


def decide_absent(job: Snapshot, denials: Denials, now: float, grace_s: float) -> Move | None:
    """What the absence of a job from every source calls for.

    The grace time starts with the first round in which all sources answered, and starts anew when one did not.
    """
    if not denials.all:
        return None if job.absent_since is None else _note_absence(job, None)
    if job.absent_since is None:
        return _note_absence(job, now)
    if now - job.absent_since < grace_s:
        return None
    return Move(
        job_id=job.ref.id,
        old=job.state,
        attempt=job.attempt,
        new=JobState.FAILED,
        via=route(job.state, JobState.FAILED, ran=False),
        changes={
            "reason": Reason.LOST,
            "evidence": Evidence.GATEWAY,
            "message": f"queue, accounting and job folder have not known it for {grace_s:g} s",
            "ended_at": now,
            "phase": None,
            "canceling": False,
            "absent_since": None,
        },
        tasks=ended_tasks(None, job.ref.tasks, JobState.FAILED, Reason.LOST, now),
    )


def _note_absence(job: Snapshot, since: float | None) -> Move:
    return Move(job_id=job.ref.id, old=job.state, attempt=job.attempt, new=job.state, changes={"absent_since": since})


def correct(job: Snapshot, reason: Reason | None, seen: Observation, now: float) -> Move | None:
    """The move that supersedes LOST by later proof; ``None`` where it does not."""
    if seen.state is None or seen.state not in FINAL or not may_correct(reason, seen.state):
        return None
    return Move(
        job_id=job.ref.id,
        old=job.state,
        attempt=job.attempt,
        new=seen.state,
        via=(seen.state,),
        changes=_changes(job, seen, now),
        tasks=seen.tasks,
        corrected=True,
    )


def same_job(job: Snapshot, seen: Observation, skew_s: float = 300.0) -> bool:
    """Whether an observation is of this job and not of a stranger that was given the same native id.

    Schedulers reuse ids (they wrap, or are reset). Where the key is shown it decides alone, whatever the clocks say;
    else what was submitted long before our submit is not ours, nor what was submitted long after it and has not been
    requeued (which some schedulers count as another submit).
    """
    if seen.key is not None:
        return seen.key == job.ref.key
    submitted = job.ref.submitted_at
    if seen.submitted_at is None or submitted is None:
        return True
    latest = submitted + skew_s if seen.restarts == 0 else math.inf
    return submitted - skew_s <= seen.submitted_at <= latest
