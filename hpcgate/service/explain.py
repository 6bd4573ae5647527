"""Why a job is where it is, in words for its owner: why it waits, or why it failed and what it said last."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from hpcgate.errors import Conflict, NotFound, SiteError
from hpcgate.model.job import Job
from hpcgate.model.principal import Principal
from hpcgate.model.state import FINAL, ON_THE_WAY, Issuer, JobState, Reason
from hpcgate.service.access import Verb, allows

if TYPE_CHECKING:
    from hpcgate.service.jobs import JobService
    from hpcgate.store.database import Store

#: How much of what it wrote last is shown.
TAIL_LINES: Final = 20
TAIL_BYTES: Final = 8192

_WORDS: Final = {
    JobState.CREATED: "the gateway has it, and will bring it to its site",
    JobState.STAGING_IN: "its files are being brought to its site",
    JobState.SUBMITTING: "it is on its way to its scheduler",
    JobState.QUEUED: "it waits for its turn; the scheduler gives no reason",
    JobState.HELD: "it is held, and starts once it is released",
    JobState.RUNNING: "it runs",
    JobState.SUSPENDED: "its scheduler has stopped it for a while",
    JobState.STAGING_OUT: "its output is being stored",
    JobState.COMPLETED: "it completed",
    JobState.FAILED: "it failed",
    JobState.CANCELED: "it was canceled",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Why a job is where it is.

    Args:
        summary: one line.
        notes: what else plays a part, one line each.
        reason: why it failed or was canceled.
        advice: what its owner can do.
        retryable: whether the same job may well succeed when run again.
        native_reason: the scheduler's word.
        task: index of the array task that ``stderr`` is of.
        stderr: the last lines that it wrote; ``None`` = not shown, or not to be had.
    """

    summary: str
    notes: tuple[str, ...] = ()
    reason: Reason | None = None
    issuer: Issuer | None = None
    advice: str | None = None
    retryable: bool = False
    native_reason: str | None = None
    task: int | None = None
    stderr: tuple[str, ...] | None = None


class Explainer:
    """Explains jobs.

    Args:
        store: knows the jobs that one waits for, and how sites answer.
        jobs: reads what a job wrote.
    """

    def __init__(self, store: Store, jobs: JobService) -> None:
        self._store = store
        self._jobs = jobs

    def explain(self, principal: Principal, job_id: int) -> Explanation:
        """Why a job is where it is.

        Raises:
            NotFound: there is no such job, or none that the principal may see.
        """
        job = self._jobs.get(principal, job_id)
        notes = [*self._site_notes(job), *self._dependency_notes(principal, job)]
        if job.canceling and job.state not in FINAL:
            notes.append("it was asked to end; its scheduler has not said yet that it has")
        task, stderr = None, None
        if job.state is JobState.FAILED and allows(principal, Verb.READ_OUTPUT, job.owner):
            task = self._failed_task(job)
            try:
                stderr = self._tail(principal, job, task)
            except (SiteError, Conflict, NotFound) as error:
                notes.append(f"its stderr cannot be read now: {error.message}")
        return Explanation(
            summary=job.message or _WORDS[job.state],
            notes=tuple(notes),
            reason=job.reason,
            issuer=job.reason.issuer if job.reason else None,
            advice=job.reason.advice if job.reason else _advice(job),
            retryable=job.retryable,
            native_reason=job.native_reason,
            task=task,
            stderr=stderr,
        )

    def _site_notes(self, job: Job) -> Sequence[str]:
        if job.state in FINAL:
            return ()
        health = self._store.sites.all().get(job.site or "")
        if health is not None and health.failed_at is not None:
            return [f"site {job.site!r} does not answer: {health.error}"]
        return ["its site has not said anything for long, so this may be old"] if job.stale else []

    def _dependency_notes(self, principal: Principal, job: Job) -> Sequence[str]:
        if job.state in FINAL or job.started_at is not None or not job.spec.dependencies:
            return ()
        known = {each.id: each for each in self._store.jobs.get_many([each.job for each in job.spec.dependencies])}
        notes = []
        for dependency in job.spec.dependencies:
            other = known.get(dependency.job)
            if other is None:
                notes.append(f"it waits for job {dependency.job}, which was deleted")
            elif other.state not in FINAL and allows(principal, Verb.READ, other.owner):
                notes.append(f"it waits for job {other.id} ({dependency.kind}), which is {other.state.value}")
        return notes

    def _failed_task(self, job: Job) -> int | None:
        """The first task of an array that failed."""
        if job.spec.array is None:
            return None
        tasks = self._store.jobs.tasks(job.id, attempt=job.attempt, after=None, limit=1000)
        return next((task.index for task in tasks if task.state is JobState.FAILED), job.spec.array.start)

    def _tail(self, principal: Principal, job: Job, task: int | None) -> tuple[str, ...]:
        chunk = self._jobs.output(principal, job.id, "stderr", offset=-TAIL_BYTES, length=TAIL_BYTES, task=task)
        lines = chunk.data.decode("utf-8", "replace").splitlines()
        if chunk.offset > 0 and len(lines) > 1:
            lines = lines[1:]  # most likely the end of one
        return tuple(lines[-TAIL_LINES:])


def _advice(job: Job) -> str | None:
    if job.state is JobState.HELD:
        return "Release it when it shall start."
    if job.state in ON_THE_WAY or job.stale:
        return "Nothing needs to be done; the gateway goes on trying."
    return None
