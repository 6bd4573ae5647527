"""``RunningScheduler``: a fake whose jobs really run, as processes of this one.

For tests that need true output and true exit codes, and no plugin. It forgets everything with its process.
"""

from __future__ import annotations

import os
import shlex
import signal as signals
import subprocess
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from hpcgate.errors import SchedulerError
from hpcgate.hookspecs import hookimpl
from hpcgate.model.files import JobFolder
from hpcgate.model.job import Job, JobDependency, JobRef, TaskObservation
from hpcgate.model.scheduler import HONOURED, Capability, Submitted
from hpcgate.model.site import Site
from hpcgate.model.state import JobState, Reason
from hpcgate.scheduler.steps import with_driver
from hpcgate.scheduler.tasks import derive
from hpcgate.testing.fakes import FIELDS, FakeScheduler, start_folder, streams
from hpcgate.transport.base import CommandResult, Transport

_PASSED_ON: Final = ("PATH", "HOME", "LANG", "TMPDIR")


@dataclass(slots=True)
class _Run:
    """One attempt of a job: its processes, and what was asked of it."""

    job: Job
    native_id: str
    processes: dict[int | None, subprocess.Popen[bytes]] = field(default_factory=dict)
    ends: dict[int | None, TaskObservation] = field(default_factory=dict)
    canceled: bool = False
    canceled_tasks: set[int | None] = field(default_factory=set)
    requeued: bool = False
    timed_out: bool = False


