"""``FakeScheduler``: a batch system in memory that does what a test tells it to.

Nothing runs. A test submits through the gateway, says what the batch system shall claim (``set_state``, ``forget``,
``account``), and makes its answers fail or get lost. All methods may be called from any thread.
"""

from __future__ import annotations

import shlex
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from posixpath import join
from typing import Any, Final

from hpcgate.errors import CommandTimeout, InvalidSpec, SchedulerError
from hpcgate.hookspecs import hookimpl
from hpcgate.model.files import FileChunk, JobFolder
from hpcgate.model.job import Job, JobRef, Observation, TaskObservation
from hpcgate.model.scheduler import (
    HONOURED,
    Capability,
    Check,
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
from hpcgate.model.spec import JobSpec
from hpcgate.model.state import Evidence, JobState, Reason
from hpcgate.scheduler.base import Scheduler
from hpcgate.scheduler.steps import with_driver
from hpcgate.transport.base import CommandResult, Transport

#: Spec fields that the fake says it honours. Container images, tasks and roles are not among them.
FIELDS: Final[Mapping[str, str]] = dict.fromkeys(
    (
        "name",
        "script",
        "command",
        "args",
        "resources",
        "queue",
        "account",
        "environment",
        "secret_environment",
        "working_directory",
        "stdout_path",
        "stderr_path",
        "array",
        "hold",
        "labels",
        "tags",
        "staging.inputs",
        "policies.max_retries",
        "policies.max_queue_s",
    ),
    HONOURED,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class FakeSettings:
    """``[sites.NAME.settings]`` of a site with the fake scheduler."""

    cpus: int = field(
        default=1024, metadata={"help": "cores of the pretended machine; a job that wants more is refused"}
    )


@dataclass(slots=True)
class FakeJob:
    """A job that the fake has.

    Args:
        job: as it was submitted, secrets included.
        seen: what the queue says of it; ``None`` once the queue forgot it.
        row: what accounting says of it; ``None`` = nothing.
        last: what queue or accounting said last, whoever forgot it since.
        signals: names of the signals that it was sent.
        output: bytes of its streams, for ``read_output``.
    """

    job: Job
    native_id: str
    seen: Observation | None
    row: Observation | None = None
    last: Observation | None = None
    signals: list[str] = field(default_factory=list)
    output: dict[str, bytes] = field(default_factory=dict)

    @property
    def state(self) -> JobState | None:
        """The state that the queue shows, or else accounting."""
        known = self.seen or self.row
        return known.state if known else None


def start_folder(job: Job) -> str:
    """Where a job starts; relative to its work folder where its spec says so."""
    return join(JobFolder(job.folder or "").work, job.spec.working_directory or "")


def streams(job: Job) -> tuple[str, str]:
    """Where stdout and stderr of a job go; of an array without the ``.INDEX`` of each task."""
    spec, folder = job.spec, JobFolder(job.folder or "")
    return (
        join(start_folder(job), spec.stdout_path) if spec.stdout_path else folder.stdout(),
        join(start_folder(job), spec.stderr_path) if spec.stderr_path else folder.stderr(),
    )


class FakeScheduler(Scheduler):
    """A scripted scheduler plugin.

    ``fail_next``, ``pause`` and the counter ``calls`` know the hooks by these names: ``render submit submit_jobs poll
    accounting find cancel cancel_tasks hold release requeue signal exec read_output describe probe``.

    Args:
        name: of the scheduler, and of its entry point.
        capabilities: what it claims.
        clock: epoch seconds.

    Attributes:
        calls: how often each hook was called.
        listing_complete: what ``Listing.complete`` says.
        on_submit: the state in which new jobs are; HELD for specs with ``hold``.
        cancel_ends: whether a cancel ends the job at once. Else the scheduler says yes and a test ends it.
        searchable: ``False`` makes ``find_by_key`` answer UNKNOWN.
        canceled: native ids that a cancel was asked for, in order.
    """

    def __init__(
        self,
        name: str = "fake",
        *,
        version: str = "1.0",
        capabilities: frozenset[Capability] = frozenset(Capability),
        message_timeout_s: float = 0.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.info = SchedulerInfo(
            name=name,
            version=version,
            summary="A batch system in memory, for tests",
            settings=FakeSettings,
            capabilities=capabilities,
            fields=FIELDS,
            message_timeout_s=message_timeout_s,
        )
        self.calls: Counter[str] = Counter()
        self.listing_complete = True
        self.on_submit = JobState.QUEUED
        self.cancel_ends = True
        self.searchable = True
        self.canceled: list[str] = []
        self.queues: tuple[QueueInfo, ...] = (QueueInfo(name="main", state="up", default=True),)
        self.nodes: tuple[NodeInfo, ...] = (NodeInfo(name="node1", state="idle", cpus=1024),)
        self._clock = clock
        self._lock = threading.RLock()
        self._jobs: dict[str, FakeJob] = {}
        self._by_key: dict[str, list[str]] = {}
        self._errors: dict[str, deque[BaseException]] = {}
        self._gates: dict[str, tuple[threading.Event, threading.Event]] = {}
        self._lost_answers = 0
        self._last_id = 0

    # --- for tests --------------------------------------------------------------------------------------------------

    def set_state(self, job: str | Job | JobRef, state: JobState | None, **changes: Any) -> None:
        """Makes the queue say this of a job from now on.

        Args:
            job: its key or native id, or the job itself.
            state: the new state; times and an exit code of 0 for COMPLETED are filled in.
            changes: other fields of ``Observation``, e.g. ``exit_code``, ``reason``, ``restarts``, ``tasks``.
        """
        with self._lock:
            known = self.job(job)
            known.seen = self._observe(known, state, Evidence.QUEUE, changes)

    def account(self, job: str | Job | JobRef, state: JobState | None, **changes: Any) -> None:
        """Makes accounting say this of a job; arguments as for ``set_state``."""
        with self._lock:
            known = self.job(job)
            known.row = self._observe(known, state, Evidence.ACCOUNTING, changes)

    def forget(self, job: str | Job | JobRef) -> None:
        """Makes a job leave the queue. Accounting knows it only if ``account`` was called."""
        with self._lock:
            self.job(job).seen = None

    def fail_next(self, hook: str, error: BaseException, times: int = 1) -> None:
        """Makes the next ``times`` calls of a hook raise ``error`` and do nothing."""
        with self._lock:
            self._errors.setdefault(hook, deque()).extend([error] * times)

    def lose_answer_next_submit(self, times: int = 1) -> None:
        """Makes the next submits take the job and then raise ``CommandTimeout``."""
        with self._lock:
            self._lost_answers += times

    @contextmanager
    def pause(self, hook: str) -> Iterator[threading.Event]:
        """Calls of a hook wait until the block is left. The event that it gives is set once one of them does."""
        waits, gate = threading.Event(), threading.Event()
        self._gates[hook] = (waits, gate)
        try:
            yield waits
        finally:
            del self._gates[hook]
            gate.set()

    def job(self, job: str | Job | JobRef) -> FakeJob:
        """What the fake has under a key or native id.

        Raises:
            KeyError: no job was submitted under it.
        """
        name = job if isinstance(job, str) else job.native_id or job.key
        with self._lock:
            return self._jobs[self._by_key[name][-1] if name in self._by_key else name]

    @property
    def jobs(self) -> tuple[FakeJob, ...]:
        """Every job that was ever taken, oldest first."""
        with self._lock:
            return tuple(self._jobs.values())

    def taken(self, key: str) -> int:
        """How often a job with this key was taken. More than 1 is a job that may run twice."""
        with self._lock:
            return len(self._by_key.get(key, ()))

    # --- hooks ------------------------------------------------------------------------------------------------------

    @hookimpl
    def hpcgate_scheduler_info(self) -> SchedulerInfo:
        """Its name and everything it claims."""
        return self.info

    @hookimpl
    def hpcgate_render_script(self, site: Site, job: Job) -> RenderedScript:
        """The script, or the command as a line of shell."""
        self._enter("render")
        self._check(site, job)
        return RenderedScript(text=script_of(with_driver(site, job).spec), argv=("fake-submit", job.key))

    @hookimpl
    def hpcgate_submit_job(self, site: Site, job: Job, transport: Transport) -> Submitted:
        """Takes the job into the queue."""
        self._enter("submit")
        self._check(site, job)
        with self._lock:
            self._last_id += 1
            native_id = str(self._last_id)
            known = FakeJob(job, native_id, None)
            state = JobState.HELD if job.spec.hold else self.on_submit
            self._jobs[native_id] = known
            self._by_key.setdefault(job.key, []).append(native_id)
            known.seen = self._observe(known, state, Evidence.QUEUE, {"submitted_at": self._clock()})
            if self._lost_answers:
                self._lost_answers -= 1
                raise CommandTimeout("fake-submit did not answer in time")
        stdout_path, stderr_path = streams(job)
        return Submitted(key=job.key, native_id=native_id, stdout_path=stdout_path, stderr_path=stderr_path)

    @hookimpl
    def hpcgate_submit_jobs(
        self, site: Site, jobs: Sequence[Job], transport: Transport
    ) -> Sequence[Submitted | SubmitFailed]:
        """One after the other; each counts as a ``submit`` too."""
        self._enter("submit_jobs")
        return super().hpcgate_submit_jobs(site, jobs, transport)

    @hookimpl
    def hpcgate_poll_jobs(self, site: Site, jobs: Sequence[JobRef], transport: Transport) -> Listing:
        """All jobs that have not been forgotten."""
        self._enter("poll")
        with self._lock:
            seen = {known.native_id: known.seen for known in self._jobs.values() if known.seen is not None}
        return Listing(observations=seen, complete=self.listing_complete, at=self._clock())

    @hookimpl
    def hpcgate_read_accounting(
        self, site: Site, jobs: Sequence[JobRef], transport: Transport
    ) -> Sequence[Observation] | None:
        """The rows that a test gave."""
        if Capability.ACCOUNTING not in self.info.capabilities:
            return None
        self._enter("accounting")
        with self._lock:
            return [
                row
                for ref in jobs
                if (known := self._jobs.get(ref.native_id or "")) is not None and (row := known.row) is not None
            ]

    @hookimpl
    def hpcgate_find_by_key(self, site: Site, job: JobRef, transport: Transport) -> KeySearch:
        """PRESENT while queue or accounting know it."""
        self._enter("find")
        if not self.searchable:
            return KeySearch(presence=Presence.UNKNOWN)
        with self._lock:
            for native_id in reversed(self._by_key.get(job.key, [])):
                if self._jobs[native_id].state is not None:
                    return KeySearch(presence=Presence.PRESENT, native_id=native_id)
        return KeySearch(presence=Presence.ABSENT)

    @hookimpl
    def hpcgate_cancel_jobs(self, site: Site, jobs: Sequence[JobRef], transport: Transport) -> bool:
        """Ends the jobs, if ``cancel_ends``."""
        self._enter("cancel")
        with self._lock:
            for ref in jobs:
                self.canceled.append(ref.native_id or "")
                known = self._jobs.get(ref.native_id or "")
                if self.cancel_ends and known and known.seen and known.state and not known.state.final:
                    self.set_state(known.native_id, JobState.CANCELED)
        return True

    @hookimpl
    def hpcgate_cancel_tasks(
        self, site: Site, job: JobRef, indices: Sequence[int], transport: Transport
    ) -> bool | None:
        """Ends the tasks; the array goes on, or has ended when no other is left."""
        if Capability.CANCEL_TASKS not in self.info.capabilities:
            return None
        self._enter("cancel_tasks")
        with self._lock:
            known = self.job(job)
            spec, last = known.job.spec, known.seen
            if last is None or last.state is None or spec.array is None:
                raise SchedulerError(f"cannot cancel tasks of job {job.native_id}: it is unknown", transient=False)
            tasks = {index: TaskObservation(index=index, state=last.state) for index in spec.array.indices()}
            tasks |= {task.index: task for task in last.tasks}
            for index in indices:
                if not tasks[index].state.final:
                    tasks[index] = replace(tasks[index], state=JobState.CANCELED, reason=Reason.CANCELED_BY_USER)
            left = [task for task in tasks.values() if not task.state.final]
            ended = {task.state for task in tasks.values()}
            end = next((state for state in (JobState.FAILED, JobState.CANCELED) if state in ended), JobState.COMPLETED)
            known.seen = self._observe(
                known, last.state if left else end, Evidence.QUEUE, {"tasks": tuple(tasks.values())}
            )
            return True

    @hookimpl
    def hpcgate_hold_job(self, site: Site, job: JobRef, transport: Transport) -> bool | None:
        """QUEUED to HELD."""
        return self._change("hold", Capability.HOLD, job, {JobState.QUEUED, JobState.HELD}, JobState.HELD)

    @hookimpl
    def hpcgate_release_job(self, site: Site, job: JobRef, transport: Transport) -> bool | None:
        """HELD to QUEUED."""
        return self._change("release", Capability.HOLD, job, {JobState.HELD, JobState.QUEUED}, JobState.QUEUED)

    @hookimpl
    def hpcgate_requeue_job(self, site: Site, job: JobRef, transport: Transport) -> bool | None:
        """RUNNING to QUEUED with one restart more."""
        before = self._jobs.get(job.native_id or "")
        restarts = ((before.seen.restarts if before and before.seen else None) or 0) + 1
        started = {JobState.RUNNING, JobState.SUSPENDED}
        changes = {"restarts": restarts, "started_at": None}
        return self._change("requeue", Capability.REQUEUE, job, started, JobState.QUEUED, changes)

    @hookimpl
    def hpcgate_signal_job(self, site: Site, job: JobRef, signal: str, transport: Transport) -> bool | None:
        """Remembers the signal."""
        taken = self._change("signal", Capability.SIGNAL, job, {JobState.RUNNING}, JobState.RUNNING)
        if taken:
            self.job(job).signals.append(signal)
        return taken

    @hookimpl
    def hpcgate_exec_in_job(
        self, site: Site, job: JobRef, argv: Sequence[str], transport: Transport
    ) -> CommandResult | None:
        """Answers with the command itself."""
        if self._change("exec", Capability.EXEC, job, {JobState.RUNNING}, JobState.RUNNING) is None:
            return None
        return CommandResult(0, (shlex.join(argv) + "\n").encode(), b"")

    @hookimpl
    def hpcgate_read_output(
        self, site: Site, job: JobRef, stream: str, offset: int, length: int, transport: Transport
    ) -> FileChunk | None:
        """What a test put into ``FakeJob.output``; ``None`` (so: the file) where it put nothing."""
        self._enter("read_output")
        data = self.job(job).output.get(stream)
        return None if data is None else FileChunk(data=data[offset : offset + length], offset=offset, size=len(data))

    @hookimpl
    def hpcgate_describe_site(self, site: Site, transport: Transport) -> SiteDescription | None:
        """``queues`` and ``nodes``."""
        self._enter("describe")
        if self.info.capabilities.isdisjoint({Capability.QUEUES, Capability.NODES}):
            return None
        return SiteDescription(queues=self.queues, nodes=self.nodes)

    @hookimpl
    def hpcgate_probe_site(self, site: Site, transport: Transport) -> Probe | None:
        """All is well."""
        self._enter("probe")
        return Probe(checks=(Check(name="queue answers", ok=True, detail="in memory"),), version=self.info.version)

    # --- inside -----------------------------------------------------------------------------------------------------

    def _enter(self, hook: str) -> None:
        """Counts a call, waits while the hook is paused, and raises what a test planned."""
        with self._lock:
            self.calls[hook] += 1
            paused = self._gates.get(hook)
        if paused is not None:
            waits, gate = paused
            waits.set()
            gate.wait()
        with self._lock:
            planned = self._errors.get(hook)
            if planned:
                raise planned.popleft()

    def _check(self, site: Site, job: Job) -> None:
        cpus = site.settings.cpus if isinstance(site.settings, FakeSettings) else FakeSettings().cpus
        wanted = job.spec.resources.nodes * job.spec.resources.least_cpus_per_node()
        if wanted > cpus:
            raise InvalidSpec.of("resources", f"{wanted} cores are wanted; the site has {cpus}")

    def _observe(
        self, known: FakeJob, state: JobState | None, evidence: Evidence, changes: Mapping[str, Any]
    ) -> Observation:
        now = self._clock()
        before = known.last or Observation(native_id=known.native_id, state=None, evidence=evidence)
        fresh = Observation(
            native_id=known.native_id,
            state=state,
            evidence=evidence,
            native_state=state.value.lower() if state else None,
            submitted_at=before.submitted_at,
            started_at=before.started_at,
            restarts=before.restarts,
            nodes=before.nodes,
            key=known.job.key,
            account=known.job.account,
        )
        filled: dict[str, Any] = {}
        if state in (JobState.RUNNING, JobState.SUSPENDED, JobState.COMPLETED) and before.started_at is None:
            filled["started_at"] = now
        if state is not None and state.final:
            filled["ended_at"] = now
        if state is JobState.COMPLETED:
            filled["exit_code"] = 0
        known.last = replace(fresh, **{**filled, **changes})
        return known.last

    def _change(
        self,
        hook: str,
        capability: Capability,
        job: JobRef,
        allowed: set[JobState],
        state: JobState,
        changes: Mapping[str, Any] | None = None,
    ) -> bool | None:
        if capability not in self.info.capabilities:
            return None
        self._enter(hook)
        with self._lock:
            known = self._jobs.get(job.native_id or "")
            if known is None or known.seen is None or known.state not in allowed:
                found = known.state if known else None
                raise SchedulerError(f"cannot {hook} job {job.native_id}: it is {found or 'unknown'}", transient=False)
            if known.state is not state:
                known.seen = self._observe(known, state, Evidence.QUEUE, changes or {})
            return True


def script_of(spec: JobSpec) -> str:
    """The text that runs: the user's script, or one shell line for a command."""
    if spec.script is not None:
        return spec.script
    return f"#!/bin/sh\nexec {shlex.join([spec.command or 'true', *spec.args])}\n"
