"""``kill -9`` of everything at random while jobs come in and run: none is lost, none runs twice, nothing is guessed."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from support import eventually

from hpcgate.client import Client
from hpcgate.errors import TransportError

JOBS = 200
SUBMITTERS = 4
CONFIG = """
[sites.local]
scheduler = "local"
[sites.local.settings]
cpus = 8
"""


class Processes:
    """The processes of one gateway home, found by what stands in /proc."""

    def __init__(self, home: Path) -> None:
        self._mark = f"HPCGATE_HOME={home}".encode()

    def of(self, kind: str) -> list[int]:
        """Process ids whose kind is ``serve`` (arbiter and web), ``worker`` or ``spooler`` (and supervisors)."""
        return [pid for pid in self._ours() if self._kind(pid) == kind]

    def _ours(self) -> Iterator[int]:
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal() and int(entry.name) != os.getpid():
                with suppress(OSError):
                    if self._mark in (entry / "environ").read_bytes().split(b"\0"):
                        yield int(entry.name)

    @staticmethod
    def _kind(pid: int) -> str:
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            return ""
        if any(word.endswith(b"spooler.py") for word in words):
            return "spooler"
        return next((kind for kind in ("worker", "serve") if kind.encode() in words), "")

    def kill(self, pid: int) -> None:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


class Server:
    """``hpcgate serve``, started again whenever it is gone."""

    def __init__(self, home: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._environment = {**os.environ, "HPCGATE_HOME": str(home), "HPCGATE_CONFIG": str(home / "hpcgate.toml")}
        self._log = (home / "serve.log").open("ab")
        self._process: subprocess.Popen[bytes] | None = None

    def ensure(self) -> None:
        if self._process is None or self._process.poll() is not None:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "hpcgate", "serve", "--port", str(self.port)],
                env=self._environment,
                stdout=self._log,
                stderr=self._log,
            )

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                self.kill()
        self._log.close()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    (home / "hpcgate.toml").write_text(CONFIG)
    return home


@pytest.fixture
def server(home: Path) -> Iterator[Server]:
    server = Server(home)
    yield server
    server.stop()
    processes = Processes(home)
    for kind in ("serve", "worker", "spooler"):
        for pid in processes.of(kind):
            processes.kill(pid)


def submit_surely(client: Client, number: int, marks: Path) -> int:
    """Submits as a careful client does: the same key again until there is an answer."""
    spec = {"name": f"job {number}", "command": "sh", "args": ["-c", f"echo $$ >> '{marks}/{number}'; sleep 0.05"]}
    while True:
        try:
            return int(client.submit(spec, idempotency_key=f"job-{number}")["id"])
        except TransportError:
            time.sleep(0.05)


@pytest.mark.live
@pytest.mark.timeout(240)
def test_two_hundred_jobs_survive_random_kills(home: Path, server: Server, tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    marks.mkdir()
    server.ensure()
    token_file = home / "admin.token"
    eventually(lambda: token_file.exists() and token_file.read_text().endswith("\n"), 30)
    token = token_file.read_text().strip()
    ids: dict[int, int] = {}
    numbers = iter(range(JOBS))
    lock = threading.Lock()

    def submitter() -> None:
        with Client(server.url, token) as client:
            while True:
                with lock:
                    number = next(numbers, None)
                if number is None:
                    return
                ids[number] = submit_surely(client, number, marks)

    threads = [threading.Thread(target=submitter) for _ in range(SUBMITTERS)]
    for thread in threads:
        thread.start()
    seed = int(os.environ.get("HPCGATE_TEST_SEED", "0")) or random.randrange(1, 10**6)
    print(f"HPCGATE_TEST_SEED={seed}")
    dice, killed, processes = random.Random(seed), Counter[str](), Processes(home)
    while any(thread.is_alive() for thread in threads) or killed.total() < 30:
        server.ensure()
        kind = dice.choice(["serve", "worker", "spooler", "spooler", "spooler"])
        pids = processes.of(kind)
        if pids:
            processes.kill(dice.choice(pids))
            killed[kind] += 1
        time.sleep(dice.uniform(0.02, 0.3))  # the pace of the faults, not a wait for a result
    for thread in threads:
        thread.join()

    server.ensure()
    with Client(server.url, token) as client:

        def ended() -> list[dict]:
            try:
                jobs = [client.get(job_id) for job_id in ids.values()]
            except TransportError:
                return []
            return jobs if all(job["state"] in ("COMPLETED", "FAILED", "CANCELED") for job in jobs) else []

        jobs = eventually(ended, 120)
        every = {job["id"] for job in client.list()}
    print("killed:", dict(killed), "ended:", Counter((job["state"], job["reason"]) for job in jobs))
    assert every == set(ids.values()), "a job was stored that nobody submitted, or one is missing"
    assert len(every) == JOBS
    for job in jobs:
        mark = marks / job["name"].split()[1]
        runs = len(mark.read_text().split()) if mark.exists() else 0
        assert runs <= 1, f"job {job['id']} ran {runs} times"
        if job["state"] == "COMPLETED":
            assert runs == 1, f"job {job['id']} is COMPLETED and never ran"
            assert job["evidence"] in ("queue", "accounting", "exit_file")
        else:
            # What dies with its supervisor has no known result, and says so.
            assert (job["state"], job["reason"]) == ("FAILED", "NODE_FAIL"), job
            assert "supervised" in job["message"]
    assert killed["serve"] >= 1
    assert killed["worker"] >= 1
    assert killed["spooler"] >= 5
