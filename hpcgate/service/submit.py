"""The submit stage, shared by the request that brings a job and by the worker that takes up what was left.

Whoever submits holds the job's claim. Each step is durable before the next: the row is SUBMITTING before the
scheduler hears of the job, and the native id is stored as soon as it is known. What happens between the two is
found out by the job's key, never by submitting again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from hpcgate.errors import CommandTimeout, HpcgateError, InvalidSpec, JobRejected, SiteError
from hpcgate.model.files import JobFolder
from hpcgate.model.job import Job
from hpcgate.model.lease import Lease
from hpcgate.model.move import Claim, Move, Snapshot
from hpcgate.model.scheduler import Presence, SubmitFailed, Submitted
from hpcgate.model.site import Site
from hpcgate.model.state import Evidence, JobState, Reason

if TYPE_CHECKING:
    from hpcgate.plugin.lifecycle import Lifecycle
    from hpcgate.service.transports import Transports
    from hpcgate.store.database import Store

_log = logging.getLogger(__name__)

#: How long a job that was surely not taken waits for the next try, seconds.
RETRY_AFTER_S: Final = 2.0
#: Jobs that are handed to a scheduler at once: few enough that a crash leaves little to search for.
BATCH: Final = 200
NO_CLAIM: Final = Claim("", 0.0)
ON_THE_WAY: Final = frozenset({JobState.CREATED, JobState.STAGING_IN, JobState.SUBMITTING})


class Submitter:
    """Brings jobs to their scheduler.

    Args:
        store, lifecycle, transports: the parts it works on.
        holder: the name of this process in claims.
        claim_s: how long a claim lasts; longer than any single call to a scheduler.
        clock: epoch seconds.
    """

    def __init__(
        self,
        store: Store,
        lifecycle: Lifecycle,
        transports: Transports,
        *,
        holder: str,
        claim_s: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._lifecycle = lifecycle
        self._transports = transports
        self.holder = holder
        self._claim_s = claim_s
        self._clock = clock

    def claim(self) -> Claim:
        """A fresh claim of this process."""
        return Claim(self.holder, self._clock() + self._claim_s)

    def submit(self, site: Site, jobs: Sequence[Job]) -> None:
        """Takes claimed jobs from CREATED, STAGING_IN or SUBMITTING to the queue, or to what becomes of them.

        Args:
            site: where all of them go.
            jobs: claimed by this process; those in SUBMITTING are surely not at the scheduler.
        """
        for start in range(0, len(jobs), BATCH):
            ready = self._stage_in(site, jobs[start : start + BATCH])
            if ready:
                self._hand_over(site, ready)

    # --- inputs

    def _stage_in(self, site: Site, jobs: Sequence[Job]) -> list[Job]:
        """Brings inline inputs to the job folders; the jobs that are ready for the scheduler come back."""
        ready = [job for job in jobs if job.state is JobState.SUBMITTING]
        waiting = [job for job in jobs if job.state is not JobState.SUBMITTING]
        with_inputs = [job for job in waiting if job.spec.staging.inputs]
        staging = self._step([job for job in with_inputs if job.state is JobState.CREATED], JobState.STAGING_IN)
        staging += [job for job in with_inputs if job.state is JobState.STAGING_IN]
        staged = [job for job in staging if self._write_inputs(site, job)]
        plain = [job for job in waiting if not job.spec.staging.inputs]
        return ready + self._step(plain + staged, JobState.SUBMITTING)

    def _step(self, jobs: Sequence[Job], new: JobState) -> list[Job]:
        """Moves jobs one step on; those for which it worked come back, in their new state."""
        now = self._clock()
        changes = {"submitting_since": now, "absences": 0} if new is JobState.SUBMITTING else {}
        done = self._store.jobs.move(
            [
                Move(
                    job_id=job.id,
                    old=job.state,
                    attempt=job.attempt,
                    new=new,
                    via=(new,),
                    changes=changes,
                    claim=self.claim(),
                    held_claim=self.holder,
                )
                for job in jobs
            ]
        )
        return [replace(job, state=new) for job, moved in zip(jobs, done, strict=True) if moved]

    def _write_inputs(self, site: Site, job: Job) -> bool:
        transport = self._transports.get(site, job.account)
        work = JobFolder(job.folder or "").work
        try:
            transport.mkdir(work)
            for item in job.spec.staging.inputs:
                if "/" in item.path:
                    transport.mkdir(f"{work}/{item.path.rpartition('/')[0]}")
                transport.write(f"{work}/{item.path}", item.content, mode=0o700 if item.executable else 0o600)
        except SiteError as error:
            if error.transient:
                self._wait(job, error.message, RETRY_AFTER_S, tried=False)
            else:
                self._end(job, Reason.STAGE_IN_FAILED, error.message, Evidence.GATEWAY)
            return False
        return True

    # --- the scheduler

    def _hand_over(self, site: Site, jobs: Sequence[Job]) -> None:
        """Hands jobs in SUBMITTING to the scheduler and writes down what it answered."""
        asked_at = self._clock()
        answers = self._ask(site, [self._with_secrets(job) for job in jobs])
        taken: dict[int, Submitted] = {}
        for job, answer in zip(jobs, answers, strict=True):
            if isinstance(answer, Submitted):
                taken[job.id] = answer
            elif answer.permanent:
                self._end(job, Reason.SUBMIT_REJECTED, answer.message, Evidence.QUEUE)
            elif answer.ambiguous:
                _log.warning("job %d: the site may have taken it: %s", job.id, answer.message)
                self._wait(job, answer.message, self._settle_s(site), tried=True)
            else:
                _log.warning("job %d: the site did not take it: %s", job.id, answer.message)
                self._wait(job, answer.message, RETRY_AFTER_S, tried=False)
        self._write_taken([job for job in jobs if job.id in taken], taken, asked_at)

    def _with_secrets(self, job: Job) -> Job:
        """The job as the scheduler gets it: with the values that the store shows to nobody else."""
        if not job.spec.secret_environment:
            return job
        return replace(job, spec=replace(job.spec, secret_environment=self._store.jobs.secrets(job.id)))

    def _ask(self, site: Site, jobs: Sequence[Job]) -> Sequence[Submitted | SubmitFailed]:
        try:
            transport = self._transports.get(site, jobs[0].account)
            if len(jobs) > 1:
                return self._lifecycle.submit_jobs(site, jobs, transport)
            return [self._lifecycle.submit_job(site, jobs[0], transport)]
        except HpcgateError as error:
            return [as_failure(job.key, error) for job in jobs]

    def _write_taken(self, jobs: Sequence[Job], taken: Mapping[int, Submitted], asked_at: float) -> None:
        """The native ids, durably. A job whose claim was lost meanwhile is found by its key later.

        Args:
            jobs: those that were taken.
            taken: the scheduler's answers by job id.
            asked_at: epoch seconds before the scheduler was asked: no job starts before its submit.
        """
        moves = [
            Move(
                job_id=job.id,
                old=JobState.SUBMITTING,
                attempt=job.attempt,
                new=JobState.QUEUED,
                via=(JobState.QUEUED,),
                changes={
                    "native_id": taken[job.id].native_id,
                    "stdout_path": taken[job.id].stdout_path,
                    "stderr_path": taken[job.id].stderr_path,
                    "submitted_at": asked_at,
                    "evidence": Evidence.QUEUE,
                    "message": None,
                },
                claim=NO_CLAIM,
                held_claim=self.holder,
            )
            for job in jobs
        ]
        if moves and not all(self._store.jobs.move(moves)):
            _log.warning("a submit took longer than its claim; the jobs will be found by their keys")

    def _settle_s(self, site: Site) -> float:
        """How long an absent key is not believed: twice the scheduler's message time-out."""
        return 2 * self._lifecycle.scheduler(site.scheduler).message_timeout_s

    def _wait(self, job: Job, message: str, delay_s: float, *, tried: bool) -> None:
        """Leaves a job to the worker, not before ``delay_s``.

        Args:
            job: claimed by this process.
            message: what the site said.
            delay_s: seconds.
            tried: whether the scheduler may have the job, so that its key must be searched first.
        """
        now = self._clock()
        self._store.jobs.move(
            [
                Move(
                    job_id=job.id,
                    old=job.state,
                    attempt=job.attempt,
                    new=job.state,
                    changes={"message": message, "submitting_since": now if tried else None, "absences": 0},
                    claim=Claim("", now + delay_s),
                    held_claim=self.holder,
                )
            ]
        )

    def _end(self, job: Job, reason: Reason, message: str, evidence: Evidence) -> None:
        self._store.jobs.move(
            [
                Move(
                    job_id=job.id,
                    old=job.state,
                    attempt=job.attempt,
                    new=JobState.FAILED,
                    via=(JobState.FAILED,),
                    changes={"reason": reason, "message": message, "evidence": evidence, "ended_at": self._clock()},
                    claim=NO_CLAIM,
                    held_claim=self.holder,
                )
            ]
        )

    # --- what was left by others

    def resume(self, site: Site, lease: Lease | None = None) -> int:
        """Takes up the site's jobs that nobody is submitting: new ones, put-off ones, those of dead processes.

        Args:
            site: whose jobs.
            lease: the site's lease, so that no two workers do this.

        Returns:
            How many are still on their way to the scheduler.
        """
        now = self._clock()
        waiting = self._store.jobs.snapshots(site.name, ON_THE_WAY)
        free = [job for job in waiting if job.claim is None or job.claim.until <= now]
        canceled = [job for job in free if job.canceling and not _tried(job)]
        self._drop(canceled)
        doubtful = [job for job in free if _tried(job)]
        sure = [job for job in free if not _tried(job) and not job.canceling]
        sure += [job for job in doubtful if self._is_absent(site, job, now)]
        for start in range(0, len(sure), BATCH):
            self.submit(site, self._take(sure[start : start + BATCH], lease))
        return len(waiting)

    def _take(self, jobs: Sequence[Snapshot], lease: Lease | None) -> list[Job]:
        """Claims jobs for this process; those that it got come back."""
        taken = self._store.jobs.move(
            [
                Move(
                    job_id=job.ref.id,
                    old=job.state,
                    attempt=job.attempt,
                    new=job.state,
                    changes={"submitting_since": self._clock(), "absences": 0},
                    claim=self.claim(),
                    held_claim=job.claim.holder if job.claim else "",
                )
                for job in jobs
            ],
            lease=lease,
        )
        return self._store.jobs.get_many([job.ref.id for job, got in zip(jobs, taken, strict=True) if got])

    def _is_absent(self, site: Site, job: Snapshot, now: float) -> bool:
        """Searches a job whose submit has an unknown outcome by its key; True = it may surely be submitted again.

        Absence is believed only after twice the scheduler's message time-out and two complete searches.
        """
        transport = self._transports.get(site, job.ref.account)
        try:
            found = self._lifecycle.find_by_key(site, job.ref, transport)
        except SiteError as error:
            _log.warning("job %d: its key could not be searched: %s", job.ref.id, error.message)
            return False
        if found.presence is Presence.PRESENT and found.native_id is not None:
            self._found(job, found.native_id)
        elif found.presence is Presence.ABSENT:
            settle_s = self._settle_s(site)
            if settle_s == 0 or (job.absences >= 1 and now - (job.submitting_since or now) >= settle_s):
                if job.canceling:
                    self._drop([job])
                return not job.canceling
            self._note(job, {"absences": job.absences + 1}, Claim("", now + max(RETRY_AFTER_S, settle_s / 2)))
        else:
            self._note(job, {}, Claim("", now + RETRY_AFTER_S))
        return False

    def _found(self, job: Snapshot, native_id: str) -> None:
        self._store.jobs.move(
            [
                Move(
                    job_id=job.ref.id,
                    old=job.state,
                    attempt=job.attempt,
                    new=JobState.QUEUED,
                    via=(JobState.QUEUED,),
                    changes={
                        "native_id": native_id,
                        "submitted_at": job.submitting_since,
                        "evidence": Evidence.QUEUE,
                        "message": None,
                    },
                    claim=NO_CLAIM,
                )
            ]
        )

    def _note(self, job: Snapshot, changes: Mapping[str, object], claim: Claim) -> None:
        self._store.jobs.move(
            [Move(job_id=job.ref.id, old=job.state, attempt=job.attempt, new=job.state, changes=changes, claim=claim)]
        )

    def _drop(self, jobs: Sequence[Snapshot]) -> None:
        """Ends jobs that were canceled before any scheduler had them."""
        self._store.jobs.move([cancel_unsubmitted(job, self._clock()) for job in jobs])


