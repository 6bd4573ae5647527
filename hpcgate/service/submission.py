"""Bringing claimed jobs to their scheduler.

Each step is durable before the next: the row is SUBMITTING before the scheduler hears of the job, and the native id
is stored as soon as it is known. What happens between the two is found out by the job's key (``service.submit``),
never by submitting again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from hpcgate.errors import HpcgateError, SiteError
from hpcgate.model.files import JobFolder
from hpcgate.model.job import Job, JobRef
from hpcgate.model.move import Claim, Move
from hpcgate.model.scheduler import SubmitFailed, Submitted
from hpcgate.model.site import Site
from hpcgate.model.state import Evidence, JobState, Reason
from hpcgate.scheduler.base import submit_failure
from hpcgate.service.accounts import by_account
from hpcgate.service.decide import ended_tasks
from hpcgate.service.dependencies import outlook

if TYPE_CHECKING:
    from hpcgate.plugin.lifecycle import Lifecycle
    from hpcgate.service.shares import ShareService
    from hpcgate.service.transports import Transports
    from hpcgate.store.database import Store

_log = logging.getLogger(__name__)

#: How long a job that was not taken waits for the next try, seconds: a quarter of its age, but within these.
RETRY_AFTER_S: Final = 2.0
RETRY_AT_MOST_S: Final = 60.0
#: Jobs that are handed to a scheduler at once: few enough that a crash leaves little to search for.
BATCH: Final = 200
#: What a claim lasts longer for each further job of a batch, since a scheduler may take them one by one, seconds.
PER_JOB_S: Final = 0.5
NO_CLAIM: Final = Claim("", 0.0)


class Submission:
    """One claim's worth of submitting: jobs of one site that this claim, and nobody else's, stands on.

    Args:
        store, lifecycle, transports, shares: the parts it works on.
        site: where all of them go.
        claim: stands on all of them. Its holder is unique, so that a submit that hung for too long cannot write over
            what a later one, also of this process, has found out.
        claim_s: how long a claim on one job lasts; longer than any single call to a scheduler.
        clock: epoch seconds.
    """

    def __init__(
        self,
        store: Store,
        lifecycle: Lifecycle,
        transports: Transports,
        shares: ShareService,
        site: Site,
        claim: Claim,
        claim_s: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._lifecycle = lifecycle
        self._transports = transports
        self._shares = shares
        self._site = site
        self._given = self._claim = claim
        self._claim_s = claim_s
        self._clock = clock

    def carry_out(self, jobs: Sequence[Job]) -> Mapping[int, SubmitFailed]:
        """Takes jobs from CREATED, STAGING_IN or SUBMITTING to the queue, or to what becomes of them.

        Args:
            jobs: those in SUBMITTING are surely not at the scheduler.

        Returns:
            Why the scheduler did not take them, by job id, of those that it was asked to take and did not.
        """
        refused: dict[int, SubmitFailed] = {}
        for batch in _batches(jobs):
            # Each batch stands on the claim as it was given: what was renewed for another says nothing of this one.
            self._claim = self._given
            ready = self._still_ours([job for job in batch if job.state is JobState.SUBMITTING])
            ready += self._stage_in([job for job in batch if job.state is not JobState.SUBMITTING])
            if ready:
                refused |= self._hand_over(ready)
        return refused

    def _still_ours(self, jobs: Sequence[Job]) -> list[Job]:
        """Renews a claim that has grown old while earlier batches were taken, say; what was lost is left alone."""
        if not jobs or self._claim.until - self._clock() > 0.75 * (self._claim_s + PER_JOB_S * len(jobs)):
            return list(jobs)
        return self._step(jobs, JobState.SUBMITTING)

    def _step(self, jobs: Sequence[Job], new: JobState) -> list[Job]:
        """Moves jobs one step on, or renews their claim; those for which it worked come back, in their new state."""
        now = self._clock()
        self._claim = Claim(self._claim.holder, now + self._claim_s + PER_JOB_S * len(jobs))
        changes = {"submitting_since": now, "absences": 0} if new is JobState.SUBMITTING else {}
        done = self._store.jobs.move(
            [
                Move(
                    job_id=job.id,
                    old=job.state,
                    attempt=job.attempt,
                    new=new,
                    via=() if new is job.state else (new,),
                    changes=changes,
                    claim=self._claim,
                    held_claim=self._claim.holder,
                )
                for job in jobs
            ]
        )
        return [replace(job, state=new) for job, moved in zip(jobs, done, strict=True) if moved]

    # --- inputs

    def _stage_in(self, jobs: Sequence[Job]) -> list[Job]:
        """Brings inline inputs to the job folders; the jobs that are ready for the scheduler come back."""
        with_inputs = [job for job in jobs if job.spec.staging.inputs]
        staging = self._step([job for job in with_inputs if job.state is JobState.CREATED], JobState.STAGING_IN)
        staging += [job for job in with_inputs if job.state is JobState.STAGING_IN]
        staged = [job for job in staging if self._write_inputs(job)]
        plain = [job for job in jobs if not job.spec.staging.inputs]
        return self._step(plain + staged, JobState.SUBMITTING)

    def _write_inputs(self, job: Job) -> bool:
        work = JobFolder(job.folder or "").work
        try:
            transport = self._transports.for_jobs(self._site, job.account)
            transport.mkdir(work)
            for item in job.spec.staging.inputs:
                if "/" in item.path:
                    transport.mkdir(f"{work}/{item.path.rpartition('/')[0]}")
                transport.write(f"{work}/{item.path}", item.content, mode=0o700 if item.executable else 0o600)
        except HpcgateError as error:
            if isinstance(error, SiteError) and not error.transient:
                self._end(job, Reason.STAGE_IN_FAILED, error.message, Evidence.GATEWAY)
            else:
                self._wait(job, error.message, RETRY_AFTER_S, tried=False)
            return False
        return True

    # --- the scheduler

    def _hand_over(self, jobs: Sequence[Job]) -> dict[int, SubmitFailed]:
        """Hands jobs in SUBMITTING to the scheduler and writes down what it answered; what was not taken comes back."""
        asked_at = self._clock()
        complete = self._with_secrets(self._with_room(self._with_dependencies(jobs)))
        hidden = {value for job in complete for value in job.spec.secret_environment.values() if value}
        taken: dict[int, Submitted] = {}
        refused: dict[int, SubmitFailed] = {}
        for job, answer in zip(complete, self._ask(complete), strict=True):
            if isinstance(answer, Submitted):
                taken[job.id] = answer
            else:
                refused[job.id] = replace(answer, message=without(hidden, answer.message))
                self._not_taken(job, refused[job.id])
        self._write_taken([job for job in complete if job.id in taken], taken, asked_at)
        return refused

    def _with_dependencies(self, jobs: Sequence[Job]) -> list[Job]:
        """The jobs with what their scheduler has to wait for. One that can never start is ended."""
        named = {dependency.job for job in jobs for dependency in job.spec.dependencies}
        known = {job.id: job for job in self._store.jobs.get_many(sorted(named))} if named else {}
        ready: list[Job] = []
        for job in jobs:
            seen = outlook(job, known)
            if seen.never is not None:
                self._end(job, Reason.DEPENDENCY_NEVER_SATISFIED, seen.never, Evidence.GATEWAY, JobState.CANCELED)
            elif seen.not_yet is not None:
                self._wait(job, seen.not_yet, RETRY_AFTER_S, tried=False)
            else:
                ready.append(replace(job, depends_on=seen.waits_for))
        return ready

    def _with_room(self, jobs: Sequence[Job]) -> list[Job]:
        """The jobs that have room in their shares, or have none; the others wait here, not at the scheduler."""
        shared = {job.id: job.spec.share for job in jobs if job.spec.share is not None}
        if not shared:
            return list(jobs)
        passed = self._shares.pass_in(shared)
        for job in jobs:
            if job.id in shared and job.id not in passed:
                message = f"waits until share {job.spec.share!r} has room for it"
                self._wait(job, message, RETRY_AFTER_S, tried=False)
        return [job for job in jobs if job.id not in shared or job.id in passed]

    def _with_secrets(self, jobs: Sequence[Job]) -> list[Job]:
        """The jobs as the scheduler gets them: with the values that the store shows to nobody else."""
        complete: list[Job] = []
        for job in jobs:
            if not job.spec.secret_environment:
                complete.append(job)
                continue
            try:
                secrets = self._store.jobs.secrets(job.id)
            except HpcgateError as error:
                self._wait(job, error.message, RETRY_AFTER_S, tried=False)
            else:
                complete.append(replace(job, spec=replace(job.spec, secret_environment=secrets)))
        return complete

    def _ask(self, jobs: Sequence[Job]) -> Sequence[Submitted | SubmitFailed]:
        if not jobs:
            return ()
        try:
            transport = self._transports.for_jobs(self._site, jobs[0].account)
            if len(jobs) > 1:
                return self._lifecycle.submit_jobs(self._site, jobs, transport)
            return [self._lifecycle.submit_job(self._site, jobs[0], transport)]
        except HpcgateError as error:
            return [submit_failure(job.key, error) for job in jobs]

    def _not_taken(self, job: Job, answer: SubmitFailed) -> None:
        if answer.permanent:
            self._end(job, Reason.SUBMIT_REJECTED, answer.message, Evidence.QUEUE)
        elif answer.ambiguous:
            _log.warning("job %d: the site may have taken it: %s", job.id, answer.message)
            settle_s = settle_time_s(self._lifecycle, self._site)
            self._wait(job, answer.message, settle_s, tried=True)
        else:
            _log.warning("job %d: the site did not take it: %s", job.id, answer.message)
            self._wait(job, answer.message, RETRY_AFTER_S, tried=False)

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
                held_claim=self._claim.holder,
            )
            for job in jobs
        ]
        if not moves:
            return
        if not all(self._store.jobs.move(moves)):
            _log.warning("a submit took longer than its claim; the jobs will be found by their keys")
        tell_canceled(self._store, self._lifecycle, self._transports, self._site, [job.id for job in jobs])

    # --- what is written of those that were not taken

    def _wait(self, job: Job, message: str, delay_s: float, *, tried: bool) -> None:
        """Leaves a job to the worker, not before ``delay_s``, and later the longer it has been trying.

        Args:
            job: with this claim.
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
                    claim=Claim("", now + max(delay_s, patience_s(now - job.created_at))),
                    held_claim=self._claim.holder,
                )
            ]
        )

    def _end(
        self, job: Job, reason: Reason, message: str, evidence: Evidence, state: JobState = JobState.FAILED
    ) -> None:
        self._store.jobs.move(
            [
                Move(
                    job_id=job.id,
                    old=job.state,
                    attempt=job.attempt,
                    new=state,
                    via=(state,),
                    changes={
                        "reason": reason,
                        "message": message,
                        "evidence": evidence,
                        "ended_at": self._clock(),
                        "canceling": False,
                    },
                    tasks=ended_tasks((), job.ref.tasks, JobState.CANCELED, reason, None),
                    claim=NO_CLAIM,
                    held_claim=self._claim.holder,
                )
            ]
        )


