"""The scheduler plugin: hooks on one side, Slurm's commands on the other."""

from __future__ import annotations

import re
import signal as signals
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from threading import Lock
from typing import Final
from weakref import WeakKeyDictionary

from hpcgate.errors import SchedulerError, SiteError
from hpcgate.hookspecs import hookimpl
from hpcgate.model.files import JobFolder
from hpcgate.model.job import Job, JobDependency, JobRef, Observation
from hpcgate.model.scheduler import (
    Capability,
    KeySearch,
    Listing,
    Presence,
    Probe,
    RenderedScript,
    SchedulerInfo,
    SiteDescription,
    Submitted,
)
from hpcgate.model.site import Site
from hpcgate.model.state import FINAL, Evidence, JobState, Reason
from hpcgate.scheduler.base import Scheduler
from hpcgate.scheduler.evidence import read_exit
from hpcgate.scheduler.wrapper import write_secrets
from hpcgate.transport.base import Transport
from hpcgate_slurm import arrays, components, probe
from hpcgate_slurm.accounting import Sacct
from hpcgate_slurm.dependencies import still_open
from hpcgate_slurm.options import FIELDS, read_request
from hpcgate_slurm.queue import Squeue
from hpcgate_slurm.rows import Row
from hpcgate_slurm.settings import SlurmSettings
from hpcgate_slurm.site import Facts, Load, Sinfo, SinfoNodes
from hpcgate_slurm.submit import prepare, submitted
from hpcgate_slurm.verbs import Scancel, Scontrol, Signal

#: Slurm's default MessageTimeout, seconds. The probe warns where a site has a longer one.
MESSAGE_TIMEOUT_S: Final = 10.0
#: How far the clocks of gateway, controller and database may be apart, seconds.
SKEW_S: Final = 300.0
#: How long accounting may take to tell who canceled a job, seconds. The queue never tells.
CANCELER_S: Final = 20.0
#: Ids in one command: as many as surely fit into one argument, and into the line that a remote shell gets.
CHUNK: Final = 5000
#: How long the site's configuration is believed, seconds.
FACTS_S: Final = 300.0

_RUNNING: Final = frozenset({JobState.RUNNING, JobState.SUSPENDED})


