"""The contract between the host and its plugins, complete.

There are three kinds of hooks:

- **registration** hooks collect what every plugin brings;
- **addressed** hooks reach exactly one scheduler: the one of the site they are about. Arguments always come in the
  order ``site, job(s), transport``. ``None`` means "no such capability". They may raise ``SiteError`` (with
  ``transient`` said), ``InvalidSpec`` and ``JobRejected``; anything else counts as a bug in the plugin. Other plugins
  may *wrap* them (``@hookimpl(wrapper=True)``), an audit log say; their plain implementations are not called;
- **broadcast** hooks tell everyone; each implementation is isolated from the others.

Plugins call nothing of the host: they get frozen models and a transport, and return models.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

import pluggy

if TYPE_CHECKING:
    from hpcgate.model.files import FileChunk
    from hpcgate.model.job import Event, Job, JobRef, Observation
    from hpcgate.model.principal import Principal
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
    from hpcgate.model.spec import JobSpec
    from hpcgate.transport.base import CommandResult, Transport

PROJECT: Final = "hpcgate"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


# --- registration -------------------------------------------------------------------------------------------------


@hookspec
def hpcgate_scheduler_info() -> SchedulerInfo:  # type: ignore[empty-body]
    """Called once when the plugin is loaded: what scheduler this plugin is. Only schedulers implement it."""


@hookspec
def hpcgate_register_transports(register: Callable[[str, Callable[[Site, str | None], Transport]], None]) -> None:
    """Called when the host starts: ``register(name, open)`` adds a transport; ``open(site, account)`` opens one."""


@hookspec
def hpcgate_register_dialects(register: Callable[[Any], None]) -> None:
    """Called when the server is built: ``register(dialect)`` offers a ``server.dialect.Dialect``."""


@hookspec
def hpcgate_register_commands(register: Callable[[Any], None]) -> None:
    """Called when the CLI is built: ``register(command)`` adds a click command or group."""


# --- addressed: one scheduler -------------------------------------------------------------------------------------


@hookspec(firstresult=True)
def hpcgate_render_script(site: Site, job: Job) -> RenderedScript:  # type: ignore[empty-body]
    """Called for a dry run and before a submit: what would be submitted. Touches nothing at the site.

    Raises ``InvalidSpec`` where the job can never run here.
    """


@hookspec(firstresult=True)
def hpcgate_submit_job(site: Site, job: Job, transport: Transport) -> Submitted:  # type: ignore[empty-body]
    """Called to submit one job. The job's key must travel with it, so that ``find_by_key`` finds it.

    Raises ``JobRejected`` or ``InvalidSpec`` (refused for good), ``SchedulerError`` with ``transient=True`` (surely
    not taken), or a ``TransportError`` such as ``CommandTimeout`` (may have been taken).
    """


@hookspec(firstresult=True)
def hpcgate_submit_jobs(  # type: ignore[empty-body]
    site: Site, jobs: Sequence[Job], transport: Transport
) -> Sequence[Submitted | SubmitFailed]:
    """Called to submit many jobs: one answer per job, in order. One bad job does not spoil the others."""


@hookspec(firstresult=True)
def hpcgate_poll_jobs(site: Site, jobs: Sequence[JobRef], transport: Transport) -> Listing:  # type: ignore[empty-body]
    """Called at most every ``poll.min_s``: one listing of the queue.

    ``jobs`` are those that the gateway believes to be there. The number of commands must not depend on how many they
    are. Raises ``SiteError`` where the queue did not answer; that never means that a job is gone.
    """


@hookspec(firstresult=True)
def hpcgate_read_accounting(  # type: ignore[empty-body]
    site: Site, jobs: Sequence[JobRef], transport: Transport
) -> Sequence[Observation]:
    """Called once a round for all jobs that left the queue: what accounting knows; those it does not know are left out.

    The number of commands must not depend on how many they are, as far as a command line is long enough for them.
    Raises ``SiteError`` where accounting did not answer.
    """


@hookspec(firstresult=True)
def hpcgate_find_by_key(site: Site, job: JobRef, transport: Transport) -> KeySearch:  # type: ignore[empty-body]
    """Called after a submit whose outcome is not known: does the scheduler have a job with this key?"""


@hookspec(firstresult=True)
def hpcgate_cancel_jobs(site: Site, jobs: Sequence[JobRef], transport: Transport) -> bool:  # type: ignore[empty-body]
    """Called to cancel jobs. True = the scheduler took the request; "already gone" is no error.

    Whether a job is canceled is seen by the next poll, never taken from here.
    """


@hookspec(firstresult=True)
def hpcgate_cancel_tasks(  # type: ignore[empty-body]
    site: Site, job: JobRef, indices: Sequence[int], transport: Transport
) -> bool:
    """Called to cancel some tasks of an array; the others go on. Those that have ended are no error.

    Once all tasks have ended, the array is FAILED if one of them failed, else CANCELED if one of them was canceled.
    """


@hookspec(firstresult=True)
def hpcgate_hold_job(site: Site, job: JobRef, transport: Transport) -> bool:  # type: ignore[empty-body]
    """Called to keep a queued job from starting. Raises ``SchedulerError`` where it cannot be held any more."""


@hookspec(firstresult=True)
def hpcgate_release_job(site: Site, job: JobRef, transport: Transport) -> bool:  # type: ignore[empty-body]
    """Called to let a held job start."""


@hookspec(firstresult=True)
def hpcgate_requeue_job(site: Site, job: JobRef, transport: Transport) -> bool:  # type: ignore[empty-body]
    """Called to stop a running job and put it back into the queue, under the same native id."""


@hookspec(firstresult=True)
def hpcgate_signal_job(site: Site, job: JobRef, signal: str, transport: Transport) -> bool:  # type: ignore[empty-body]
    """Called to send a signal (``"USR1"``, ``"TERM"``, ...) to the processes of a running job."""


@hookspec(firstresult=True)
def hpcgate_exec_in_job(  # type: ignore[empty-body]
    site: Site, job: JobRef, argv: Sequence[str], transport: Transport
) -> CommandResult:
    """Called to run a command beside a running job, in its work folder."""


@hookspec(firstresult=True)
def hpcgate_read_output(  # type: ignore[empty-body]
    site: Site, job: JobRef, stream: str, offset: int, length: int, transport: Transport
) -> FileChunk:
    """Called to read a job's ``stdout`` or ``stderr`` where it is not a file at the site (container engines)."""


@hookspec(firstresult=True)
def hpcgate_describe_site(site: Site, transport: Transport) -> SiteDescription:  # type: ignore[empty-body]
    """Called for ``/sites/NAME/queues`` and ``/nodes``."""


@hookspec(firstresult=True)
def hpcgate_probe_site(site: Site, transport: Transport) -> Probe:  # type: ignore[empty-body]
    """Called by ``hpcgate site check`` and before the first poll: versions, rights and traps of this site."""


# --- broadcast ----------------------------------------------------------------------------------------------------


@hookspec
def hpcgate_job_accepting(principal: Principal, site: Site | None, spec: JobSpec) -> None:
    """Called before a job is stored. Raise ``JobRejected`` to refuse it."""


@hookspec
def hpcgate_job_state_changed(job: Job, event: Event) -> None:
    """Called after a change was committed, from the outbox: at least once, in order per job."""


@hookspec
def hpcgate_gateway_started(sites: Sequence[Site]) -> None:
    """Called when a gateway is open."""


@hookspec
def hpcgate_gateway_stopping() -> None:
    """Called before a gateway closes."""
