"""What people do with jobs: submit, look, control, delete."""

from __future__ import annotations

import logging
import posixpath
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from hpcgate.config import LimitsTable
from hpcgate.errors import Conflict, HpcgateError, InvalidSpec, JobRejected, SiteError, nearest
from hpcgate.model.files import FileChunk, JobFolder
from hpcgate.model.job import Attempt, Event, Job, Task
from hpcgate.model.move import Claim, Move, Snapshot
from hpcgate.model.principal import Principal
from hpcgate.model.query import DEFAULT_LIMIT, MAX_LIMIT, JobFilter, Page
from hpcgate.model.site import Site, SiteHealth
from hpcgate.model.spec import JobSpec
from hpcgate.model.state import AT_SCHEDULER, JobState, Reason
from hpcgate.service.access import OTHERS, Verb, only_owner, require, require_on_job
from hpcgate.service.admission import Admission, JobRequest, Validation, fingerprint
from hpcgate.service.submit import ON_THE_WAY, cancel_unsubmitted
from hpcgate.store.jobs import Added, Idempotency

if TYPE_CHECKING:
    from hpcgate.plugin.lifecycle import Lifecycle
    from hpcgate.service.submit import Submitter
    from hpcgate.service.transports import Transports
    from hpcgate.store.database import Store

_log = logging.getLogger(__name__)
_GONE: Final = "this Idempotency-Key stands for a job that is not there any more, or was not accepted; send a fresh key"

#: Rows that are stored in one transaction of a bulk submit.
BULK_CHUNK: Final = 500
CANCEL_TRIES: Final = 20
CANCEL_CHUNK: Final = 1000
#: What a poll may take on top of the poll table before what is known counts as old, seconds.
STALE_SLACK_S: Final = 2.0
SIGNALS: Final = ("HUP", "INT", "QUIT", "KILL", "USR1", "USR2", "TERM", "CONT", "STOP", "ALRM", "WINCH")


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