def patience_s(age_s: float) -> float:
    """How long something that has not worked for ``age_s`` seconds may wait for its next try."""
    return min(max(age_s, 0.0) / 4, RETRY_AT_MOST_S)


def settle_time_s(lifecycle: Lifecycle, site: Site) -> float:
    """How long an absent key is not believed: twice the scheduler's message time-out."""
    return 2 * lifecycle.scheduler(site.scheduler).message_timeout_s


def _batches(jobs: Sequence[Job]) -> Iterator[Sequence[Job]]:
    """Jobs that can go to the scheduler in one call: few, and all of one account."""
    accounts: dict[str | None, list[Job]] = {}
    for job in jobs:
        accounts.setdefault(job.account, []).append(job)
    for members in accounts.values():
        for start in range(0, len(members), BATCH):
            yield members[start : start + BATCH]


def tell_canceled(store: Store, lifecycle: Lifecycle, transports: Transports, site: Site, ids: Sequence[int]) -> None:
    """Tells the scheduler of those of its new jobs that somebody canceled while it was asked to take them."""
    wished = store.jobs.canceling(ids)
    if wished:
        pass_on_cancel(lifecycle, transports, site, [job.ref for job in wished])


def pass_on_cancel(lifecycle: Lifecycle, transports: Transports, site: Site, refs: Sequence[JobRef]) -> None:
    """Tells the scheduler of wishes that are noted; those that do not get through, the worker repeats."""
    for account, members in by_account(refs).items():
        try:
            lifecycle.cancel_jobs(site, members, transports.get(site, account))
        except HpcgateError as error:
            _log.warning("site %s: a cancel did not get through, it is repeated: %s", site.name, error.message)


def without(hidden: Iterable[str], message: str) -> str:
    """A message without secrets: schedulers repeat what they were given, and messages are stored and logged."""
    for value in sorted(hidden, key=len, reverse=True):
        message = message.replace(value, "***")
    return message
