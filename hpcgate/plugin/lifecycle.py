"""``Lifecycle``: one typed method for each hook. Nothing else in hpcgate calls a hook.

An addressed hook reaches the scheduler of its site and nobody else: other schedulers are left out, and so are the plain
implementations of plugins that are no scheduler. Wrappers of such plugins stay.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import pluggy

from hpcgate.errors import HpcgateError, JobRejected, NotSupported, PluginError, SchedulerError
from hpcgate.model.files import FileChunk
from hpcgate.model.job import Event, Job, JobRef, Observation
from hpcgate.model.principal import Principal
from hpcgate.model.scheduler import (
    KeySearch,
    Listing,
    Presence,
    Probe,
    RenderedScript,
    SchedulerInfo,
    SiteDescription,
    SubmitFailed,
    Submitted,
)
from hpcgate.model.site import Site
from hpcgate.model.spec import JobSpec
from hpcgate.plugin.blame import culprit
from hpcgate.plugin.checks import wraps
from hpcgate.plugin.manager import PluginHost
from hpcgate.transport.base import CommandResult, Transport

_log = logging.getLogger(__name__)
T = TypeVar("T")


class Lifecycle:
    """The hooks of a host's plugins as methods.

    Every addressed method raises what the scheduler raised on purpose (``SiteError``, ``InvalidSpec``, ``JobRejected``,
    any other ``HpcgateError``), and besides:

    - ``NotSupported``: the scheduler has no such capability;
    - ``PluginError``: a plugin raised something else, or answered with what the contract does not allow. After a
      submit this leaves open whether the scheduler has the job.

    Args:
        host: whose plugins are asked.
    """

    def __init__(self, host: PluginHost) -> None:
        self._host = host

    def scheduler(self, name: str) -> SchedulerInfo:
        """What a scheduler plugin says of itself."""
        return self._host.scheduler(name)

    # --- submit -----------------------------------------------------------------------------------------------------

    def render_script(self, site: Site, job: Job) -> RenderedScript:
        """What would be submitted; touches nothing at the site."""
        return self._required(RenderedScript, site, "render_script", job=job)

    def submit_job(self, site: Site, job: Job, transport: Transport) -> Submitted:
        """Submits one job.

        Once the scheduler has answered, its answer is returned, whatever wrappers of other plugins do.

        Raises:
            JobRejected, InvalidSpec: refused for good.
            SiteError: not taken; ``CommandTimeout``: may have been taken.
        """
        with self._host.answers.recording() as seen:
            try:
                submitted = self._required(Submitted, site, "submit_job", job=job, transport=transport)
            except Exception:
                if not isinstance(seen.last, Submitted):
                    raise
                _log.exception("a plugin failed after job %s had been submitted; the job stands", job.key)
        if isinstance(seen.last, Submitted):
            submitted = seen.last
        if not submitted.native_id:
            raise self._breach(site, "submit_job", "answered without a native id")
        return submitted if submitted.key == job.key else replace(submitted, key=job.key)

    def submit_jobs(self, site: Site, jobs: Sequence[Job], transport: Transport) -> list[Submitted | SubmitFailed]:
        """Submits many jobs: one answer for each, in order.

        A job for which the scheduler gave no answer is ``SubmitFailed`` with ``ambiguous``.
        """
        with self._host.answers.recording() as seen:
            try:
                if self._call(site, "submit_jobs", jobs=jobs, transport=transport) is None:
                    raise _unsupported(site, "submit_jobs")
            except Exception:
                if not seen.answers:
                    raise
                _log.exception("a plugin failed after %d jobs had been submitted; they stand", len(jobs))
        answers = {answer.key: answer for answer in seen.answers if isinstance(answer, (Submitted, SubmitFailed))}
        return [answers.get(job.key) or _unanswered(job) for job in jobs]

    def find_by_key(self, site: Site, ref: JobRef, transport: Transport) -> KeySearch:
        """Whether the scheduler has a job with this key; UNKNOWN where it cannot tell."""
        answer = self._optional(KeySearch, site, "find_by_key", job=ref, transport=transport)
        return answer or KeySearch(presence=Presence.UNKNOWN)

    # --- watch ------------------------------------------------------------------------------------------------------

    def poll_jobs(self, site: Site, jobs: Sequence[JobRef], transport: Transport) -> Listing:
        """One listing of the queue.

        Raises:
            SiteError: the queue did not answer, which says nothing about any job.
        """
        return self._required(Listing, site, "poll_jobs", jobs=jobs, transport=transport)

    def read_accounting(self, site: Site, refs: Sequence[JobRef], transport: Transport) -> list[Observation] | None:
        """What accounting knows of jobs that left the queue; ``None`` = the scheduler keeps no accounting."""
        rows = self._call(site, "read_accounting", jobs=refs, transport=transport)
        if rows is None:
            return None
        return self._all(Observation, site, "read_accounting", rows)

    def read_output(
        self, site: Site, ref: JobRef, stream: str, offset: int, length: int, transport: Transport
    ) -> FileChunk | None:
        """A part of ``stdout`` or ``stderr``; ``None`` = read it from the file.

        Args:
            site: where the job is.
            ref: the job.
            stream: ``"stdout"`` or ``"stderr"``.
            offset: first byte.
            length: bytes at most.
            transport: to the site.
        """
        return self._optional(
            FileChunk,
            site,
            "read_output",
            job=ref,
            stream=stream,
            offset=offset,
            length=length,
            transport=transport,
        )

    # --- act --------------------------------------------------------------------------------------------------------

    def cancel_jobs(self, site: Site, refs: Sequence[JobRef], transport: Transport) -> None:
        """Asks the scheduler to cancel jobs; those that are gone already are no error."""
        self._ordered(site, "cancel_jobs", jobs=refs, transport=transport)

    def cancel_tasks(self, site: Site, ref: JobRef, indices: Sequence[int], transport: Transport) -> None:
        """Asks the scheduler to cancel some tasks of an array."""
        self._ordered(site, "cancel_tasks", job=ref, indices=indices, transport=transport)

    def hold_job(self, site: Site, ref: JobRef, transport: Transport) -> None:
        """Keeps a queued job from starting."""
        self._ordered(site, "hold_job", job=ref, transport=transport)

    def release_job(self, site: Site, ref: JobRef, transport: Transport) -> None:
        """Lets a held job start."""
        self._ordered(site, "release_job", job=ref, transport=transport)

    def requeue_job(self, site: Site, ref: JobRef, transport: Transport) -> None:
        """Stops a running job and puts it back into the queue."""
        self._ordered(site, "requeue_job", job=ref, transport=transport)

    def signal_job(self, site: Site, ref: JobRef, signal: str, transport: Transport) -> None:
        """Sends a signal, e.g. ``"USR1"``, to a running job."""
        self._ordered(site, "signal_job", job=ref, signal=signal, transport=transport)

    def exec_in_job(self, site: Site, ref: JobRef, argv: Sequence[str], transport: Transport) -> CommandResult:
        """Runs a command beside a running job."""
        return self._required(CommandResult, site, "exec_in_job", job=ref, argv=argv, transport=transport)

    # --- the site ---------------------------------------------------------------------------------------------------

    def describe_site(self, site: Site, transport: Transport) -> SiteDescription:
        """Its queues and nodes."""
        return self._required(SiteDescription, site, "describe_site", transport=transport)

    def probe_site(self, site: Site, transport: Transport) -> Probe:
        """Versions, rights and traps of the site."""
        return self._required(Probe, site, "probe_site", transport=transport)

    # --- broadcast --------------------------------------------------------------------------------------------------

    def job_accepting(self, principal: Principal, site: Site | None, spec: JobSpec) -> None:
        """Asks every plugin whether the job may be stored.

        Raises:
            JobRejected: one of them refuses it; those after it are not asked.
        """
        self._tell("job_accepting", (JobRejected,), principal=principal, site=site, spec=spec)

    def job_state_changed(self, job: Job, event: Event) -> None:
        """Tells every plugin of a change that was committed."""
        self._tell("job_state_changed", job=job, event=event)

    def gateway_started(self, sites: Sequence[Site]) -> None:
        """Tells every plugin that a gateway is open."""
        self._tell("gateway_started", sites=sites)

    def gateway_stopping(self) -> None:
        """Tells every plugin that the gateway is about to close."""
        self._tell("gateway_stopping")

    # --- inside -----------------------------------------------------------------------------------------------------

    def _tell(self, hook: str, let_through: tuple[type[HpcgateError], ...] = (), **arguments: Any) -> None:
        """Calls each implementation by itself; what one raises is logged and does not reach the others."""
        for plugin, call in self._host.each(f"hpcgate_{hook}"):
            try:
                call(**arguments)
            except let_through:
                raise
            except Exception:  # noqa: BLE001 - one plugin's bug must not reach the others
                _log.exception("hpcgate_%s of %s failed", hook, self._host.record(plugin))

    def _call(self, site: Site, hook: str, **arguments: Any) -> Any:
        """The answer of the site's scheduler; what is not raised on purpose becomes a ``PluginError``."""
        self._host.scheduler(site.scheduler)
        manager, name = self._host.manager, f"hpcgate_{hook}"
        impls = self._host.implementations(name)
        mine = manager.get_plugin(site.scheduler)
        others = [impl.plugin for impl in impls if impl.plugin is not mine and not self._may_wrap(impl)]
        # Built anew for each call: a subset that is kept would let in a plugin that comes later.
        caller = manager.subset_hook_caller(name, others)
        try:
            return caller(site=site, **arguments)
        except HpcgateError:
            raise
        except Exception as error:
            record = self._host.record(culprit(error, impls, mine))
            raise PluginError(f"{record}: {name} raised {type(error).__name__}: {error}") from error

    def _may_wrap(self, impl: pluggy.HookImpl) -> bool:
        return wraps(impl) and impl.plugin_name not in self._host.schedulers

    def _optional(self, kind: type[T], site: Site, hook: str, **arguments: Any) -> T | None:
        answer = self._call(site, hook, **arguments)
        if answer is not None and not isinstance(answer, kind):
            raise self._breach(site, hook, f"answered with {type(answer).__name__}, not {kind.__name__}")
        return answer

    def _required(self, kind: type[T], site: Site, hook: str, **arguments: Any) -> T:
        answer = self._optional(kind, site, hook, **arguments)
        if answer is None:
            raise _unsupported(site, hook)
        return answer

    def _ordered(self, site: Site, hook: str, **arguments: Any) -> None:
        """For hooks that say whether the scheduler took a request."""
        answer = self._call(site, hook, **arguments)
        if answer is None:
            raise _unsupported(site, hook)
        if answer is not True:
            raise SchedulerError(f"site '{site.name}' did not take the request to {hook.replace('_', ' ')}")

    def _all(self, kind: type[T], site: Site, hook: str, answers: Iterable[T]) -> list[T]:
        checked = list(answers)
        for answer in checked:
            if not isinstance(answer, kind):
                raise self._breach(site, hook, f"answered with {type(answer).__name__}, not {kind.__name__}")
        return checked

    def _breach(self, site: Site, hook: str, what: str) -> PluginError:
        plugin = self._host.manager.get_plugin(site.scheduler)
        return PluginError(f"{self._host.record(plugin)}: hpcgate_{hook} {what}")


def _unsupported(site: Site, hook: str) -> NotSupported:
    what = hook.replace("_", " ")
    return NotSupported(f"site '{site.name}' cannot {what}: its scheduler '{site.scheduler}' has no such capability")


def _unanswered(job: Job) -> SubmitFailed:
    message = "the scheduler plugin gave no answer for this job"
    return SubmitFailed(key=job.key, message=message, permanent=False, ambiguous=True)
