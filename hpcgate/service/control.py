"""What people ask of jobs: cancel, hold, release, requeue, signal, delete."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Final

from hpcgate.errors import Conflict, Forbidden, InvalidSpec, SchedulerError, nearest
from hpcgate.model.job import Job
from hpcgate.model.move import Move, Snapshot
from hpcgate.model.principal import Principal, Role
from hpcgate.model.query import JobFilter
from hpcgate.model.state import AT_SCHEDULER, Evidence, JobState, Reason
from hpcgate.service.access import OTHERS, Verb
from hpcgate.service.retention import files_removed, remove_folder
from hpcgate.service.submission import pass_on_cancel
from hpcgate.service.submit import cancel_unsubmitted
from hpcgate.service.trail import about
from hpcgate.service.views import JobViews

CANCEL_TRIES: Final = 20
CANCEL_CHUNK: Final = 1000
SIGNALS: Final = ("HUP", "INT", "QUIT", "KILL", "USR1", "USR2", "TERM", "CONT", "STOP", "ALRM", "WINCH")


@dataclass(frozen=True, slots=True)
class Canceled:
    """What a part of a bulk cancel did.

    Args:
        count: how many jobs were asked for.
        next_cursor: where to go on; ``None`` = this was the last part.
    """

    count: int
    next_cursor: str | None


class JobControl(JobViews):
    """Passes on what is asked of jobs. That it came to be is seen by the next poll, never taken from the answer."""

    def cancel(self, principal: Principal, ids: Sequence[int]) -> Sequence[Job]:
        """Asks for jobs to be canceled.

        One that has ended stays as it ended; whether a job is canceled is seen when its scheduler says so
        (``canceling`` is set until then). Where its site is not configured any more nobody can say so: the wish is
        kept for the day that it is, but one of an admin ends the job.

        Raises:
            NotFound, Forbidden: about the first job for which it is so; nothing was canceled.
        """
        jobs = [self._job(principal, Verb.CONTROL, job_id) for job_id in dict.fromkeys(ids)]
        self._cancel(principal, [job for job in jobs if not job.state.final])
        return self._all_fresh(self._store.jobs.get_many([job.id for job in jobs]))

    def cancel_matching(self, principal: Principal, query: JobFilter, *, cursor: str | None = None) -> Canceled:
        """Asks for active jobs that match to be canceled, as far as the principal may, at most ``CANCEL_CHUNK``.

        Args:
            principal: who asks.
            query: which jobs.
            cursor: where the part before ended.

        Raises:
            Forbidden: the jobs of the owner that it names may be seen, but not canceled.
            InvalidSpec: the cursor is none.
        """
        restricted = self._controllable(principal, query)
        if restricted is None:
            return Canceled(0, None)
        page = self._store.jobs.page(restricted, cursor=cursor, limit=CANCEL_CHUNK)
        return Canceled(self._cancel(principal, page.items), page.next_cursor)

    def count_cancelable(self, principal: Principal, query: JobFilter) -> int:
        """How many jobs ``cancel_matching`` would ask for, over all parts. Raises as that does."""
        restricted = self._controllable(principal, query)
        return 0 if restricted is None else self._store.jobs.count(restricted)

    def _controllable(self, principal: Principal, query: JobFilter) -> JobFilter | None:
        restricted = self._restrict(principal, replace(query, active=True))
        if restricted is None or principal.has(*OTHERS[Verb.CONTROL]):
            return restricted
        if restricted.owner not in (None, principal.name):
            raise Forbidden(f"{principal.name!r} may not {Verb.CONTROL} of {restricted.owner!r}")
        return replace(restricted, owner=principal.name)

    def _cancel(self, principal: Principal, jobs: Sequence[Job]) -> int:
        """Notes the wish durably, then tells the schedulers; what does not get through, the worker repeats."""
        noted: list[Job] = []
        left = list(jobs)
        for _ in range(CANCEL_TRIES):
            done = self._store.jobs.move([self._cancel_wish(principal, job) for job in left])
            noted += [job for job, is_noted in zip(left, done, strict=True) if is_noted]
            missed = [job.id for job, is_noted in zip(left, done, strict=True) if not is_noted]
            # They went on between the look and the note; the wish holds for the state that they are in now.
            left = [job for job in self._store.jobs.get_many(missed) if not job.state.final]
            if not left:
                break
        else:
            raise Conflict(f"job {left[0].id} changes too fast to be canceled; try again")
        for job in noted:
            about("job", job.id)
        for name, site in self._sites.items():
            members = [job for job in noted if job.site == name and job.native_id is not None]
            if members:
                pass_on_cancel(self._lifecycle, self._transports, site, [job.ref for job in members])
        return len(noted)

    def _cancel_wish(self, principal: Principal, job: Job, reason: Reason | None = None) -> Move:
        if reason is None:
            own = job.owner == principal.name
            reason = Reason.CANCELED_BY_USER if own else Reason.CANCELED_BY_ADMIN
        unclaimed = Snapshot(ref=job.ref, owner=job.owner, state=job.state, attempt=job.attempt, cancel_reason=reason)
        if job.state in (JobState.CREATED, JobState.STAGING_IN):
            return cancel_unsubmitted(unclaimed, self._clock(), principal.actor)
        if job.site not in self._sites and principal.has(Role.ADMIN):
            return self._given_up(job, principal)
        return Move(
            job_id=job.id,
            old=job.state,
            attempt=job.attempt,
            new=job.state,
            changes={"canceling": True, "cancel_reason": reason},
            event="job.canceling",
            event_data={"site": job.site},
            actor=principal.actor,
        )

    def _given_up(self, job: Job, principal: Principal) -> Move:
        """The end of a job whose site is not configured any more: nobody is there who could end it otherwise."""
        return Move(
            job_id=job.id,
            old=job.state,
            attempt=job.attempt,
            new=JobState.CANCELED,
            via=(JobState.CANCELED,),
            changes={
                "reason": Reason.CANCELED_BY_GATEWAY,
                "message": f"its site {job.site!r} is not configured any more; what became of it there is not known",
                "evidence": Evidence.GATEWAY,
                "ended_at": self._clock(),
                "canceling": False,
            },
            actor=principal.actor,
        )

    def cancel_tasks(self, principal: Principal, job_id: int, indices: Sequence[int]) -> Job:
        """Asks for some tasks of an array to be canceled; the others go on. Tasks that have ended stay as they ended.

        Raises:
            InvalidSpec: the job is no array, or its array has no such index.
            NotSupported: the scheduler cannot cancel single tasks.
            Conflict, SiteError: as ``hold``.
        """
        job = self._controlled(principal, job_id, "cancel tasks of", set(AT_SCHEDULER))
        require_indices(job, indices)
        site = self._site_of(job)
        with _refused(job, "cancel tasks of"):
            self._lifecycle.cancel_tasks(site, job.ref, sorted(set(indices)), self._transports.get(site, job.account))
        return self._requested(principal, job, "cancel tasks", indices=sorted(set(indices)))

    def hold(self, principal: Principal, job_id: int) -> Job:
        """Keeps a queued job from starting.

        Raises:
            Conflict: it is not queued, or has just ended or started at the site.
            NotSupported: the scheduler cannot hold jobs.
            SiteError: the site did not answer.
        """
        job = self._controlled(principal, job_id, "hold", {JobState.QUEUED, JobState.HELD})
        site = self._site_of(job)
        with _refused(job, "hold"):
            self._lifecycle.hold_job(site, job.ref, self._transports.get(site, job.account))
        return self._requested(principal, job, "hold")

    def release(self, principal: Principal, job_id: int) -> Job:
        """Lets a held job start. Raises as ``hold`` does."""
        job = self._controlled(principal, job_id, "release", {JobState.QUEUED, JobState.HELD})
        site = self._site_of(job)
        with _refused(job, "release"):
            self._lifecycle.release_job(site, job.ref, self._transports.get(site, job.account))
        return self._requested(principal, job, "release")

    def requeue(self, principal: Principal, job_id: int) -> Job:
        """Stops a running job and puts it back into the queue, as its next attempt. Raises as ``hold`` does."""
        job = self._controlled(principal, job_id, "requeue", {JobState.RUNNING, JobState.SUSPENDED})
        site = self._site_of(job)
        with _refused(job, "requeue"):
            self._lifecycle.requeue_job(site, job.ref, self._transports.get(site, job.account))
        return self._requested(principal, job, "requeue")

    def signal(self, principal: Principal, job_id: int, name: str) -> Job:
        """Sends a signal to a running job.

        Args:
            principal: who asks.
            job_id: the job.
            name: such as ``USR1`` or ``SIGUSR1``.

        Raises:
            InvalidSpec: there is no such signal. Otherwise as ``hold`` does.
        """
        plain = name.upper().removeprefix("SIG")
        if plain not in SIGNALS:
            raise InvalidSpec.of("signal", f"{name!r} is unknown{nearest(plain, SIGNALS)}")
        job = self._controlled(principal, job_id, "signal", {JobState.RUNNING, JobState.SUSPENDED})
        site = self._site_of(job)
        with _refused(job, "signal"):
            self._lifecycle.signal_job(site, job.ref, plain, self._transports.get(site, job.account))
        return self._requested(principal, job, f"signal {plain}")

    def _controlled(self, principal: Principal, job_id: int, verb: str, states: set[JobState]) -> Job:
        job = self._job(principal, Verb.CONTROL, job_id)
        if job.state not in states or job.native_id is None:
            wanted = " or ".join(sorted(states & AT_SCHEDULER))
            raise Conflict(f"job {job_id} is {job.state}; to {verb} it, it must be {wanted}")
        return job

    def _requested(self, principal: Principal, job: Job, verb: str, **more: object) -> Job:
        """Notes what was asked for; the event also wakes the worker to see what came of it."""
        self._store.jobs.move(
            [
                Move(
                    job_id=job.id,
                    old=job.state,
                    attempt=job.attempt,
                    new=job.state,
                    event="job.requested",
                    event_data={"verb": verb, "site": job.site, **more},
                    actor=principal.actor,
                )
            ]
        )
        return self._fresh(self._store.jobs.get(job.id))

    def expire(self, principal: Principal, job_id: int, at: float | None) -> Job:
        """Says from when the files of a job, and the job itself, may go once it has ended.

        Args:
            principal: who asks; whoever may delete the job.
            job_id: the job.
            at: epoch seconds; ``None`` = as the operator's ``[retention]`` table says.

        Raises:
            InvalidSpec: it is no time.
            Conflict: the job changes too fast; try again.
        """
        if at is not None and not 0 <= at < float(2**40):
            raise InvalidSpec.of("expires_at", f"{at} is no time; give epoch seconds")
        for _ in range(CANCEL_TRIES):
            job = self._job(principal, Verb.DELETE, job_id)
            change = Move(
                job_id=job.id,
                old=job.state,
                attempt=job.attempt,
                new=job.state,
                changes={"expires_at": at},
                event="job.requested",
                event_data={"verb": "expire", "site": job.site, "expires_at": at},
                actor=principal.actor,
            )
            if self._store.jobs.move([change]) == [True]:
                return self._fresh(self._store.jobs.get(job_id))
        raise Conflict(f"job {job_id} changes too fast; try again")

    def remove_files(self, principal: Principal, job_id: int) -> Job:
        """Removes the folder of an ended job, and keeps the job. Twice is once.

        Raises:
            Conflict: it has not ended.
            SiteError: its folder could not be removed.
        """
        job = self._job(principal, Verb.DELETE, job_id)
        if not job.state.final:
            raise Conflict(f"job {job_id} is {job.state}; cancel it first, only files of ended jobs can be removed")
        remove_folder(self._sites.get(job.site or ""), self._transports, job.folder, job.key, job.account)
        if job.folder is not None:
            self._store.jobs.move([files_removed(job, actor=principal.actor)])
        return self._store.jobs.get(job_id)

    def delete(self, principal: Principal, job_id: int) -> None:
        """Forgets an ended job and removes its folder.

        Raises:
            Conflict: it has not ended.
            SiteError: its folder could not be removed; the job is kept.
        """
        job = self._job(principal, Verb.DELETE, job_id)
        if not job.state.final:
            raise Conflict(f"job {job_id} is {job.state}; cancel it first, only ended jobs can be deleted")
        remove_folder(self._sites.get(job.site or ""), self._transports, job.folder, job.key, job.account)
        self._store.jobs.delete([job_id], actor=principal.actor)


def require_indices(job: Job, indices: Sequence[int]) -> None:
    """Refuses indices that are none of the job's.

    Raises:
        InvalidSpec: it is no array, or its array does not have one of them.
    """
    if job.spec.array is None:
        raise InvalidSpec.of("indices", f"job {job.id} is no array")
    known = job.spec.array.indices()
    wrong = [index for index in indices if index not in known]
    if wrong or not indices:
        said = f"{wrong[0]} is none of {job.spec.array}" if wrong else "must name at least one"
        raise InvalidSpec.of("indices", f"{said} (job {job.id})")


@contextmanager
def _refused(job: Job, verb: str) -> Iterator[None]:
    """A scheduler that says no for good knows the job better than we do: it is not, or no more, as it must be."""
    try:
        yield
    except SchedulerError as error:
        if error.transient:
            raise
        raise Conflict(f"site {job.site!r} refused to {verb} job {job.id}: {error.message}") from error
