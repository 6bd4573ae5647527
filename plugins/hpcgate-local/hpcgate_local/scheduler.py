"""The scheduler plugin: hooks on one side, the spool's verbs on the other."""

from __future__ import annotations

import posixpath
import signal as signals
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any, Final

from hpcgate.errors import InvalidSpec, JobRejected, SchedulerError, TransportError
from hpcgate.hookspecs import hookimpl
from hpcgate.model.files import JobFolder
from hpcgate.model.job import Job, JobRef, Observation
from hpcgate.model.scheduler import (
    HONOURED,
    Approximated,
    Capability,
    Check,
    FieldSupport,
    KeySearch,
    Listing,
    NodeInfo,
    Presence,
    Probe,
    QueueInfo,
    RenderedScript,
    SchedulerInfo,
    SiteDescription,
    SubmitFailed,
    Submitted,
)
from hpcgate.model.site import Site
from hpcgate.model.state import Evidence
from hpcgate.scheduler.base import Scheduler
from hpcgate.scheduler.steps import with_driver
from hpcgate.transport.base import Transport
from hpcgate_local.client import ask
from hpcgate_local.job import check, readable, site_limits, spool_job, spool_settings
from hpcgate_local.observe import observe
from hpcgate_local.settings import LocalSettings

_COUNTED: Final = Approximated(
    "jobs start only while what they ask for together fits the site; a job that uses more is not stopped"
)

FIELDS: Final[Mapping[str, FieldSupport]] = {
    # The gateway sees to these.
    **dict.fromkeys(("name", "project", "share", "labels", "tags", "staging.inputs"), HONOURED),
    **dict.fromkeys(("script", "command", "args", "hold", "array"), HONOURED),
    **dict.fromkeys(("environment", "secret_environment", "working_directory", "stdout_path", "stderr_path"), HONOURED),
    **dict.fromkeys(("tasks", "policies.max_task_retries", "policies.ignore_task_failures"), HONOURED),
    "resources.nodes": HONOURED,
    "resources.walltime_s": HONOURED,
    **{
        f"resources.{name}": _COUNTED
        for name in (
            "tasks", "tasks_per_node", "cpus_per_task", "cpus_per_node", "cpus_range", "cpus_options",
            "memory_mib", "memory_per_cpu_mib",
        )
    },
}  # fmt: skip


