"""A worker process that is stopped, loses its lease meanwhile, and goes on as if nothing had been."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support import ANN, eventually

from hpcgate.model.spec import JobSpec
from hpcgate.model.state import JobState
from hpcgate.service.admission import JobRequest

pytestmark = [pytest.mark.usefixtures("database_url"), pytest.mark.live]

#: Stops itself between what the scheduler said and what it writes of it. What it says is long over then.
_STOPPED = """
import logging, os, signal, sys, threading
from pathlib import Path
from hpcgate.config import config_from
from hpcgate.gateway import open_gateway
from hpcgate.model.job import Observation
from hpcgate.model.state import Evidence, JobState
from hpcgate.scheduler.base import Listing, hookimpl
from hpcgate.service import leases
from hpcgate.testing.fakes import FakeScheduler

class Stopping(FakeScheduler):
    @hookimpl
    def hpcgate_poll_jobs(self, site, jobs, transport):
        os.kill(os.getpid(), signal.SIGSTOP)
        seen = {
            job.native_id: Observation(native_id=job.native_id, state=JobState.FAILED, evidence=Evidence.QUEUE, exit_code=1)
            for job in jobs
        }
        return Listing(observations=seen, complete=True, at=self._clock())

logging.basicConfig(level="WARNING", stream=sys.stderr)
leases.LEASE_S = 1.0
home, url = Path(sys.argv[1]), sys.argv[2]
site = {
    "scheduler": "fake", "work_root": str(home.parent / "work"), "identity": {"shared_account": True},
    "poll": {"min_s": 0.01, "max_s": 0.05, "spool_s": 0.01},
}
with open_gateway(
    config_from({"gateway": {"database": url}, "sites": {"fake": site}}, home=home), plugins=[("fake", Stopping())]
) as gateway:
    print(gateway.holder, flush=True)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    gateway.worker().run(stop)
"""


def test_a_worker_that_was_stopped_cannot_write_after_it_lost_its_lease(gateway, fake, tmp_path, database_url):
    job = gateway.jobs.submit(ANN, JobRequest(spec=JobSpec(command="true"))).job
    argv = [sys.executable, "-W", "error", "-c", _STOPPED, str(tmp_path / "home"), database_url]
    log = tmp_path / "stopped.log"
    with (
        log.open("w") as stderr,
        subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=stderr, text=True) as process,
        ended(process),
    ):
        assert process.stdout is not None
        holder = process.stdout.readline().strip()
        eventually(lambda: _state(process.pid) == "T", 60)
        assert gateway.store.leases.get("site:fake").holder == holder

        fake.set_state(job, JobState.RUNNING)
        worker = gateway.worker()
        eventually(lambda: worker.step() or gateway.store.leases.get("site:fake").holder == gateway.holder)
        eventually(lambda: worker.step() or gateway.jobs.get(ANN, job.id).state is JobState.RUNNING)
        before = gateway.store.events.last()

        process.send_signal(signal.SIGCONT)
        eventually(lambda: "another worker has taken over" in log.read_text())
        assert gateway.jobs.get(ANN, job.id).state is JobState.RUNNING
        assert gateway.store.events.last() == before
        assert gateway.store.leases.get("site:fake").holder == gateway.holder

        process.terminate()
        assert process.wait(30) == 0, log.read_text()
        worker.close()


@contextmanager
def ended(process: subprocess.Popen[str]) -> Iterator[None]:
    """Whatever happens, the process is not left behind."""
    try:
        yield
    finally:
        process.kill()


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
