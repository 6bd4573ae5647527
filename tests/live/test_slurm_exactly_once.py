"""Submits whose answer is lost, ``sbatch`` and gateways that are killed: every job runs once all the same."""

from __future__ import annotations

import itertools
import random
import threading
from collections import Counter

import pytest
from faults.conftest import Processes, Server
from live.careful import accounted, ended, ran_once, submit_surely
from support import eventually

from hpcgate.client import Client

#: Lines before the real ``sbatch``. ``$$`` is what the gateway waits for.
TROUBLE = """
exec 3<&0
if [ "$(wc -l <'{ways}')" -lt {troubled} ]; then
    way=$(($(wc -l <'{ways}') % 6))
    echo "way$way" >>'{ways}'
    case $way in
    0)  # taken, and the answer is lost
        "$real" "$@" >/dev/null <&3
        echo 'sbatch: error: Batch job submission failed: Socket timed out on send/recv operation' >&2
        exit 1;;
    1)  # killed before it said anything
        kill -9 $$;;
    2)  # killed after it was taken
        "$real" "$@" >/dev/null <&3
        kill -9 $$;;
    3)  # killed midway
        "$real" "$@" <&3 &
        sleep 0.00$(($(od -An -N1 -tu1 /dev/urandom) % 10))
        kill -9 $!
        kill -9 $$;;
    esac
fi
exec <&3
"""
CONFIG = """
[limits]
submit_timeout_s = 5
lost_grace_s = 10
[sites.kit]
scheduler = "slurm"
poll = {{min_s = 0.5, max_s = 2, spool_s = 0.2}}
work_root = "{root}/jobs"
settings = {{bin = "{bin}"}}
"""


@pytest.fixture
def root(tmp_path):
    (tmp_path / "home").mkdir(mode=0o700)
    (tmp_path / "marks").mkdir()
    return tmp_path


@pytest.fixture(params=[20, pytest.param(100, marks=pytest.mark.full)])
def count(request):
    """How many jobs are submitted."""
    return request.param


@pytest.fixture
def server(root, cluster, count):
    ways = root / "ways"
    ways.touch()
    folder = root / "bin"
    trouble = TROUBLE.format(ways=ways, troubled=count * 4 // 5)
    cluster.commands(folder, {"sbatch": trouble})
    (root / "home" / "hpcgate.toml").write_text(CONFIG.format(root=root, bin=folder))
    server = Server(root / "home")
    yield server
    server.stop()
    processes = Processes(root / "home")
    for kind in ("serve", "worker"):
        for pid in processes.of(kind):
            processes.kill(pid)
    cluster.clear()


@pytest.mark.live
@pytest.mark.timeout(400)
def test_each_job_runs_once(server, root, cluster, count):
    server.ensure()
    processes = Processes(root / "home")
    over = threading.Event()
    kills = Counter()
    with Client(server.url, server.token()) as client:

        def kill_now_and_then():
            while not over.wait(random.uniform(0.5, 2)):
                server.ensure()
                kind = random.choice(["serve", "worker", "worker"])
                pids = processes.of(kind)
                if pids and server.answers():
                    processes.kill(random.choice(pids))
                    kills[kind] += 1
            server.ensure()

        killer = threading.Thread(target=kill_now_and_then)
        killer.start()
        try:
            ids: dict[int, int] = {}
            numbers = itertools.count()
            submitters = [
                threading.Thread(target=lambda: _submit_all(client, numbers, count, ids, root)) for _ in range(4)
            ]
            for thread in submitters:
                thread.start()
            for thread in submitters:
                thread.join()
            eventually(lambda: kills["worker"] >= 3 and kills["serve"] >= 2, 60)
        finally:
            over.set()
            killer.join()
        assert len(set(ids.values())) == count
        jobs = eventually(lambda: server.ensure() or ended(client, (ids[number] for number in range(count))), 200)

    for number, job in enumerate(jobs):
        ran_once(number, job, root / "marks")
    ways = Counter((root / "ways").read_text().split())
    assert {"way0", "way1", "way2", "way3"} <= ways.keys(), "each trouble has happened"
    assert accounted(cluster, jobs) == {job["key"]: [job["native_id"]] for job in jobs}


def _submit_all(client, numbers, count, ids, root):
    while (number := next(numbers)) < count:
        ids[number] = submit_surely([client], number, root / "marks")