class LocalScheduler(Scheduler):
    """Jobs on one machine, queued by ``spooler.py``. It keeps nothing between calls."""

    @hookimpl
    def hpcgate_scheduler_info(self) -> SchedulerInfo:
        """See ``hookspecs``."""
        return SchedulerInfo(
            name="local",
            version=version("hpcgate-local"),
            summary="a small batch system on the machine itself",
            settings=LocalSettings,
            capabilities=frozenset(
                {
                    Capability.HOLD,
                    Capability.SIGNAL,
                    Capability.REQUEUE,
                    Capability.ARRAYS,
                    Capability.ARRAY_LIMIT,
                    Capability.CANCEL_TASKS,
                    Capability.ACCOUNTING,
                    Capability.QUEUES,
                    Capability.NODES,
                    Capability.WALLTIME,
                }
            ),
            fields=FIELDS,
        )

    # --- submit -------------------------------------------------------------------------------------------------------

    @hookimpl
    def hpcgate_render_script(self, site: Site, job: Job) -> RenderedScript:
        """See ``hookspecs``. A script is run verbatim, a command without a shell."""
        spec = with_driver(site, job).spec
        check(site, spec)
        return RenderedScript(text=readable(spec), argv=() if spec.command is None else (spec.command, *spec.args))

    @hookimpl
    def hpcgate_submit_job(self, site: Site, job: Job, transport: Transport) -> Submitted:
        """See ``hookspecs``. A job with the same key as an earlier one *is* that one."""
        job = with_driver(site, job)
        check(site, job.spec)
        (answer,) = self._submit(site, [job], transport)
        if isinstance(answer, SubmitFailed):
            raise JobRejected(answer.message)
        return answer

    @hookimpl
    def hpcgate_submit_jobs(
        self, site: Site, jobs: Sequence[Job], transport: Transport
    ) -> Sequence[Submitted | SubmitFailed]:
        """See ``hookspecs``. All in one transaction, but for those that are refused."""
        refused: dict[str, SubmitFailed] = {}
        good: list[Job] = []
        for job in jobs:
            try:
                good.append(with_driver(site, job))
                check(site, good[-1].spec)
            except InvalidSpec as error:
                refused[job.key] = SubmitFailed(key=job.key, message=error.message, permanent=True)
        taken = iter(self._submit(site, [job for job in good if job.key not in refused], transport))
        return [refused.get(job.key) or next(taken) for job in jobs]

    def _submit(self, site: Site, jobs: Sequence[Job], transport: Transport) -> list[Submitted | SubmitFailed]:
        answers = self._ask(
            site, transport, "submit", jobs=[spool_job(site, job) for job in jobs], settings=spool_settings(site)
        )
        return [
            SubmitFailed(key=job.key, message=answer, permanent=True)
            if isinstance(answer, str)
            else _submitted(job, str(answer))
            for job, answer in zip(jobs, answers, strict=True)
        ]

    # --- what has become of them --------------------------------------------------------------------------------------

    @hookimpl
    def hpcgate_poll_jobs(self, site: Site, jobs: Sequence[JobRef], transport: Transport) -> Listing:
        """See ``hookspecs``. One read of the queue; a spooler that is missed is started."""
        at = time.time()
        answer = self._ask(site, transport, "list", keep_s=LocalSettings.of(site).keep_s)
        found = {observation.native_id: observation for observation in observe(answer, Evidence.QUEUE)}
        # Each account has a queue of its own, so this one says nothing of the jobs of another.
        return Listing(observations=found, complete=all(job.account is None for job in jobs), at=at)

    @hookimpl
    def hpcgate_read_accounting(self, site: Site, jobs: Sequence[JobRef], transport: Transport) -> list[Observation]:
        """See ``hookspecs``. The queue's own memory, ``history_days`` long."""
        answer = self._ask(site, transport, "find", keys=[job.key for job in jobs])
        return observe(answer, Evidence.ACCOUNTING)

    @hookimpl
    def hpcgate_find_by_key(self, site: Site, job: JobRef, transport: Transport) -> KeySearch:
        """See ``hookspecs``. A submit is one transaction, so "absent" is the truth at once."""
        rows = self._ask(site, transport, "find", keys=[job.key])["jobs"]
        if rows:
            return KeySearch(presence=Presence.PRESENT, native_id=str(rows[0]["id"]))
        return KeySearch(presence=Presence.ABSENT)

    # --- what is asked of them ----------------------------------------------------------------------------------------

    @hookimpl
    def hpcgate_cancel_jobs(self, site: Site, jobs: Sequence[JobRef], transport: Transport) -> bool:
        """See ``hookspecs``. Queued jobs in one transaction; running ones by TERM, and KILL after the grace time."""
        self._ask(site, transport, "cancel", keys=[job.key for job in jobs])
        return True

    @hookimpl
    def hpcgate_cancel_tasks(self, site: Site, job: JobRef, indices: Sequence[int], transport: Transport) -> bool:
        """See ``hookspecs``. Waiting tasks in one transaction; running ones by TERM, and KILL after the grace time."""
        self._ask(site, transport, "cancel_tasks", key=job.key, indices=list(indices))
        return True

    @hookimpl
    def hpcgate_hold_job(self, site: Site, job: JobRef, transport: Transport) -> bool:
        """See ``hookspecs``. Of an array: the tasks that have not started."""
        self._ask(site, transport, "hold", key=job.key)
        return True

    @hookimpl
    def hpcgate_release_job(self, site: Site, job: JobRef, transport: Transport) -> bool:
        """See ``hookspecs``."""
        self._ask(site, transport, "release", key=job.key)
        return True

    @hookimpl
    def hpcgate_requeue_job(self, site: Site, job: JobRef, transport: Transport) -> bool:
        """See ``hookspecs``. An array starts anew with all of its tasks."""
        self._ask(site, transport, "requeue", key=job.key)
        return True

    @hookimpl
    def hpcgate_signal_job(self, site: Site, job: JobRef, signal: str, transport: Transport) -> bool:
        """See ``hookspecs``. Every process of the job gets it."""
        name = signal.upper().removeprefix("SIG")
        known = {number.name.removeprefix("SIG"): number for number in signals.Signals}
        if name not in known:
            raise SchedulerError(f"{signal!r} is no signal; it must be a name such as TERM or USR1", transient=False)
        self._ask(site, transport, "signal", key=job.key, number=int(known[name]))
        return True

    # --- the site -----------------------------------------------------------------------------------------------------

    @hookimpl
    def hpcgate_describe_site(self, site: Site, transport: Transport) -> SiteDescription:
        """See ``hookspecs``. One queue, one node."""
        status = self._ask(site, transport, "status")
        cpus, memory_mib = _limits(site, status)
        counts = status["counts"]
        queue = QueueInfo(
            name="local",
            state="up",
            default=True,
            nodes=1,
            cpus=cpus,
            running=counts.get("RUNNING", 0) + counts.get("STARTING", 0),
            pending=counts.get("QUEUED", 0) + counts.get("HELD", 0),
        )
        node = NodeInfo(
            name=status["node"],
            state="up",
            cpus=cpus,
            cpus_used=status["cpus_used"],
            memory_mib=memory_mib,
            memory_used_mib=status["memory_used_mib"],
        )
        return SiteDescription(queues=(queue,), nodes=(node,))

    @hookimpl
    def hpcgate_probe_site(self, site: Site, transport: Transport) -> Probe:
        """See ``hookspecs``."""
        folder = LocalSettings.of(site).spool_folder(site)
        try:
            status = self._ask(site, transport, "status")
        except (SchedulerError, TransportError) as error:
            return Probe(checks=(Check(name="queue", ok=False, detail=error.message),))
        cpus, memory_mib = _limits(site, status)
        spooler = "a spooler is at work" if status["listening"] else "no spooler: one is started when there is a job"
        return Probe(
            version=version("hpcgate-local"),
            sees_all_jobs=site.identity.mode == "service",
            checks=(
                Check(name="queue", ok=True, detail=f"{folder} can be written; {spooler}"),
                Check(name="python", ok=True, detail=status["python"]),
                Check(
                    name="cpus",
                    ok=cpus <= status["cpus"],
                    detail=f"{cpus} for jobs; the machine has {status['cpus']}",
                ),
                Check(
                    name="memory",
                    ok=memory_mib <= status["memory_mib"],
                    detail=f"{memory_mib} MiB for jobs; the machine has {status['memory_mib']}",
                ),
            ),
        )

    @staticmethod
    def _ask(site: Site, transport: Transport, verb: str, **arguments: Any) -> Any:
        return ask(transport, LocalSettings.of(site).spool_folder(site), verb, **arguments)


def _limits(site: Site, status: Mapping[str, int]) -> tuple[int, int]:
    cpus, memory_mib = site_limits(site)
    return cpus or status["cpus"], memory_mib or status["memory_mib"]


def _submitted(job: Job, native_id: str) -> Submitted:
    """The answer to a submit; of an array the paths lack the ``.INDEX`` that each task appends."""
    folder, spec = JobFolder(job.folder or ""), job.spec
    start = posixpath.join(folder.work, spec.working_directory or "")
    return Submitted(
        key=job.key,
        native_id=native_id,
        stdout_path=posixpath.join(start, spec.stdout_path) if spec.stdout_path else folder.stdout(),
        stderr_path=posixpath.join(start, spec.stderr_path) if spec.stderr_path else folder.stderr(),
    )