class JobService:
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
        self._sites = sites
        self._by_alias = {alias: site for site in sites.values() for alias in (site.name, *site.aliases)}
        self._store = store
        self._lifecycle = lifecycle
        self._transports = transports
        self._submitter = submitter
        self._admission = admission
        self._limits = limits
        self._clock = clock

    # --- submit

    def submit(self, principal: Principal, request: JobRequest, *, idempotency_key: str | None = None) -> SubmitResult:
        """Stores a job and brings it to its scheduler.

        Args:
            principal: who asks, and who will own it.
            request: the job.
            idempotency_key: the same key with the same request gives the job of the first time.

        Raises:
            InvalidSpec: a field is wrong, or the site cannot honour it.
            JobRejected: a plugin or the scheduler refused it. A job that a scheduler refused is kept, as FAILED.
            IdempotencyMismatch: the key was used with another request.
        """
        require(principal, Verb.SUBMIT)
        key = _checked_key(idempotency_key)
        idempotency = None if key is None else Idempotency(principal.name, key, fingerprint(request))
        # Before anything that might refuse it now: what was accepted once stays accepted.
        added = self._store.jobs.replay(idempotency) if idempotency else None
        if added is None:
            added = self._add(principal, request, idempotency)
        if not added.jobs:
            raise Conflict(_GONE)
        job = self._store.jobs.get(added.jobs[0].id)
        if job.reason is Reason.SUBMIT_REJECTED and not added.replayed:
            raise JobRejected(f"site {job.site!r} refused job {job.id}: {job.message}")
        return SubmitResult(job=self._fresh(job), replayed=added.replayed, accepted=job.state not in ON_THE_WAY)

    def _add(self, principal: Principal, request: JobRequest, idempotency: Idempotency | None) -> Added:
        """Stores and submits a job, unless another request with the same key was quicker."""
        site, spec = self._admission.accept(principal, request)
        self._admission.check_active_jobs(principal, 1)
        claim = self._submitter.claim()
        draft = self._admission.draft(principal, site, spec, claim)
        added = self._store.jobs.add([draft], actor=principal.name, idempotency=idempotency)
        if not added.replayed:
            self._submitter.submit(site, [replace(added.jobs[0], spec=spec)], claim)
        return added

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
            accepted: dict[int, tuple[Site, JobSpec]] = {}
            for place, request in enumerate(requests):
                try:
                    accepted[place] = self._accept(principal, request)
                except HpcgateError as error:
                    answers[place] = error
            before = self._add_many(principal, accepted, idempotency) if accepted else None
        if before is not None:
            now = self._all_fresh(self._store.jobs.get_many([job.id for job in before.jobs]))
            places = dict(zip((job.id for job in before.jobs), before.places, strict=True))
            answers |= {places[job.id]: job for job in now}
        return [
            answers[place] if place in answers else self._why_missing(principal, request)
            for place, request in enumerate(requests)
        ]

    def _accept(self, principal: Principal, request: JobRequest | InvalidSpec) -> tuple[Site, JobSpec]:
        if isinstance(request, InvalidSpec):
            raise request
        return self._admission.accept(principal, request)

    def _add_many(
        self, principal: Principal, accepted: Mapping[int, tuple[Site, JobSpec]], idempotency: Idempotency | None
    ) -> Added:
        """Stores and submits jobs, unless another request with the same key was quicker."""
        claim = self._submitter.claim(len(accepted))
        drafts = [self._admission.draft(principal, site, spec, claim) for site, spec in accepted.values()]
        added = self._store.jobs.add(drafts, actor=principal.name, idempotency=idempotency, places=list(accepted))
        if not added.replayed:
            jobs = zip(added.jobs, accepted.values(), strict=True)
            self._submit_by_site([(site, replace(job, spec=spec)) for job, (site, spec) in jobs], claim)
        return added

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
        return self._admission.validate(principal, request)

    def clone(self, principal: Principal, job_id: int, *, idempotency_key: str | None = None) -> SubmitResult:
        """Submits the same spec again, as a new job of the principal. A job with secrets keeps them for its owner.

        ``idempotency_key`` and what is raised are as for ``submit``.
        """
        job = self._job(principal, Verb.READ_OUTPUT, job_id)
        spec = job.spec
        if spec.secret_environment:
            if job.owner != principal.name:
                raise Conflict(f"job {job_id} has secret variables, which only its owner can use again")
            spec = replace(spec, secret_environment=self._store.jobs.secrets(job_id))
        return self.submit(principal, JobRequest(spec=spec, site=job.site), idempotency_key=idempotency_key)

    # --- look

    def list(
        self, principal: Principal, query: JobFilter, *, cursor: str | None = None, limit: int = DEFAULT_LIMIT
    ) -> Page[Job]:
        """Jobs that the principal may see, newest first.

        Raises:
            InvalidSpec: limit or cursor is out of range.
        """
        if not 1 <= limit <= MAX_LIMIT:
            raise InvalidSpec.of("limit", f"{limit} is out of range; it must be from 1 to {MAX_LIMIT}")
        restricted = self._restrict(principal, query)
        if restricted is None:
            return Page(())
        page = self._store.jobs.page(restricted, cursor=cursor, limit=limit)
        return Page(tuple(self._all_fresh(page.items)), page.next_cursor)

    def count(self, principal: Principal, query: JobFilter) -> int:
        """How many jobs a list would give."""
        restricted = self._restrict(principal, query)
        return 0 if restricted is None else self._store.jobs.count(restricted)

    def _restrict(self, principal: Principal, query: JobFilter) -> JobFilter | None:
        """The filter with site aliases resolved and held to what the principal may see; ``None`` = nothing."""
        names = tuple(self._by_alias[name].name if name in self._by_alias else name for name in query.sites)
        owner = only_owner(principal)
        if owner is not None and query.owner not in (None, owner):
            return None
        return replace(query, sites=names, owner=owner or query.owner)

    def get(self, principal: Principal, job_id: int) -> Job:
        """One job.

        Raises:
            NotFound: there is none, or none that the principal may see.
        """
        return self._fresh(self._job(principal, Verb.READ, job_id))

    def _job(self, principal: Principal, verb: Verb, job_id: int) -> Job:
        job = self._store.jobs.get(job_id)
        require_on_job(principal, verb, job_id, job.owner)
        return job

    def _fresh(self, job: Job) -> Job:
        return self._all_fresh([job])[0]

    def _all_fresh(self, jobs: Sequence[Job]) -> Sequence[Job]:
        """The jobs with ``stale`` set where their site has not said anything for too long."""
        if not any(job.state in AT_SCHEDULER for job in jobs):
            return jobs
        health, now = self._store.sites.all(), self._clock()
        return [replace(job, stale=True) if self._is_stale(job, health, now) else job for job in jobs]

    def _is_stale(self, job: Job, health: Mapping[str, SiteHealth], now: float) -> bool:
        site = self._sites.get(job.site or "")
        if job.state not in AT_SCHEDULER:
            return False
        if site is None:
            return True  # nobody asks it any more
        known = health.get(site.name)
        answered_at = max((known.polled_at if known else None) or 0.0, job.updated_at)
        return now - answered_at > 2 * site.poll.max_s + STALE_SLACK_S

    def events(self, principal: Principal, job_id: int, *, after: int = 0, limit: int = 100) -> Sequence[Event]:
        """What happened to a job, in order."""
        self._job(principal, Verb.READ, job_id)
        if not 0 <= after < 2**63:
            raise InvalidSpec.of("after", f"{after} is no event number")
        return list(self._store.events.after(after, limit=_bounded(limit), job_id=job_id))

    def tasks(
        self,
        principal: Principal,
        job_id: int,
        *,
        attempt: int | None = None,
        cursor: str | None = None,
        limit: int = 100,
    ) -> Page[Task]:
        """The tasks of a job's current (or another) attempt, by role and index."""
        job = self._job(principal, Verb.READ, job_id)
        limit = _bounded(limit)
        tasks = self._store.jobs.tasks(
            job_id, attempt=attempt or job.attempt, after=_task_cursor(cursor), limit=limit + 1
        )
        more = f"{tasks[limit - 1].role}:{tasks[limit - 1].index}" if len(tasks) > limit else None
        return Page(tuple(tasks[:limit]), more)

    def attempts(self, principal: Principal, job_id: int) -> Sequence[Attempt]:
        """The runs of a job, first to last."""
        self._job(principal, Verb.READ, job_id)
        return list(self._store.jobs.attempts(job_id))

    def script(self, principal: Principal, job_id: int) -> str:
        """The script as it was submitted, or what the scheduler makes of the command."""
        job = self._job(principal, Verb.READ_OUTPUT, job_id)
        if job.spec.script is not None:
            return job.spec.script
        site = self._site_of(job)
        return self._lifecycle.render_script(site, job).text

    def output(
        self,
        principal: Principal,
        job_id: int,
        stream: str,
        *,
        offset: int = 0,
        length: int | None = None,
        task: int | None = None,
    ) -> FileChunk:
        """A part of a job's ``stdout`` or ``stderr``; nothing written yet is empty.

        Args:
            principal: who asks.
            job_id: the job.
            stream: ``stdout`` or ``stderr``.
            offset: first byte; negative counts from the end.
            length: most bytes, at most ``limits.max_log_bytes``.
            task: index of an array task.

        Raises:
            SiteError: the site did not answer.
        """
        job = self._job(principal, Verb.READ_OUTPUT, job_id)
        if stream not in ("stdout", "stderr"):
            raise InvalidSpec.of("stream", f"{stream!r} is neither stdout nor stderr")
        if (job.spec.array is not None) != (task is not None):
            wanted = "name one of its tasks" if task is None else "it has no tasks"
            raise InvalidSpec.of("task", f"job {job_id} is {'' if task is None else 'not '}an array; {wanted}")
        most = self._limits.max_log_bytes
        length = most if length is None else max(0, min(length, most))
        if job.folder is None or job.state in (JobState.CREATED, JobState.STAGING_IN):
            return FileChunk(data=b"", offset=0, size=0)
        site = self._site_of(job)
        transport = self._transports.get(site, job.account)
        told = self._lifecycle.read_output(site, job.ref, stream, offset, length, transport)
        if told is not None:
            return told
        path = _output_path(job, stream, task)
        if offset < 0:
            found = transport.stat(path)
            offset = max(0, (found.size if found else 0) + offset)
        try:
            return transport.read(path, offset=offset, length=length)
        except FileNotFoundError:
            return FileChunk(data=b"", offset=0, size=0)

    def _site_of(self, job: Job) -> Site:
        if job.site is None or job.site not in self._sites:
            raise Conflict(f"the site {job.site!r} of job {job.id} is not configured any more")
        return self._sites[job.site]

    # --- control

    def cancel(self, principal: Principal, ids: Sequence[int]) -> Sequence[Job]:
        """Asks for jobs to be canceled.

        One that has ended stays as it ended; whether a job is canceled is seen when its scheduler says so
        (``canceling`` is set until then).

        Raises:
            NotFound, Forbidden: about the first job for which it is so; nothing was canceled.
        """
        jobs = [self._job(principal, Verb.CONTROL, job_id) for job_id in dict.fromkeys(ids)]
        self._cancel(principal, [job for job in jobs if not job.state.final])
        return self._all_fresh(self._store.jobs.get_many([job.id for job in jobs]))

    def cancel_matching(self, principal: Principal, query: JobFilter) -> int:
        """Asks for all active jobs that match to be canceled, as far as the principal may.

        Returns:
            How many were asked for.
        """
        restricted = self._restrict(principal, replace(query, active=True))
        if restricted is None:
            return 0
        if not principal.has(*OTHERS[Verb.CONTROL]):
            restricted = replace(restricted, owner=principal.name)
        asked, cursor = 0, None
        while True:
            page = self._store.jobs.page(restricted, cursor=cursor, limit=CANCEL_CHUNK)
            asked += self._cancel(principal, page.items)
            cursor = page.next_cursor
            if cursor is None:
                return asked

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
        for name, site in self._sites.items():
            members = [job for job in noted if job.site == name and job.native_id is not None]
            if members:
                self._tell_canceled(site, members)
        return len(noted)

    def _cancel_wish(self, principal: Principal, job: Job) -> Move:
        own = job.owner == principal.name
        reason = Reason.CANCELED_BY_USER if own else Reason.CANCELED_BY_ADMIN
        unclaimed = Snapshot(ref=job.ref, owner=job.owner, state=job.state, attempt=job.attempt, cancel_reason=reason)
        if job.state in (JobState.CREATED, JobState.STAGING_IN):
            return cancel_unsubmitted(unclaimed, self._clock(), principal.name)
        return Move(
            job_id=job.id,
            old=job.state,
            attempt=job.attempt,
            new=job.state,
            changes={"canceling": True, "cancel_reason": reason},
            event="job.canceling",
            event_data={"site": job.site},
            actor=principal.name,
        )

    def _tell_canceled(self, site: Site, jobs: Sequence[Job]) -> None:
        try:
            self._lifecycle.cancel_jobs(site, [job.ref for job in jobs], self._transports.get(site))
        except SiteError as error:
            _log.warning("site %s: a cancel did not get through, it is repeated: %s", site.name, error.message)

    def hold(self, principal: Principal, job_id: int) -> Job:
        """Keeps a queued job from starting.

        Raises:
            Conflict: it is not queued.
            NotSupported: the scheduler cannot hold jobs.
            SiteError: the site refused or did not answer.
        """
        job = self._controlled(principal, job_id, "hold", {JobState.QUEUED, JobState.HELD})
        site = self._site_of(job)
        self._lifecycle.hold_job(site, job.ref, self._transports.get(site, job.account))
        return self._requested(principal, job, "hold")

    def release(self, principal: Principal, job_id: int) -> Job:
        """Lets a held job start. Raises as ``hold`` does."""
        job = self._controlled(principal, job_id, "release", {JobState.QUEUED, JobState.HELD})
        site = self._site_of(job)
        self._lifecycle.release_job(site, job.ref, self._transports.get(site, job.account))
        return self._requested(principal, job, "release")

    def requeue(self, principal: Principal, job_id: int) -> Job:
        """Stops a running job and puts it back into the queue, as its next attempt. Raises as ``hold`` does."""
        job = self._controlled(principal, job_id, "requeue", {JobState.RUNNING, JobState.SUSPENDED})
        site = self._site_of(job)
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
        self._lifecycle.signal_job(site, job.ref, plain, self._transports.get(site, job.account))
        return self._requested(principal, job, f"signal {plain}")

    def _controlled(self, principal: Principal, job_id: int, verb: str, states: set[JobState]) -> Job:
        job = self._job(principal, Verb.CONTROL, job_id)
        if job.state not in states or job.native_id is None:
            wanted = " or ".join(sorted(states & AT_SCHEDULER))
            raise Conflict(f"job {job_id} is {job.state}; to {verb} it, it must be {wanted}")
        return job

    def _requested(self, principal: Principal, job: Job, verb: str) -> Job:
        """Notes what was asked for; the event also wakes the worker to see what came of it."""
        self._store.jobs.move(
            [
                Move(
                    job_id=job.id,
                    old=job.state,
                    attempt=job.attempt,
                    new=job.state,
                    event="job.requested",
                    event_data={"verb": verb, "site": job.site},
                    actor=principal.name,
                )
            ]
        )
        return self._fresh(self._store.jobs.get(job.id))

    def delete(self, principal: Principal, job_id: int) -> None:
        """Forgets an ended job and removes its folder.

        Raises:
            Conflict: it has not ended.
            SiteError: its folder could not be removed; the job is kept.
        """
        job = self._job(principal, Verb.DELETE, job_id)
        if not job.state.final:
            raise Conflict(f"job {job_id} is {job.state}; cancel it first, only ended jobs can be deleted")
        site = self._sites.get(job.site or "")
        # Nothing but a folder that is named by the job's key is ever removed, whatever the row says.
        if job.folder is not None and posixpath.basename(job.folder) == job.key and site is not None:
            self._transports.get(site, job.account).remove(job.folder)
        self._store.jobs.delete([job_id], actor=principal.name)


