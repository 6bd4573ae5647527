"""The submit stage, shared by the request that brings a job and by the worker that takes up what was left.

Whoever submits holds the job's claim. A submit of which nobody knows how it went is found out by the job's key.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING, Final

from hpcgate.errors import HpcgateError, TransportError
from hpcgate.model.job import Job
from hpcgate.model.lease import Lease
from hpcgate.model.move import Claim, Move, Snapshot
from hpcgate.model.scheduler import KeySearch, Presence, SubmitFailed
from hpcgate.model.site import Site
from hpcgate.model.state import ON_THE_WAY, Evidence, JobState, Reason
from hpcgate.service.decide import ended_tasks
from hpcgate.service.submission import (
    BATCH,
    NO_CLAIM,
    PER_JOB_S,
    RETRY_AFTER_S,
    Submission,
    patience_s,
    settle_time_s,
    tell_canceled,
)

if TYPE_CHECKING:
    from hpcgate.plugin.lifecycle import Lifecycle
    from hpcgate.service.shares import ShareService
    from hpcgate.service.transports import Transports
    from hpcgate.store.database import Store

_log = logging.getLogger(__name__)

#: How long one round may search and submit before the site's other jobs have their turn, seconds.
ROUND_S: Final = 10.0


class Submitter:
    """Brings jobs to their scheduler.

    Args:
        store, lifecycle, transports, shares: the parts it works on.
        holder: the name of this process in claims.
        claim_s: how long a claim on one job lasts; longer than any single call to a scheduler.
        clock: epoch seconds.
    """

    def __init__(
        self,
        store: Store,
        lifecycle: Lifecycle,
        transports: Transports,
        shares: ShareService,
        *,
        holder: str,
        claim_s: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._lifecycle = lifecycle
        self._transports = transports
        self._shares = shares
        self._holder = holder
        self._numbers = count(1)
        self._claim_s = claim_s
        self._clock = clock

    def claim(self, jobs: int = 1) -> Claim:
        """A fresh claim for submitting so many jobs; no two claims have the same holder."""
        until = self._clock() + self._claim_s + PER_JOB_S * min(jobs - 1, BATCH)
        return Claim(f"{self._holder}/{next(self._numbers)}", until)

    def submit(self, site: Site, jobs: Sequence[Job], claim: Claim) -> Mapping[int, SubmitFailed]:
        """Takes claimed jobs from CREATED, STAGING_IN or SUBMITTING to the queue, or to what becomes of them.

        Args:
            site: where all of them go.
            jobs: those in SUBMITTING are surely not at the scheduler.
            claim: what ``claim`` gave; it stands on all of them.

        Returns:
            Why the scheduler did not take them, by job id, of those that it was asked to take and did not.
        """
        return Submission(
            self._store, self._lifecycle, self._transports, self._shares, site, claim, self._claim_s, self._clock
        ).carry_out(jobs)

    # --- what was left by others

    def resume(self, site: Site, lease: Lease | None = None) -> None:
        """Takes up the site's jobs that nobody is submitting: new ones, put-off ones, those of dead processes.

        While the site is drained nothing new goes there: what may have got there is found out, the others wait.

        Args:
            site: whose jobs.
            lease: the site's lease, so that no two workers do this.

        Raises:
            LeaseLost: another worker does it now.
        """
        until = time.monotonic() + ROUND_S
        now = self._clock()
        free = [
            job
            for job in self._store.jobs.snapshots(site.name, ON_THE_WAY)
            if job.claim is None or job.claim.until <= now
        ]
        drained = self._store.sites.drained(site.name) is not None
        doubtful = [job for job in free if _tried(job)]
        self._drop([job for job in free if job.canceling and not _tried(job)], lease)
        if drained:
            self._put_back(self._search(site, doubtful, lease, until), lease)
            return
        self._submit_sure(site, [job for job in free if not job.canceling and not _tried(job)], lease, until)
        self._submit_sure(site, self._search(site, doubtful, lease, until), lease, math.inf)

    def _put_back(self, jobs: Sequence[Snapshot], lease: Lease | None) -> None:
        """Notes that no scheduler has these jobs, so that they need not be searched again."""
        changes = {"submitting_since": None, "absences": 0}
        self._store.jobs.move([_noted(job, changes, NO_CLAIM) for job in jobs], lease=lease)

    def _submit_sure(self, site: Site, jobs: Sequence[Snapshot], lease: Lease | None, until: float) -> None:
        for start in range(0, len(jobs), BATCH):
            if time.monotonic() >= until:
                return
            batch = jobs[start : start + BATCH]
            claim = self.claim(len(batch))
            self.submit(site, self._take(batch, claim, lease), claim)

    def _take(self, jobs: Sequence[Snapshot], claim: Claim, lease: Lease | None) -> list[Job]:
        """Claims jobs; those that it got come back."""
        changes = {"submitting_since": self._clock(), "absences": 0}
        taken = self._store.jobs.move([_noted(job, changes, claim) for job in jobs], lease=lease)
        return self._store.jobs.get_many([job.ref.id for job, got in zip(jobs, taken, strict=True) if got])

    def _search(self, site: Site, jobs: Sequence[Snapshot], lease: Lease | None, until: float) -> list[Snapshot]:
        """Searches jobs whose submit has an unknown outcome; those that may surely be submitted again come back.

        One search is one command: those that are due longest come first, and what is left is for the next round.
        """
        absent: list[Snapshot] = []
        for number, job in enumerate(sorted(jobs, key=lambda each: each.claim.until if each.claim else 0.0)):
            if number > 0 and time.monotonic() >= until:
                break
            try:
                found = self._lifecycle.find_by_key(site, job.ref, self._transports.get(site, job.ref.account))
            except HpcgateError as error:
                _log.warning("job %d: its key could not be searched: %s", job.ref.id, error.message)
                self._note(job, {}, self._later(job), lease)
                if isinstance(error, TransportError):
                    break  # the others would wait for the same time-out
            else:
                if self._is_absent(site, job, found, lease):
                    absent.append(job)
        return absent

    def _is_absent(self, site: Site, job: Snapshot, found: KeySearch, lease: Lease | None) -> bool:
        """What a search means for a job; True = it may surely be submitted again.

        Absence is believed only after twice the scheduler's message time-out and two complete searches.
        """
        now = self._clock()
        if found.presence is Presence.PRESENT and found.native_id is not None:
            self._found(site, job, found.native_id, lease)
        elif found.presence is Presence.ABSENT:
            settle_s = settle_time_s(self._lifecycle, site)
            if settle_s == 0 or (job.absences >= 1 and now - (job.submitting_since or now) >= settle_s):
                if job.canceling:
                    self._drop([job], lease)
                return not job.canceling
            claim = Claim("", now + max(RETRY_AFTER_S, settle_s / 2))
            self._note(job, {"absences": job.absences + 1}, claim, lease)
        else:
            self._note(job, {}, self._later(job), lease)
        return False

    def _later(self, job: Snapshot) -> Claim:
        """Keeps everybody off for a while, the longer the longer it has not been found."""
        now = self._clock()
        return Claim("", now + max(RETRY_AFTER_S, patience_s(now - (job.submitting_since or now))))

    def _found(self, site: Site, job: Snapshot, native_id: str, lease: Lease | None) -> None:
        move = Move(
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
            held_claim=_holder(job),
        )
        if self._store.jobs.move([move], lease=lease) == [True]:
            tell_canceled(self._store, self._lifecycle, self._transports, site, [job.ref.id])

    def _note(self, job: Snapshot, changes: Mapping[str, object], claim: Claim, lease: Lease | None) -> None:
        self._store.jobs.move([_noted(job, changes, claim)], lease=lease)

    def _drop(self, jobs: Sequence[Snapshot], lease: Lease | None) -> None:
        """Ends jobs that were canceled before any scheduler had them."""
        now = self._clock()
        self._store.jobs.move(
            [replace(cancel_unsubmitted(job, now), held_claim=_holder(job)) for job in jobs], lease=lease
        )


def _tried(job: Snapshot) -> bool:
    """Whether a scheduler may have the job without our knowing."""
    return job.state is JobState.SUBMITTING and job.submitting_since is not None


def _holder(job: Snapshot) -> str:
    return job.claim.holder if job.claim else ""


def _noted(job: Snapshot, changes: Mapping[str, object], claim: Claim) -> Move:
    """A change to a job that is no step, unless somebody else has claimed it since it was looked at."""
    return Move(
        job_id=job.ref.id,
        old=job.state,
        attempt=job.attempt,
        new=job.state,
        changes=changes,
        claim=claim,
        held_claim=_holder(job),
    )


def cancel_unsubmitted(job: Snapshot, now: float, actor: str | None = None) -> Move:
    """The end of a job that no scheduler has, whoever has claimed it."""
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
        tasks=ended_tasks((), job.ref.tasks, JobState.CANCELED, job.cancel_reason or Reason.CANCELED_BY_USER, now),
        claim=NO_CLAIM,
        actor=actor,
    )
