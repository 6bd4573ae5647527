"""A worker process that is stopped, loses its lease meanwhile, and goes on as if nothing had been."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support import ANN, eventually, is_stopped

from hpcgate.config import config_from
from hpcgate.gateway import open_gateway
from hpcgate.model.spec import JobSpec
from hpcgate.model.state import JobState
from hpcgate.service.admission import JobRequest
from hpcgate.testing.fakes import FakeScheduler

pytestmark = pytest.mark.live

#: A scheduler that answers a poll once the test lets it, and says of all jobs what its worker's folder tells.
_PLUGIN = """
import os, time
from pathlib import Path
from hpcgate.model.job import Observation
from hpcgate.model.state import Evidence, JobState
from hpcgate.scheduler.base import Listing, hookimpl
from hpcgate.testing.fakes import FakeScheduler

FOLDER = Path(os.environ["PACED"])

class Paced(FakeScheduler):
    @hookimpl
    def hpcgate_poll_jobs(self, site, jobs, transport):
        (FOLDER / "asked").touch()
        while not (FOLDER / "answer").exists():
            time.sleep(0.01)
        (FOLDER / "answer").unlink()
        state = JobState[FOLDER.name]
        seen = Observation(native_id=jobs[0].native_id, state=state, evidence=Evidence.QUEUE)
        return Listing(observations={seen.native_id: seen}, complete=True, at=self._clock())

plugin = Paced("paced")
"""
_SITE = {"scheduler": "paced", "identity": {"shared_account": True}, "poll": {"min_s": 0.05, "max_s": 0.05}}


@dataclass
class Worker:
    """A ``hpcgate worker`` whose scheduler says that all jobs are in the state that its folder is named after."""

    folder: Path
    process: subprocess.Popen[bytes]

    def asks(self) -> bool:
        return (self.folder / "asked").exists()

    def said(self) -> str:
        return (self.folder / "log").read_text()

    def answer(self) -> None:
        """Lets its scheduler answer; done when it has."""
        (self.folder / "asked").unlink()
        (self.folder / "answer").touch()
        eventually(lambda: not (self.folder / "answer").exists())

    def end(self) -> None:
        self.process.terminate()
        (self.folder / "answer").touch()
        assert self.process.wait(30) == 0, self.said()


@contextmanager
def worker(tmp_path: Path, state: JobState) -> Iterator[Worker]:
    folder = tmp_path / state.name
    folder.mkdir()
    environ = {name: value for name, value in os.environ.items() if name != "HPCGATE_LOAD_PLUGINS"}
    environ |= {"HPCGATE_HOME": str(tmp_path), "PYTHONPATH": str(tmp_path / "lib"), "PACED": str(folder)}
    argv = [sys.executable, "-W", "error", "-m", "hpcgate", "worker"]
    with (folder / "log").open("w") as log, subprocess.Popen(argv, env=environ, stderr=log) as process:
        try:
            yield Worker(folder, process)
        finally:
            process.kill()


@pytest.fixture
def gateway(tmp_path: Path, database_url: str) -> Iterator[Any]:
    installed = tmp_path / "lib" / "paced-1.dist-info"
    installed.mkdir(parents=True)
    (installed / "METADATA").write_text("Name: paced\nVersion: 1\n")
    (installed / "entry_points.txt").write_text("[hpcgate]\npaced = paced:plugin\n")
    (tmp_path / "lib" / "paced.py").write_text(_PLUGIN)
    (tmp_path / "hpcgate.toml").write_text(
        f"""
[gateway]
database = "{database_url}"
[sites.ares]
scheduler = "paced"
identity = {{shared_account = true}}
poll = {{min_s = 0.05, max_s = 0.05, spool_s = 1000}}
"""
    )
    config = config_from({"gateway": {"database": database_url}, "sites": {"ares": _SITE}}, home=tmp_path)
    with open_gateway(config, plugins=[("paced", FakeScheduler("paced"))]) as gateway:
        yield gateway


def test_a_worker_that_was_stopped_writes_nothing_once_it_lost_its_lease(gateway, tmp_path, database_url):
    job = gateway.jobs.submit(ANN, JobRequest(spec=JobSpec(command="true"))).job

    def lease():
        return gateway.store.leases.get("site:ares")

    def everything():
        events = gateway.store.events.after(0, limit=1000)
        return gateway.jobs.get(ANN, job.id), events, gateway.store.sites.all(), lease().token, lease().holder

    with worker(tmp_path, JobState.SUSPENDED) as paused, worker(tmp_path, JobState.RUNNING) as other:
        # Of two workers one asks; whoever it is.
        eventually(lambda: paused.asks() or other.asks(), 60)
        if other.asks():
            paused, other = other, paused
        first = lease()
        stop_while_it_does_not_write(paused, database_url)

        eventually(other.asks)
        assert (lease().holder != first.holder, lease().token) == (True, first.token + 1)
        other.answer()
        eventually(other.asks)  # the next round has begun, so this one is written
        assert gateway.jobs.get(ANN, job.id).state.name == other.folder.name
        before = everything()

        (paused.folder / "answer").touch()
        paused.process.send_signal(signal.SIGCONT)
        eventually(lambda: "site ares: another worker has taken over" in paused.said())
        assert everything() == before

        other.end()
        paused.end()


def stop_while_it_does_not_write(worker: Worker, url: str) -> None:
    """While one thread waits for the scheduler another one may write, and would keep everybody from it."""
    for _ in range(100):
        worker.process.send_signal(signal.SIGSTOP)
        is_stopped(worker.process.pid)
        if nobody_writes(url):
            return
        worker.process.send_signal(signal.SIGCONT)
    raise AssertionError("it writes all the time")


def nobody_writes(url: str) -> bool:
    if url.startswith("sqlite"):
        connection = sqlite3.connect(url.removeprefix("sqlite:///"), timeout=0.2, isolation_level=None)
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return False
        finally:
            connection.close()
        return True
    import psycopg

    from hpcgate.store import writer

    with psycopg.connect(url) as server:
        (free,) = server.execute("SELECT pg_try_advisory_xact_lock(%s)", (writer.KEY,)).fetchone()
    return free