class SlurmScheduler(Scheduler):
    """Jobs on a Slurm cluster. It keeps nothing between calls but what a site's configuration says."""

    def __init__(self) -> None:
        self._facts: WeakKeyDictionary[Transport, Facts] = WeakKeyDictionary()
        self._lock = Lock()

    @hookimpl
    def hpcgate_scheduler_info(self) -> SchedulerInfo:
        """See ``hookspecs``."""
        return SchedulerInfo(
            name="slurm",
            version=version("hpcgate-slurm"),
            summary="Slurm, by its commands",
            settings=SlurmSettings,
            capabilities=frozenset(
                {
                    Capability.HOLD,
                    Capability.SIGNAL,
                    Capability.REQUEUE,
                    Capability.DEPENDENCIES,
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
            message_timeout_s=MESSAGE_TIMEOUT_S,
        )

    # --- submit -------------------------------------------------------------------------------------------------------

    @hookimpl
    def hpcgate_render_script(self, site: Site, job: Job) -> RenderedScript:
        """See ``hookspecs``."""
        sbatch, _ = prepare(site, job)
        spec = None if job.spec.script is None else read_request(job.spec, SlurmSettings.of(site)).spec
        return RenderedScript(text=sbatch.script, argv=tuple(sbatch.line()), spec=spec)

    @hookimpl
    def hpcgate_submit_job(self, site: Site, job: Job, transport: Transport) -> Submitted:
        """See ``hookspecs``. One command; one more where it waits for others, and one file where there are secrets."""
        job = replace(job, depends_on=self._open_dependencies(site, job, transport))
        sbatch, streams = prepare(site, job)
        if job.spec.secret_environment:
            folder = JobFolder(job.folder or "")
            transport.mkdir(folder.root)
            write_secrets(folder, job.spec.secret_environment, transport)
        return submitted(job, sbatch.run(transport), streams)

    def _open_dependencies(self, site: Site, job: Job, transport: Transport) -> tuple[JobDependency, ...]:
        if not job.depends_on:
            return ()
        names = tuple(sorted({_native(each.job) for each in job.depends_on}, key=int))
        rows = Squeue(SlurmSettings.of(site), jobs=names).run(transport)
        return still_open(job.depends_on, arrays.gather(rows))

    # --- what has become of them --------------------------------------------------------------------------------------

    @hookimpl
    def hpcgate_poll_jobs(self, site: Site, jobs: Sequence[JobRef], transport: Transport) -> Listing:
        """See ``hookspecs``. One listing, and one question to accounting where some have ended since the last."""
        at = time.time()
        rows = arrays.gather(self._list(site, transport))
        asked = {ref.native_id: ref for ref in jobs if ref.native_id is not None}
        seen = {
            native_id: arrays.observe(each, Evidence.QUEUE)
            for native_id, each in rows.items()
            if native_id in asked or each[0].key is not None
        }
        ended = [ref for native_id, ref in asked.items() if native_id in rows and arrays.ended(rows[native_id])]
        for row in self._accounted(site, ended, transport):
            seen[row.native_id] = _joined(seen[row.native_id], row)
        for ref in list(ended):
            if _by_whom_is_open(seen[ref.native_id or ""], at):
                del seen[ref.native_id or ""]
                ended.remove(ref)
        for ref in ended:
            if ref.account is not None:
                continue  # another account's folder is not this one's to enter; the gateway sees to it
            native_id = ref.native_id or ""
            if components.is_gang(rows[native_id]):
                seen[native_id] = components.with_records(seen[native_id], rows[native_id], ref, transport)
            if seen[native_id].state is not JobState.COMPLETED:
                # The wrapper leaves them where the job might have been started again.
                transport.remove(JobFolder(ref.folder).secrets)
        missing = [ref for native_id, ref in asked.items() if native_id not in rows]
        return Listing(observations=seen, complete=self._complete(site, missing, transport), at=at)

    def _list(self, site: Site, transport: Transport) -> Sequence[Row]:
        settings = SlurmSettings.of(site)
        version = self._learn(site, transport).json if settings.listing == "json" else None
        return Squeue(settings, version=version).run(transport)

    def _accounted(self, site: Site, jobs: Sequence[JobRef], transport: Transport) -> Sequence[Observation]:
        """What accounting adds to jobs whose end the queue has told; nothing where it does not answer."""
        if not jobs:
            return ()
        try:
            return self._read_accounting(site, jobs, transport)
        except SiteError:
            return ()

    def _complete(self, site: Site, missing: Iterable[JobRef], transport: Transport) -> bool:
        """Whether jobs that were not listed are not there. An account's own jobs are never hidden from it."""
        if all(ref.account is None for ref in missing):
            return True
        return self._learn(site, transport).sees_all

    def _learn(self, site: Site, transport: Transport) -> Facts:
        with self._lock:
            facts = self._facts.get(transport)
        if facts is None or time.monotonic() - facts.asked_at > FACTS_S:
            facts = probe.learn(SlurmSettings.of(site), transport)
            with self._lock:
                self._facts[transport] = facts
        return facts

    @hookimpl
    def hpcgate_read_accounting(
        self, site: Site, jobs: Sequence[JobRef], transport: Transport
    ) -> Sequence[Observation]:
        """See ``hookspecs``. Rows of another job with the same id, from before ids began anew, are left out.

        Where a site keeps no accounting, the records of jobs that were ended from outside are all there is.
        """
        if not self._learn(site, transport).accounting:
            return probe.read_stopped(jobs, transport)
        found = self._read_accounting(site, jobs, transport)
        by_id = {ref.native_id: ref for ref in jobs}
        now = time.time()
        return [
            replace(each, state=None)  # known, and not yet how it ended; left out, it might be taken for lost
            if _by_whom_is_open(each, now)
            else _with_own_code(each, by_id[each.native_id], transport)
            for each in found
        ]

    def _read_accounting(self, site: Site, jobs: Sequence[JobRef], transport: Transport) -> list[Observation]:
        asked = {ref.native_id: ref for ref in jobs if ref.native_id is not None}
        rows: list[Row] = []
        names = sorted(asked)
        for start in range(0, len(names), CHUNK):
            chunk = names[start : start + CHUNK]
            times = [asked[name].submitted_at for name in chunk]
            since = None if None in times else min(each for each in times if each is not None) - SKEW_S
            rows += Sacct(SlurmSettings.of(site), jobs=tuple(chunk), since=since).run(transport)
        ours = [row for row in rows if row.native_id in asked and _is_of(row, asked[row.native_id])]
        keyed = {row.native_id for row in ours if row.key is not None}
        # A row without a key may be a stranger's; it counts only where there is no better one.
        ours = [row for row in ours if row.key is not None or row.native_id not in keyed]
        found = []
        for native_id, each in arrays.gather(ours).items():
            ref = asked[native_id]
            # The row of the array as a whole comes before those of its tasks.
            told = [row for row in each if row.index is not None] if ref.array else each
            if told:
                seen = arrays.observe(told, Evidence.ACCOUNTING)
                gang = components.is_gang(told) and seen.state in FINAL
                found.append(components.with_records(seen, told, ref, transport) if gang else seen)
        return found

    @hookimpl
    def hpcgate_find_by_key(self, site: Site, job: JobRef, transport: Transport) -> KeySearch:
        """See ``hookspecs``. The queue first; accounting for one that has left it already."""
        settings = SlurmSettings.of(site)
        listed = [row for row in self._list(site, transport) if row.key == job.key and not row.refused]
        if listed:
            return _present(listed)
        facts = self._learn(site, transport)
        if facts.accounting:
            since = (job.submitted_at or time.time() - settings.accounting_days * 86_400) - SKEW_S
            accounted = [row for row in Sacct(settings, since=since, key=job.key).run(transport) if not row.refused]
            if accounted:
                return _present(accounted)
        sees = facts.sees_all or job.account is None
        return KeySearch(presence=Presence.ABSENT if sees else Presence.UNKNOWN)

    # --- what is asked of them ----------------------------------------------------------------------------------------

    @hookimpl
    def hpcgate_cancel_jobs(self, site: Site, jobs: Sequence[JobRef], transport: Transport) -> bool:
        """See ``hookspecs``. In chunks."""
        names = [ref.native_id for ref in jobs if ref.native_id is not None]
        for start in range(0, len(names), CHUNK):
            Scancel(SlurmSettings.of(site), jobs=tuple(names[start : start + CHUNK])).run(transport)
        return True

    @hookimpl
    def hpcgate_cancel_tasks(self, site: Site, job: JobRef, indices: Sequence[int], transport: Transport) -> bool:
        """See ``hookspecs``. In chunks."""
        names = [f"{job.native_id}_{index}" for index in indices]
        for start in range(0, len(names), CHUNK):
            Scancel(SlurmSettings.of(site), jobs=tuple(names[start : start + CHUNK])).run(transport)
        return True

    @hookimpl
    def hpcgate_hold_job(self, site: Site, job: JobRef, transport: Transport) -> bool:
        """See ``hookspecs``. Of an array: the tasks that have not started."""
        state = self._state(site, job, transport)
        if state not in (JobState.QUEUED, JobState.HELD) and not (job.array and state is JobState.RUNNING):
            raise _wrong(job, state, "held", "waits")
        return self._scontrol(site, "hold", job, transport)

    @hookimpl
    def hpcgate_release_job(self, site: Site, job: JobRef, transport: Transport) -> bool:
        """See ``hookspecs``."""
        return self._scontrol(site, "release", job, transport)

    @hookimpl
    def hpcgate_requeue_job(self, site: Site, job: JobRef, transport: Transport) -> bool:
        """See ``hookspecs``. Slurm would also put a finished job back, which is a new job to us."""
        state = self._state(site, job, transport)
        if state not in _RUNNING:
            raise _wrong(job, state, "requeued", "runs")
        return self._scontrol(site, "requeue", job, transport)

    @hookimpl
    def hpcgate_signal_job(self, site: Site, job: JobRef, signal: str, transport: Transport) -> bool:
        """See ``hookspecs``. The script gets it; STOP, CONT and KILL go to every process."""
        name = signal.upper().removeprefix("SIG")
        if f"SIG{name}" not in signals.Signals.__members__:
            raise SchedulerError(f"{signal!r} is no signal; it must be a name such as TERM or USR1", transient=False)
        state = self._state(site, job, transport)
        if state not in _RUNNING:
            raise _wrong(job, state, "sent a signal", "runs")
        Signal(SlurmSettings.of(site), job=_native(job), name=name).run(transport)
        return True

    def _scontrol(self, site: Site, verb: str, job: JobRef, transport: Transport) -> bool:
        Scontrol(SlurmSettings.of(site), verb=verb, job=_native(job)).run(transport)
        return True

    def _state(self, site: Site, job: JobRef, transport: Transport) -> JobState | None:
        """The state that the queue shows now; ``None`` = it does not have the job."""
        rows = Squeue(SlurmSettings.of(site), jobs=(_native(job),)).run(transport)
        return arrays.observe(rows, Evidence.QUEUE).state if rows else None

    # --- the site -----------------------------------------------------------------------------------------------------

    @hookimpl
    def hpcgate_describe_site(self, site: Site, transport: Transport) -> SiteDescription:
        """See ``hookspecs``."""
        settings = SlurmSettings.of(site)
        load: Mapping[str, tuple[int, int]] = Load(settings).run(transport)
        queues = [
            replace(queue, running=load.get(queue.name, (0, 0))[0], pending=load.get(queue.name, (0, 0))[1])
            for queue in Sinfo(settings).run(transport)
        ]
        return SiteDescription(queues=tuple(queues), nodes=SinfoNodes(settings).run(transport))

    @hookimpl
    def hpcgate_probe_site(self, site: Site, transport: Transport) -> Probe:
        """See ``hookspecs``."""
        return probe.look(site, transport, MESSAGE_TIMEOUT_S)


def _by_whom_is_open(seen: Observation, now: float) -> bool:
    """Whether a job was canceled just now, by somebody whom accounting will know in a moment."""
    return (
        seen.state is JobState.CANCELED
        and seen.reason is None
        and not seen.tasks
        and seen.ended_at is not None
        and abs(now - seen.ended_at) < CANCELER_S
    )


def _joined(queue: Observation, accounting: Observation) -> Observation:
    """What the queue says of a job that has ended, with what accounting adds: who canceled it, and what it used."""
    if accounting.restarts is not None and queue.restarts is not None and accounting.restarts < queue.restarts:
        return queue  # accounting has not heard of the last run yet
    if accounting.state is not queue.state:
        return queue
    known = {task.index: task for task in accounting.tasks}
    tasks = tuple(replace(task, usage=known[task.index].usage) if task.index in known else task for task in queue.tasks)
    return replace(queue, tasks=tasks, reason=queue.reason or accounting.reason, usage=accounting.usage)


def _with_own_code(seen: Observation, job: JobRef, transport: Transport) -> Observation:
    """The job with its real exit code: sacct takes 128 off one of 128 and more, and the exit record tells."""
    if seen.reason is not Reason.EXIT_NONZERO or job.array:
        return seen
    run = replace(job, attempt=job.attempt if seen.restarts is None else 1 + seen.restarts)
    try:
        record = components.read_outcome(run, transport) if seen.tasks else read_exit(run, transport)
    except SiteError:
        record = None
    if record is None or record.exit_code is None or record.exit_code % 128 != seen.exit_code:
        return seen if seen.exit_code else replace(seen, exit_code=None)
    return replace(seen, exit_code=record.exit_code)


def _is_of(row: Row, job: JobRef) -> bool:
    """Whether a row is of this job: its key where it is shown, and not from long before its submit."""
    if row.key is not None and row.key != job.key:
        return False
    return row.submitted_at is None or job.submitted_at is None or row.submitted_at >= job.submitted_at - SKEW_S


def _present(rows: Sequence[Row]) -> KeySearch:
    """The job with a key. Where there are two, all but the first ended at the claim."""
    first = min(rows, key=lambda row: (row.ended and row.exit_code != 0, int(row.native_id)))
    return KeySearch(presence=Presence.PRESENT, native_id=first.native_id)


def _native(job: JobRef) -> str:
    if job.native_id is None or not re.fullmatch(r"\d+", job.native_id):
        raise SchedulerError(f"job {job.id} has no native id that Slurm could know: {job.native_id!r}", transient=False)
    return job.native_id


def _wrong(job: JobRef, state: JobState | None, verb: str, when: str) -> SchedulerError:
    found = "is not in the queue any more" if state is None else f"is {state.value}"
    return SchedulerError(f"job {job.native_id} {found}; it can be {verb} only while it {when}", transient=False)