def _checked_key(key: str | None) -> str | None:
    if key is not None and (not 1 <= len(key) <= 255 or not key.isprintable()):
        raise InvalidSpec.of("Idempotency-Key", "must have 1 to 255 printable characters")
    return key


def _bounded(limit: int) -> int:
    if not 1 <= limit <= MAX_LIMIT:
        raise InvalidSpec.of("limit", f"{limit} is out of range; it must be from 1 to {MAX_LIMIT}")
    return limit


def _task_cursor(cursor: str | None) -> tuple[str, int] | None:
    if cursor is None:
        return None
    role, _, index = cursor.rpartition(":")
    if not (index.isascii() and index.isdecimal() and len(index) < 16):
        raise InvalidSpec.of("cursor", f"{cursor!r} did not come from this list")
    return role, int(index)


def _output_path(job: Job, stream: str, task: int | None) -> str:
    """Where a stream is: as the scheduler said at submit, else (its answer was lost) as the spec asks."""
    folder, spec = JobFolder(job.folder or ""), job.spec
    if stream == "stdout":
        told, asked, path = job.stdout_path, spec.stdout_path, folder.stdout()
    else:
        told, asked, path = job.stderr_path, spec.stderr_path, folder.stderr()
    if asked is not None:
        path = posixpath.join(folder.work, spec.working_directory or "", asked)
    return (told or path) if task is None else f"{told or path}.{task}"
