"""Three servers and three workers on PostgreSQL, which are killed at random while they bring jobs to Slurm."""

from __future__ import annotations

import itertools
import os
import random
import socket
import subprocess
import sys
import threading
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import pytest
from faults.conftest import Processes
from live.careful import accounted, ended, ran_once, submit_surely
from support import eventually

from hpcgate.client import Client

pytestmark = pytest.mark.live

MIN_S = 1.0
CONFIG = """
[gateway]
database = "{database}"
[limits]
submit_timeout_s = 5
lost_grace_s = 10
[sites.kit]
scheduler = "slurm"
poll = {{min_s = {min_s}, max_s = 2, spool_s = 0.2}}
work_root = "{root}/jobs"
settings = {{bin = "{bin}"}}
"""
#: When each look at the queue began and ended.
NOTED = """
echo "begin $(date +%s.%N) $*" >>'{log}'
"$real" "$@"
status=$?
echo "end $(date +%s.%N) $*" >>'{log}'
exit $status
"""


class Member:
    """One process of the gateway, started again whenever it is gone."""

    def __init__(self, home: Path, *argv: str) -> None:
        self._argv = [sys.executable, "-m", "hpcgate", *argv]
        self._environ = {**os.environ, "HPCGATE_HOME": str(home)}
        self._log = (home / "log").open("ab")
        self._process: subprocess.Popen[bytes] | None = None

    def ensure(self) -> None:
        if self._process is None or self._process.poll() is not None:
            self._process = subprocess.Popen(
                self._argv, env=self._environ, stdout=self._log, stderr=self._log, start_new_session=True
            )

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(30)
        self._log.close()


@pytest.fixture
def ports():
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(3)]
        return [each.getsockname()[1] for each in sockets]


@pytest.fixture
def root(tmp_path, cluster, postgres):
    """The gateway's home is ``home``; its database is empty, so that all six start for the first time."""
    (tmp_path / "home").mkdir(mode=0o700)
    (tmp_path / "marks").mkdir()
    (tmp_path / "polls").touch()
    cluster.commands(tmp_path / "bin", {"squeue": NOTED.format(log=tmp_path / "polls")})
    database = postgres.new_database()
    (tmp_path / "home" / "hpcgate.toml").write_text(
        CONFIG.format(database=postgres.url(database), root=tmp_path, bin=tmp_path / "bin", min_s=MIN_S)
    )
    yield tmp_path
    cluster.clear()
    postgres.drop(database)


@pytest.fixture
def members(root, ports):
    home = root / "home"
    servers = [Member(home, "serve", "--no-worker", "--port", str(port)) for port in ports]
    members = [*servers, *(Member(home, "worker") for _ in range(3))]
    for member in members:
        member.ensure()
    yield members
    for member in members:
        member.stop()
    processes = Processes(home)
    for kind in ("serve", "worker"):
        for pid in processes.of(kind):
            processes.kill(pid)


@pytest.mark.timeout(1500)
@pytest.mark.full
@pytest.mark.parametrize(("jobs", "kills"), [(40, 4), (500, 60)])
def test_each_job_runs_once_whoever_is_killed(root, cluster, members, ports, jobs, kills):
    token = root / "home" / "admin.token"
    eventually(lambda: token.exists() and token.read_text().endswith("\n"), 60)
    killed: Counter[str] = Counter()
    ids: dict[int, int] = {}
    over = threading.Event()

    def kill_at_random():
        processes = Processes(root / "home")
        kinds = itertools.cycle(["worker", "serve"])
        while killed.total() < kills and not over.wait(random.uniform(0.5, 2)):
            kind = next(kinds)
            if pids := processes.of(kind):
                processes.kill(random.choice(pids))
                killed[kind] += 1
            for member in members:
                member.ensure()

    with ExitStack() as stack:
        clients = [stack.enter_context(Client(f"http://127.0.0.1:{port}", token.read_text().strip())) for port in ports]
        numbers = itertools.count()

        def submit(first):
            mine = [*clients[first:], *clients[:first]]
            while (number := next(numbers)) < jobs:
                ids[number] = submit_surely(mine, number, root / "marks")

        threads = [
            threading.Thread(target=kill_at_random),
            *(threading.Thread(target=submit, args=(n,)) for n in range(3)),
        ]
        for thread in threads:
            thread.start()
        try:
            for thread in threads[1:]:
                thread.join()
            eventually(lambda: killed.total() == kills, 200)
        finally:
            over.set()
            threads[0].join()

        def all_ended():
            for member in members:
                member.ensure()
            return next((found for client in clients if (found := ended(client, map(ids.get, range(jobs))))), None)

        records = eventually(all_ended, 900)

    assert len(set(ids.values())) == jobs
    for number, job in enumerate(records):
        ran_once(number, job, root / "marks")
    assert accounted(cluster, records) == {job["key"]: [job["native_id"]] for job in records}
    assert killed["worker"] >= kills // 2
    one_asks_at_a_time((root / "polls").read_text().splitlines(), killed["worker"])


def one_asks_at_a_time(log, killed):
    """No look at the queue begins before the last one has ended, and they are as seldom as for one worker.

    Whoever begins looks once at what Slurm's commands can; that is no poll.
    """
    looks = [line.split(" ", 2) for line in log]
    polls = [(word, float(at)) for word, at, argv in looks if "=list" not in argv]
    assert [word for word, _ in polls] == ["begin", "end"] * (len(polls) // 2), polls
    lasted_s = polls[-1][1] - polls[0][1]
    assert len(polls) // 2 <= lasted_s / MIN_S + killed + 2