class RunningScheduler(FakeScheduler):
    """Runs jobs on this machine, each as soon as nothing holds it; transports are taken to lead here.

    ``close`` ends what still runs.
    """

    def __init__(self, name: str = "fake", **more: Any) -> None:
        more.setdefault("capabilities", frozenset(Capability) - {Capability.MEMORY})
        super().__init__(name, **more)
        own = ("dependencies", "tasks", "policies.max_task_retries", "policies.ignore_task_failures")
        self.info = replace(self.info, fields={**FIELDS, **dict.fromkeys(own, HONOURED)})
        self._runs: dict[str, _Run] = {}
        self._threads: list[threading.Thread] = []
        self._changed = threading.Condition(self._lock)
        self._closing = False

    def close(self) -> None:
        """Ends all jobs and waits for their threads."""
        with self._changed:
            self._closing = True
            for run in self._runs.values():
                self._stop(run)
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    # --- hooks ------------------------------------------------------------------------------------------------------

    @hookimpl
    def hpcgate_submit_job(self, site: Site, job: Job, transport: Transport) -> Submitted:
        """A job with a key that it knows *is* that job."""
        with self._changed:
            if job.key not in self._by_key:
                job = with_driver(site, job)
                submitted = super().hpcgate_submit_job(site, job, transport)
                self._make_folder(job)
                thread = threading.Thread(target=self._carry_out, args=(job, submitted.native_id), daemon=True)
                self._threads.append(thread)
                thread.start()
                return submitted
        return Submitted(key=job.key, native_id=self.job(job.key).native_id)

    @hookimpl
    def hpcgate_cancel_jobs(self, site: Site, jobs: Sequence[JobRef], transport: Transport) -> bool:
        """Kills what runs; what waits is canceled where it waits."""
        self._enter("cancel")
        with self._changed:
            for ref in jobs:
                run = self._runs.get(ref.native_id or "")
                known = self._jobs.get(ref.native_id or "")
                if run is not None:
                    run.canceled = True
                    self._stop(run)
                elif known is not None and known.state in (JobState.QUEUED, JobState.HELD):
                    self.set_state(known.native_id, JobState.CANCELED)
            self._changed.notify_all()
        return True

    @hookimpl
    def hpcgate_cancel_tasks(
        self, site: Site, job: JobRef, indices: Sequence[int], transport: Transport
    ) -> bool | None:
        """Kills what runs of them, and keeps the others of them from starting."""
        with self._changed:
            run = self._runs.get(job.native_id or "")
            if run is None:
                raise SchedulerError(f"job {job.native_id} does not run", transient=False)
            run.canceled_tasks.update(indices)
            for index in indices:
                if index in run.processes:
                    with suppress(ProcessLookupError):
                        os.killpg(run.processes[index].pid, signals.SIGKILL)
        return True

    @hookimpl
    def hpcgate_release_job(self, site: Site, job: JobRef, transport: Transport) -> bool | None:
        """See ``FakeScheduler``; wakes the job."""
        with self._changed:
            taken = super().hpcgate_release_job(site, job, transport)
            self._changed.notify_all()
            return taken

    @hookimpl
    def hpcgate_requeue_job(self, site: Site, job: JobRef, transport: Transport) -> bool | None:
        """Kills the run; the job starts anew."""
        with self._changed:
            run = self._runs.get(job.native_id or "")
            if run is None:
                raise SchedulerError(f"job {job.native_id} does not run", transient=False)
            run.requeued = True
            self._stop(run)
        return True

    @hookimpl
    def hpcgate_signal_job(self, site: Site, job: JobRef, signal: str, transport: Transport) -> bool | None:
        """Sends the signal to every process group of the job."""
        number = getattr(signals, f"SIG{signal}", None)
        if number is None:
            raise SchedulerError(f"{signal!r} is no signal", transient=False)
        with self._changed:
            run = self._runs.get(job.native_id or "")
            if run is None:
                raise SchedulerError(f"job {job.native_id} does not run", transient=False)
            self._kill(run, number)
            if number in (signals.SIGSTOP, signals.SIGCONT):
                self.set_state(job, JobState.SUSPENDED if number == signals.SIGSTOP else JobState.RUNNING)
        return True

    @hookimpl
    def hpcgate_exec_in_job(
        self, site: Site, job: JobRef, argv: Sequence[str], transport: Transport
    ) -> CommandResult | None:
        """Runs the command in the job's work folder."""
        line = f"cd {shlex.quote(JobFolder(job.folder).work)} && exec {shlex.join(argv)}"
        return transport.run(["/bin/sh", "-c", line])

    # --- one job, in a thread of its own ----------------------------------------------------------------------------

    def _carry_out(self, job: Job, native_id: str) -> None:
        restarts = 0
        while (run := self._begin(job, native_id, restarts)) is not None:
            self._run_all(run)
            if not self._end(run):
                return
            restarts += 1

    def _begin(self, job: Job, native_id: str, restarts: int) -> _Run | None:
        """Waits for release and dependencies, and says that the job runs; ``None`` once it is canceled."""
        with self._changed:
            self._changed.wait_for(
                lambda: (
                    self._closing
                    or self.job(native_id).state is JobState.CANCELED
                    or (self.job(native_id).state is JobState.QUEUED and self._may_start(job) is not None)
                )
            )
            if self._closing or self.job(native_id).state is not JobState.QUEUED:
                return None
            if not self._may_start(job):
                fields = {"reason": Reason.DEPENDENCY_NEVER_SATISFIED}
                self.set_state(native_id, JobState.CANCELED, **fields)
                self.account(native_id, JobState.CANCELED, **fields)
                return None
            run = self._runs[native_id] = _Run(job, native_id)
            self.set_state(native_id, JobState.RUNNING, restarts=restarts)
            return run

    def _may_start(self, job: Job) -> bool | None:
        """Whether its dependencies let a job start; ``None`` = not yet."""
        verdicts = [self._satisfied(each) for each in job.depends_on]
        if False in verdicts:
            return False
        return None if None in verdicts else True

    def _satisfied(self, dependency: JobDependency) -> bool | None:
        state = self.job(dependency.job.native_id or "").state
        if state is None or not state.final:
            return True if dependency.kind == "after" and state is JobState.RUNNING else None
        completed = state is JobState.COMPLETED
        return {"afterok": completed, "afternotok": not completed}.get(dependency.kind, True)

    def _run_all(self, run: _Run) -> None:
        """Runs the job, or the indices of an array, as many at the same time as its limit says."""
        array = run.job.spec.array
        if array is None:
            self._run_one(run, None)
            return
        free = threading.Semaphore(array.limit or len(array.indices()))

        def one(index: int) -> None:
            with free:
                self._run_one(run, index)

        threads = [threading.Thread(target=one, args=(index,), daemon=True) for index in array.indices()]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _run_one(self, run: _Run, index: int | None) -> None:
        started = self._clock()
        try:
            process = self._start(run, index)
        except OSError:
            run.ends[index] = self._ended(index, started, Reason.LAUNCH_FAILED, 127, None)
            return
        if process is None:
            run.ends[index] = self._ended(index, None, Reason.CANCELED_BY_USER, None, None)
            return
        try:
            code = process.wait(run.job.spec.resources.walltime_s)
        except subprocess.TimeoutExpired:
            run.timed_out = True
            self._kill(run, signals.SIGKILL)
            code = process.wait()
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signals.SIGKILL)
        run.ends[index] = self._ended(index, started, self._reason(run, index, code), code if code >= 0 else None, code)

    def _reason(self, run: _Run, index: int | None, code: int) -> Reason | None:
        if run.canceled or (index in run.canceled_tasks and code < 0):
            return Reason.CANCELED_BY_USER
        if run.timed_out:
            return Reason.TIMEOUT
        if code < 0:
            return Reason.SIGNALED
        return Reason.EXIT_NONZERO if code else None

    def _ended(
        self, index: int | None, started: float | None, reason: Reason | None, code: int | None, status: int | None
    ) -> TaskObservation:
        states = {None: JobState.COMPLETED, Reason.CANCELED_BY_USER: JobState.CANCELED}
        return TaskObservation(
            index=index or 0,
            state=states.get(reason, JobState.FAILED),
            reason=reason,
            exit_code=code,
            signal=-status if status is not None and status < 0 else None,
            started_at=started,
            ended_at=self._clock(),
        )

    def _start(self, run: _Run, index: int | None) -> subprocess.Popen[bytes] | None:
        spec, folder = run.job.spec, JobFolder(run.job.folder or "")
        argv = [folder.script] if spec.script is not None else [spec.command or "", *spec.args]
        dot = "" if index is None else f".{index}"
        stdout, stderr = (Path(path + dot) for path in streams(run.job))
        with self._changed, stdout.open("wb") as out, stderr.open("wb") as err:
            if run.canceled or run.requeued or self._closing or index in run.canceled_tasks:
                return None
            process = run.processes[index] = subprocess.Popen(
                argv,
                cwd=start_folder(run.job),
                env=self._environment(run, index),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
        return process

    def _environment(self, run: _Run, index: int | None) -> Mapping[str, str]:
        job = run.job
        passed = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        own = {"HPCGATE_JOB_ID": str(job.id), "HPCGATE_JOB_KEY": job.key}
        if index is not None:
            own["HPCGATE_ARRAY_INDEX"] = str(index)
        own |= {"HPCGATE_NATIVE_ID": run.native_id, "HPCGATE_ATTEMPT": str(1 + self._restarts(run.native_id))}
        return {**passed, **own, **job.spec.environment, **job.spec.secret_environment}

    def _restarts(self, native_id: str) -> int:
        seen = self.job(native_id).seen
        return (seen.restarts if seen else None) or 0

    def _end(self, run: _Run) -> bool:
        """Says what became of a run; true if the job shall run again."""
        with self._changed:
            del self._runs[run.native_id]
            if run.requeued and not run.canceled:
                self.set_state(run.native_id, JobState.QUEUED, started_at=None)
                return True
            total = derive(list(run.ends.values()), len(run.ends))
            fields = {"reason": total.reason, "exit_code": total.exit_code, "signal": total.signal}
            tasks = tuple(run.ends.values()) if run.job.spec.array else ()
            self.set_state(run.native_id, total.state, tasks=tasks, **fields)
            self.account(run.native_id, total.state, tasks=tasks, **fields)
            self._changed.notify_all()
            return False

    def _stop(self, run: _Run) -> None:
        self._kill(run, signals.SIGKILL)

    def _kill(self, run: _Run, number: int) -> None:
        for process in run.processes.values():
            with suppress(ProcessLookupError):
                os.killpg(process.pid, number)

    def _make_folder(self, job: Job) -> None:
        folder = JobFolder(job.folder or "")
        Path(folder.root).mkdir(mode=0o700, parents=True, exist_ok=True)
        Path(folder.work).mkdir(exist_ok=True)
        if job.spec.script is not None:
            script = Path(folder.script)
            script.write_text(job.spec.script, newline="")
            script.chmod(0o700)
