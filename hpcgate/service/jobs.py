"""Jobs of all sites: what every API does with them. Here is how they come in."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Final

from hpcgate.config import LimitsTable
from hpcgate.errors import CommandTimeout, Conflict, HpcgateError, InvalidSpec, JobRejected, SiteError
from hpcgate.model.job import Job
from hpcgate.model.move import Claim
from hpcgate.model.principal import Principal
from hpcgate.model.site import Site
from hpcgate.model.spec import JobSpec, arrays_of
from hpcgate.model.state import ON_THE_WAY, JobState, Reason
from hpcgate.service.access import Verb, require
from hpcgate.service.admission import Accepted, Admission, JobRequest, Validation, fingerprint
from hpcgate.service.control import JobControl, require_indices
from hpcgate.service.deadline import within
from hpcgate.service.trail import about
from hpcgate.store.jobs import Added, Idempotency

if TYPE_CHECKING:
    from hpcgate.plugin.lifecycle import Lifecycle
    from hpcgate.service.submit import Submitter
    from hpcgate.service.transports import Transports
    from hpcgate.store.database import Store

_GONE: Final = "this Idempotency-Key stands for a job that is not there any more, or was not accepted; send a fresh key"

#: Rows that are stored in one transaction of a bulk submit.
BULK_CHUNK: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitResult:
    """What became of a submit.

    Args:
        job: as it is now.
        replayed: the Idempotency-Key had been used before; nothing was submitted this time.
        accepted: a scheduler has the job; else a worker goes on trying.
    """

    job: Job
    replayed: bool
    accepted: bool


class JobService(JobControl):
    """Jobs of all sites.

    Args:
        sites: by name.
        store, lifecycle, transports, submitter, admission: the parts it works on.
        limits: the ``[limits]`` table.
        clock: epoch seconds.
    """

    def __init__(
        self,
        sites: Mapping[str, Site],
        store: Store,
        lifecycle: Lifecycle,
        transports: Transports,
        submitter: Submitter,
        admission: Admission,
        limits: LimitsTable,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(sites, store, lifecycle, transports, limits, clock)
        self._submitter = submitter
        self._admission = admission

    def submit(
        self,
        principal: Principal,
        request: JobRequest,
        *,
        idempotency_key: str | None = None,
        within_s: float | None = None,
    ) -> SubmitResult:
        """Stores a job and brings it to its scheduler.

        Args:
            principal: who asks, and who will own it.
            request: the job.
            idempotency_key: the same key with the same request gives the job of the first time.
            within_s: for clients that can neither wait nor ask again. The scheduler takes the job within so many
                seconds, or it is withdrawn: it ends as CANCELED / SUBMIT_TIMEOUT, also should the scheduler turn out
                to have it.

        Raises:
            InvalidSpec: a field is wrong, or the site cannot honour it.
            Forbidden: the principal may not submit, or has no account at the site.
            JobRejected: a plugin or the scheduler refused it. A job that a scheduler refused is kept, as FAILED.
            IdempotencyMismatch: the key was used with another request.
            Conflict: the foreign id of its origin is taken.
            SiteError: the site does not take the job now, and it was withdrawn.
            CommandTimeout: nor did it say so within ``within_s``, or its answer was lost.
        """
        require(principal, Verb.SUBMIT)
        key = _checked_key(idempotency_key)
        idempotency = None if key is None else Idempotency(principal.name, key, fingerprint(request))
        # Before anything that might refuse it now: what was accepted once stays accepted.
        added = self._store.jobs.replay(idempotency) if idempotency else None
        late = False
        if added is None:
            added, late = self._add(principal, request, idempotency, within_s)
        if not added.jobs:
            raise Conflict(_GONE)
        job = self._store.jobs.get(added.jobs[0].id)
        about("job", job.id)
        if within_s is not None and job.state in ON_THE_WAY:
            job = self._withdraw(principal, job, within_s, late)
        if job.reason is Reason.SUBMIT_REJECTED and not added.replayed:
            raise JobRejected(f"site {job.site!r} refused job {job.id}: {job.message}")
        return SubmitResult(job=self._fresh(job), replayed=added.replayed, accepted=job.state not in ON_THE_WAY)

    def _withdraw(self, principal: Principal, job: Job, within_s: float, late: bool) -> Job:
        """Gives up a job that its scheduler did not take in time; one that it took at the last moment comes back."""
        while job.state in ON_THE_WAY:
            if self._store.jobs.move([self._cancel_wish(principal, job, Reason.SUBMIT_TIMEOUT)]) == [True]:
                if job.message is None:
                    raise CommandTimeout(f"timeout: site {job.site!r} did not take the job within {within_s:g} s")
                if late:
                    raise CommandTimeout(f"timeout: site {job.site!r} did not say that it took the job: {job.message}")
                raise SiteError(f"site {job.site!r} does not take the job: {job.message}")
            job = self._store.jobs.get(job.id)
        return job

    def _add(
        self,
        principal: Principal,
        request: JobRequest,
        idempotency: Idempotency | None,
        within_s: float | None = None,
    ) -> tuple[Added, bool]:
        """Stores and submits a job, unless another request with the same key was quicker.

        Returns:
            What was stored, and whether the scheduler's answer was late or lost.
        """
        accepted = self._admission.accept(principal, request)
        self._admission.check_active_jobs(principal, 1)
        claim = self._submitter.claim()
        added, refused = self._store_new(principal, {0: accepted}, claim, idempotency)
        if added is None:
            raise refused[0]
        if added.replayed:
            return added, False
        work = partial(self._submitter.submit, accepted.site, [replace(added.jobs[0], spec=accepted.spec)], claim)
        if within_s is None:
            work()
            return added, False
        try:
            failed = within(within_s, work, self._store.release)
        except CommandTimeout:  # what became of the job until then, its row tells
            return added, True
        return added, any(each.late for each in failed.values())

    def _store_new(
        self, principal: Principal, accepted: Mapping[int, Accepted], claim: Claim, idempotency: Idempotency | None
    ) -> tuple[Added | None, dict[int, HpcgateError]]:
        """Stores jobs and reserves what they may take of their projects, in one transaction.

        Args:
            principal: their owner.
            accepted: the jobs by their place in the request.
            claim: who submits them.
            idempotency: the key of the request.

        Returns:
            What was stored (``None`` = nothing), and why the others were not.
        """
        drafts = [self._admission.draft(principal, each, claim) for each in accepted.values()]
        with self._store.transaction():
            before = self._store.jobs.replay(idempotency) if idempotency else None
            if before is not None:
                return before, {}
            self._admission.require_shares(principal, [each.site for each in accepted.values()])
            judged = list(zip(accepted, drafts, self._admission.refusals(drafts), strict=True))
            refused = {place: error for place, _, error in judged if error is not None}
            fit = {place: draft for place, draft, error in judged if error is None}
            if not fit:
                return None, refused
            added = self._store.jobs.add(
                list(fit.values()), actor=principal.actor, idempotency=idempotency, places=list(fit)
            )
        return added, refused

    def submit_many(
        self,
        principal: Principal,
        requests: Sequence[JobRequest | InvalidSpec],
        *,
        idempotency_key: str | None = None,
    ) -> list[Job | HpcgateError]:
        """Submits many jobs; one bad one does not spoil the rest.

        Args:
            principal: who asks, and who will own them.
            requests: the jobs. An ``InvalidSpec`` stands for one that could not even be read, and is handed back.
            idempotency_key: covers the jobs one by one (with their place in the list), so that a repeated bulk
                submit goes on where the first one broke off.

        Returns:
            A job or an error for each request, in order.

        Raises:
            InvalidSpec: there are more requests than ``limits.max_bulk_jobs``, or none.
            IdempotencyMismatch: the key was used with other requests.
            Conflict: the foreign id of an origin is taken.
        """
        require(principal, Verb.SUBMIT)
        key = _checked_key(idempotency_key)
        most = self._limits.max_bulk_jobs
        if not 1 <= len(requests) <= most:
            raise InvalidSpec.of("jobs", f"holds {len(requests)} jobs; it must be from 1 to {most}")
        chunks: list[tuple[Sequence[JobRequest | InvalidSpec], Idempotency | None, Added | None]] = []
        for start in range(0, len(requests), BULK_CHUNK):
            chunk = requests[start : start + BULK_CHUNK]
            idempotency = key and Idempotency(principal.name, f"{key}#{start}", fingerprint(*chunk))
            # As for a single job: what was accepted once stays accepted, and counts no more.
            chunks.append((chunk, idempotency or None, self._store.jobs.replay(idempotency) if idempotency else None))
        self._admission.check_active_jobs(principal, sum(len(chunk) for chunk, _, before in chunks if before is None))
        answers: list[Job | HpcgateError] = []
        for chunk, idempotency, before in chunks:
            answers.extend(self._submit_chunk(principal, chunk, idempotency, before))
        return answers

    def _submit_chunk(
        self,
        principal: Principal,
        requests: Sequence[JobRequest | InvalidSpec],
        idempotency: Idempotency | None,
        before: Added | None,
    ) -> list[Job | HpcgateError]:
        answers: dict[int, Job | HpcgateError] = {}
        if before is None:
            accepted: dict[int, Accepted] = {}
            for place, request in enumerate(requests):
                try:
                    accepted[place] = self._accept(principal, request)
                except HpcgateError as error:
                    answers[place] = error
            if accepted:
                before, refused = self._add_many(principal, accepted, idempotency)
                answers |= refused
        if before is not None:
            for job in before.jobs:
                about("job", job.id)
            now = self._all_fresh(self._store.jobs.get_many([job.id for job in before.jobs]))
            places = dict(zip((job.id for job in before.jobs), before.places, strict=True))
            answers |= {places[job.id]: job for job in now}
        return [
            answers[place] if place in answers else self._why_missing(principal, request)
            for place, request in enumerate(requests)
        ]

    def _accept(self, principal: Principal, request: JobRequest | InvalidSpec) -> Accepted:
        if isinstance(request, InvalidSpec):
            raise request
        return self._admission.accept(principal, request)

    def _add_many(
        self, principal: Principal, accepted: Mapping[int, Accepted], idempotency: Idempotency | None
    ) -> tuple[Added | None, dict[int, HpcgateError]]:
        """Stores and submits jobs, unless another request with the same key was quicker."""
        claim = self._submitter.claim(len(accepted))
        added, refused = self._store_new(principal, accepted, claim, idempotency)
        if added is not None and not added.replayed:
            jobs = [(accepted[place], job) for place, job in zip(added.places, added.jobs, strict=True)]
            self._submit_by_site([(each.site, replace(job, spec=each.spec)) for each, job in jobs], claim)
        return added, refused

    def _why_missing(self, principal: Principal, request: JobRequest | InvalidSpec) -> HpcgateError:
        """Why a repeated bulk submit has no job for a request: it was refused then, or the job was deleted since."""
        try:
            self._accept(principal, request)
        except HpcgateError as error:
            return error
        return Conflict(_GONE)

    def _submit_by_site(self, jobs: Sequence[tuple[Site, Job]], claim: Claim) -> None:
        by_site: dict[str, list[Job]] = {}
        for site, job in jobs:
            by_site.setdefault(site.name, []).append(job)
        for name, members in by_site.items():
            self._submitter.submit(self._sites[name], members, claim)

    def validate(self, principal: Principal, request: JobRequest) -> Validation:
        """What a submit would say, without doing it."""
        require(principal, Verb.SUBMIT)
        return self._admission.validate(principal, request)

    def retry(
        self,
        principal: Principal,
        job_id: int,
        indices: Sequence[int] = (),
        *,
        idempotency_key: str | None = None,
    ) -> list[Job]:
        """Runs tasks of an array that has ended again, under the same indices, as new jobs with a link to it.

        Args:
            principal: who asks.
            job_id: the array.
            indices: which tasks; by default all that did not complete.
            idempotency_key: the same key with the same tasks gives the jobs of the first time.

        Returns:
            One job for each evenly spaced part of the indices, usually one.

        Raises:
            InvalidSpec: it is no array, has no such index, or the site takes none of this kind.
            Conflict: it has not ended, or all of its tasks have completed.
            HpcgateError: what the first part that was refused raised; those before it were submitted.
        """
        job = self._job(principal, Verb.READ_OUTPUT, job_id)
        require(principal, Verb.SUBMIT)
        known = job.spec.array.indices() if job.spec.array else ()
        require_indices(job, indices or known)
        if not job.state.final:
            raise Conflict(f"job {job_id} is {job.state}; its tasks can be run again once it has ended")
        wanted = indices or self._incomplete(job)
        if not wanted:
            raise Conflict(f"all tasks of job {job_id} have completed; name those that shall run again")
        spec = self._own_spec(principal, job)
        limit = job.spec.array.limit if job.spec.array else None
        requests = [
            JobRequest(spec=replace(spec, array=replace(array, limit=limit)), site=job.site, retry_of=job_id)
            for array in arrays_of(wanted)
        ]
        made: list[Job] = []
        for answer in self.submit_many(principal, requests, idempotency_key=idempotency_key):
            if isinstance(answer, HpcgateError):
                raise answer
            made.append(answer)
        return made

    def _incomplete(self, job: Job) -> list[int]:
        """The tasks of the current attempt that did not complete, also those that never began."""
        known = job.spec.array.indices() if job.spec.array else range(0)
        tasks = self._store.jobs.tasks(job.id, limit=len(known) + 1)
        done = {task.index for task in tasks if task.state is JobState.COMPLETED}
        return [index for index in known if index not in done]

    def _own_spec(self, principal: Principal, job: Job) -> JobSpec:
        """The spec without what project and share gave it, and with its secrets, for the owner alone.

        Raises:
            Conflict: there are secrets, and they are another principal's.
        """
        spec = self._admission.without_gifts(job.spec)
        if not spec.secret_environment:
            return spec
        if job.owner != principal.name:
            raise Conflict(f"job {job.id} has secret variables, which only its owner can use again")
        return replace(spec, secret_environment=self._store.jobs.secrets(job.id))

    def clone(self, principal: Principal, job_id: int, *, idempotency_key: str | None = None) -> SubmitResult:
        """Submits the same spec again, as a new job of the principal. A job with secrets keeps them for its owner.

        ``idempotency_key`` and what is raised are as for ``submit``.
        """
        job = self._job(principal, Verb.READ_OUTPUT, job_id)
        request = JobRequest(spec=self._own_spec(principal, job), site=job.site)
        return self.submit(principal, request, idempotency_key=idempotency_key)


def _checked_key(key: str | None) -> str | None:
    if key is not None and (not 1 <= len(key) <= 255 or not key.isprintable()):
        raise InvalidSpec.of("Idempotency-Key", "must have 1 to 255 printable characters")
    return key
