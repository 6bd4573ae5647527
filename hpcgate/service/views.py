"""What people see of jobs."""

from __future__ import annotations

import posixpath
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from hpcgate.config import LimitsTable
from hpcgate.errors import Conflict, InvalidSpec, NotFound
from hpcgate.model.files import FileChunk, JobFolder
from hpcgate.model.job import Attempt, Event, Job, Task
from hpcgate.model.principal import Principal
from hpcgate.model.query import DEFAULT_LIMIT, MAX_LIMIT, JobFilter, Page
from hpcgate.model.site import Site, SiteHealth
from hpcgate.model.state import AT_SCHEDULER, JobState
from hpcgate.service.access import Verb, only_owner, require_on_job
from hpcgate.service.reconcile import freshness_of

if TYPE_CHECKING:
    from hpcgate.plugin.lifecycle import Lifecycle
    from hpcgate.service.transports import Transports
    from hpcgate.store.database import Store


class JobViews:
    """Looks at jobs of all sites.

    Args:
        sites: by name.
        store, lifecycle, transports: the parts it works on.
        limits: the ``[limits]`` table.
        clock: epoch seconds.
    """

    def __init__(
        self,
        sites: Mapping[str, Site],
        store: Store,
        lifecycle: Lifecycle,
        transports: Transports,
        limits: LimitsTable,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._sites = sites
        self._by_alias = {alias: site for site in sites.values() for alias in (site.name, *site.aliases)}
        self._store = store
        self._lifecycle = lifecycle
        self._transports = transports
        self._limits = limits
        self._clock = clock

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
        own = health.get(freshness_of(site.name, job.account))
        if own is not None and own.failed_at is not None:
            known = own  # it is its own account that does not get an answer
        answered_at = max((known.polled_at if known else None) or 0.0, job.updated_at)
        return now - answered_at > site.poll.promised_s

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
            NotFound: the array has no such task.
            SiteError: the site did not answer.
        """
        job = self._job(principal, Verb.READ_OUTPUT, job_id)
        if stream not in ("stdout", "stderr"):
            raise InvalidSpec.of("stream", f"{stream!r} is neither stdout nor stderr")
        if (job.spec.array is not None) != (task is not None):
            wanted = "name one of its tasks" if task is None else "it has no tasks"
            raise InvalidSpec.of("task", f"job {job_id} is {'' if task is None else 'not '}an array; {wanted}")
        if job.spec.array is not None and task not in job.spec.array.indices():
            raise NotFound(f"job {job_id} has no task {task}; its array is {job.spec.array}")
        most = self._limits.max_log_bytes
        length = most if length is None else max(0, min(length, most))
        if job.folder is None and job.state.final:
            raise NotFound(f"the files of job {job_id} were removed, or it never had any")
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