def _tried(job: Snapshot) -> bool:
    """Whether a scheduler may have the job without our knowing."""
    return job.state is JobState.SUBMITTING and job.submitting_since is not None


def cancel_unsubmitted(job: Snapshot, now: float, actor: str | None = None) -> Move:
    """The end of a job that no scheduler has."""
    return Move(
        job_id=job.ref.id,
        old=job.state,
        attempt=job.attempt,
        new=JobState.CANCELED,
        via=(JobState.CANCELED,),
        changes={
            "reason": job.cancel_reason or Reason.CANCELED_BY_USER,
            "evidence": Evidence.GATEWAY,
            "ended_at": now,
            "canceling": False,
        },
        claim=NO_CLAIM,
        held_claim=job.claim.holder if job.claim else "",
        actor=actor,
    )


def as_failure(key: str, error: HpcgateError) -> SubmitFailed:
    """An exception of a submit as the answer of one job."""
    if isinstance(error, InvalidSpec | JobRejected):
        return SubmitFailed(key=key, message=error.message, permanent=True)
    if isinstance(error, SiteError) and not isinstance(error, CommandTimeout):
        return SubmitFailed(key=key, message=error.message, permanent=not error.transient)
    # A time-out, or a plugin that broke midway: the scheduler may have the job.
    return SubmitFailed(key=key, message=error.message, permanent=False, ambiguous=True)
