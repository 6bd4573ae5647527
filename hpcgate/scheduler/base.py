"""``Scheduler``: what a scheduler plugin subclasses.

A plugin is one object: an instance of a subclass. The inherited methods below are the hook implementations; a
subclass overrides the ones that it can do. One that it does not override answers ``None``: no such capability.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from inspect import getattr_static, isroutine
from typing import Any

from hpcgate.errors import (
    CommandTimeout,
    HpcgateError,
    InvalidSpec,
    JobRejected,
    OutputTooLarge,
    SiteError,
    TransportError,
)
from hpcgate.hookspecs import PROJECT, hookimpl
from hpcgate.model.files import FileChunk
from hpcgate.model.job import Job, JobRef, Observation
from hpcgate.model.scheduler import (
    KeySearch,
    Listing,
    Probe,
    RenderedScript,
    SchedulerInfo,
    SiteDescription,
    SubmitFailed,
    Submitted,
)
from hpcgate.model.site import Site
from hpcgate.transport.base import CommandResult, Transport


def submit_failure(key: str, error: HpcgateError) -> SubmitFailed:
    """What an exception of a submit says about the job with ``key``.

    A connection that broke, an answer that did not come or could not be read, and a plugin that failed midway all
    leave open whether the scheduler has the job. Only its own word that it has not is believed.
    """
    if isinstance(error, InvalidSpec | JobRejected):
        return SubmitFailed(key=key, message=error.message, permanent=True)
    if isinstance(error, SiteError) and not error.transient and not isinstance(error, CommandTimeout | OutputTooLarge):
        return SubmitFailed(key=key, message=error.message, permanent=True)
    surely_not = isinstance(error, SiteError) and not isinstance(error, TransportError)
    late = isinstance(error, CommandTimeout)
    return SubmitFailed(key=key, message=error.message, permanent=False, ambiguous=not surely_not, late=late)


class Scheduler(ABC):
    """Base of scheduler plugins. The abstract methods are the core; the others are capabilities.

    Every method of a subclass whose name begins with ``hpcgate_`` is a hook implementation, with or without
    ``@hookimpl``; one that names no hook is refused when the plugin is loaded.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        # pluggy reads its marker from the function itself, so a method that overrides a marked one has none.
        for name in dir(cls):
            if name.startswith(f"{PROJECT}_"):
                _mark(getattr_static(cls, name))

    @abstractmethod
    @hookimpl
    def hpcgate_scheduler_info(self) -> SchedulerInfo:
        """See ``hookspecs``."""

    @abstractmethod
    @hookimpl
    def hpcgate_render_script(self, site: Site, job: Job) -> RenderedScript:
        """See ``hookspecs``."""

    @abstractmethod
    @hookimpl
    def hpcgate_submit_job(self, site: Site, job: Job, transport: Transport) -> Submitted:
        """See ``hookspecs``."""

    @hookimpl
    def hpcgate_submit_jobs(
        self, site: Site, jobs: Sequence[Job], transport: Transport
    ) -> Sequence[Submitted | SubmitFailed]:
        """One after the other; a scheduler with a real bulk submit overrides it."""
        return [self._submit_one(site, job, transport) for job in jobs]

    def _submit_one(self, site: Site, job: Job, transport: Transport) -> Submitted | SubmitFailed:
        try:
            return self.hpcgate_submit_job(site, job, transport)
        except (InvalidSpec, JobRejected, SiteError) as error:
            return submit_failure(job.key, error)

    @abstractmethod
    @hookimpl
    def hpcgate_poll_jobs(self, site: Site, jobs: Sequence[JobRef], transport: Transport) -> Listing:
        """See ``hookspecs``."""

    @abstractmethod
    @hookimpl
    def hpcgate_find_by_key(self, site: Site, job: JobRef, transport: Transport) -> KeySearch:
        """See ``hookspecs``."""

    @abstractmethod
    @hookimpl
    def hpcgate_cancel_jobs(self, site: Site, jobs: Sequence[JobRef], transport: Transport) -> bool:
        """See ``hookspecs``."""

    @hookimpl
    def hpcgate_read_accounting(
        self, site: Site, jobs: Sequence[JobRef], transport: Transport
    ) -> Sequence[Observation] | None:
        """See ``hookspecs``."""
        return None

    @hookimpl
    def hpcgate_cancel_tasks(
        self, site: Site, job: JobRef, indices: Sequence[int], transport: Transport
    ) -> bool | None:
        """See ``hookspecs``."""
        return None

    @hookimpl
    def hpcgate_hold_job(self, site: Site, job: JobRef, transport: Transport) -> bool | None:
        """See ``hookspecs``."""
        return None

    @hookimpl
    def hpcgate_release_job(self, site: Site, job: JobRef, transport: Transport) -> bool | None:
        """See ``hookspecs``."""
        return None

    @hookimpl
    def hpcgate_requeue_job(self, site: Site, job: JobRef, transport: Transport) -> bool | None:
        """See ``hookspecs``."""
        return None

    @hookimpl
    def hpcgate_signal_job(self, site: Site, job: JobRef, signal: str, transport: Transport) -> bool | None:
        """See ``hookspecs``."""
        return None

    @hookimpl
    def hpcgate_exec_in_job(
        self, site: Site, job: JobRef, argv: Sequence[str], transport: Transport
    ) -> CommandResult | None:
        """See ``hookspecs``."""
        return None

    @hookimpl
    def hpcgate_read_output(
        self, site: Site, job: JobRef, stream: str, offset: int, length: int, transport: Transport
    ) -> FileChunk | None:
        """See ``hookspecs``."""
        return None

    @hookimpl
    def hpcgate_describe_site(self, site: Site, transport: Transport) -> SiteDescription | None:
        """See ``hookspecs``."""
        return None

    @hookimpl
    def hpcgate_probe_site(self, site: Site, transport: Transport) -> Probe | None:
        """See ``hookspecs``."""
        return None


def _mark(method: object) -> None:
    function = getattr(method, "__func__", method)  # inside a classmethod or staticmethod
    if isroutine(function) and not hasattr(function, f"{PROJECT}_impl"):
        hookimpl(function)
