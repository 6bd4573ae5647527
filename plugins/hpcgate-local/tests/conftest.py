"""A local site in a temporary folder, jobs for it, and the proof that no process outlives a test."""

from __future__ import annotations

import os
import secrets
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hpcgate_local import plugin
from hpcgate_local.settings import LocalSettings
from hpcgate_local.spooler import Process, Spool, processes, read_claim

from hpcgate.model.files import JobFolder
from hpcgate.model.job import Job, JobRef, Observation
from hpcgate.model.site import Site
from hpcgate.model.spec import JobSpec
from hpcgate.model.state import JobState
from hpcgate.transport.local import LocalTransport

T = TypeVar("T")


def wait_for(condition: Callable[[], T | None], what: str, timeout_s: float = 20.0) -> T:
    deadline = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.005)
    return found


class Machine:
    """What a test does with a local site."""

    def __init__(self, root: Path) -> None:
        self.root = root
        # A spooler finds what is left of a job by its key: two test runs on one machine must share none.
        self._name = f"machine-{secrets.token_hex(8)}"
        self.transport: Any = LocalTransport()
        self.events = root / "events"
        self.events.mkdir()
        settings = LocalSettings(cpus=2, memory_mib=1000, linger_s=60.0, kill_grace_s=1.0)
        self.site = Site(
            name="here",
            scheduler="local",
            transport="local",
            work_root=str(root / "jobs"),
            settings=settings,
            event_spool=str(self.events),
        )
        self.spool = Spool(settings.spool_folder(self.site))
        self._jobs = 0

    wait_for = staticmethod(wait_for)

    def set(self, **settings: Any) -> None:
        self.site = replace(self.site, settings=replace(self.site.settings, **settings))
        self.spool = Spool(self.site.settings.spool_folder(self.site))

    # -- jobs

    def job(self, **spec: Any) -> Job:
        self._jobs += 1
        key = f"{self._name}-{self._jobs}"
        return Job(
            id=self._jobs,
            key=key,
            owner="ada",
            site="here",
            spec=JobSpec(**spec),
            state=JobState.SUBMITTING,
            folder=JobFolder.of(self.site.work_root, key).root,
            created_at=0.0,
            updated_at=0.0,
        )

    def submit(self, **spec: Any) -> JobRef:
        return self.submit_job(self.job(**spec))

    def sh(self, text: str, **spec: Any) -> JobRef:
        return self.submit(script=f"#!/bin/sh\n{text}\n", **spec)

    def submit_job(self, job: Job) -> JobRef:
        taken = plugin.hpcgate_submit_job(self.site, job, self.transport)
        return replace(job.ref, native_id=taken.native_id)

    def see(self, job: JobRef) -> Observation:
        return plugin.hpcgate_poll_jobs(self.site, [job], self.transport).observations[job.native_id or ""]

    def until(self, job: JobRef, *states: JobState) -> Observation:
        def seen() -> Observation | None:
            observation = self.see(job)
            return observation if observation.state in states else None

        return wait_for(seen, f"{job.native_id} in {states}; it is {self.see(job)}")

    def end(self, job: JobRef) -> Observation:
        return self.until(job, JobState.COMPLETED, JobState.FAILED, JobState.CANCELED)

    def running(self, job: JobRef) -> Observation:
        return self.until(job, JobState.RUNNING)

    def cancel(self, *jobs: JobRef) -> None:
        plugin.hpcgate_cancel_jobs(self.site, jobs, self.transport)

    def out(self, job: JobRef) -> str:
        return Path(JobFolder(job.folder).stdout()).read_text(encoding="utf-8", errors="surrogateescape")

    def work(self, job: JobRef, name: str) -> Path:
        return Path(JobFolder(job.folder).work, name)

    def go(self, job: JobRef) -> None:
        """Lets a job go on that waits for the file ``go``."""
        self.work(job, "go").parent.mkdir(parents=True, exist_ok=True)
        self.work(job, "go").touch()

    def said(self, job: JobRef, name: str) -> str:
        """The content of a file that the job writes into its work folder, once it is there."""
        path = self.work(job, name)
        return wait_for(lambda: path.exists() and path.read_text().strip(), f"{name} of {job.native_id}")

    # -- processes

    def spooler(self) -> Process:
        """The process that serves the spool now."""
        pid = wait_for(lambda: Path(self.spool.root, "spooler.lock").read_text(), "a spooler")
        return wait_for(lambda: _alive(int(pid)), "the spooler to be alive")

    def supervisor(self, job: JobRef, attempt: int = 1) -> Process:
        claim = wait_for(lambda: read_claim(f"{self.spool.runs}/{job.native_id}-{attempt}"), "a claim")
        return Process(claim["pid"], claim["ticks"])

    def kill(self, process: Process, number: int = signal.SIGKILL) -> None:
        process.send(number)
        wait_for(lambda: not _alive(process.pid, process.ticks), f"the end of {process}")

    def own_processes(self) -> list[Process]:
        """Spoolers, supervisors and jobs of this machine."""
        place, run = str(self.root).encode(), f"HPCGATE_RUN={self._name}-".encode()
        alive = [each for each in processes() if each.state != "Z" and each.pid != os.getpid()]
        return [each for each in alive if _names(each, place, run)]

    # -- the end

    def leave(self) -> None:
        """Ends all jobs, and waits until nothing runs any more."""
        root = Path(self.spool.root)
        if root.exists() and not root.is_dir():
            return  # nothing can have been started here
        if root.exists():
            listed = self.spool.list(keep_s=1)["jobs"]
            self.spool.cancel([row["key"] for row in listed if row["ended_at"] is None])
            assert wait_for(
                lambda: all(row["ended_at"] for row in self.spool.list(keep_s=1)["jobs"]), "an end of all jobs"
            )
        wait_for(self._only_the_test_is_left, "no process left")

    def _only_the_test_is_left(self) -> bool:
        # A supervisor that finds no spooler when it ends calls for one, which would linger.
        if self.spool.listening():
            self.kill(self.spooler(), signal.SIGTERM)
        return not self.own_processes()


def _names(process: Process, place: bytes, run: bytes) -> bool:
    try:
        folder = Path(f"/proc/{process.pid}")
        return place in (folder / "cmdline").read_bytes() or run in (folder / "environ").read_bytes()
    except OSError:
        return False


def _alive(pid: int, ticks: int | None = None) -> Process | None:
    return next(
        (each for each in processes() if each.pid == pid and each.state != "Z" and ticks in (None, each.ticks)), None
    )


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    root = tmp_path / "machine"
    root.mkdir()
    machine = Machine(root)
    yield machine
    machine.leave()
