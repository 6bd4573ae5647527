"""``kill -9`` of everything at random while jobs come in and run: none is lost, none runs twice, nothing is guessed."""

from __future__ import annotations

import itertools
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from support import eventually

from hpcgate.client import Client
from hpcgate.errors import TransportError

SUBMITTERS = 4
#: How many of each kind of process are killed at least while 200 jobs run. Supervisors count as spoolers.
LEAST = {"serve": 2, "worker": 2, "spooler": 15}
#: How often each kind is chosen: a gateway that is down most of the time would test nothing else.
WEIGHTS = {"serve": 1, "worker": 4, "spooler": 6}


def submit_surely(client: Client, number: int, marks: Path) -> int:
    """Submits as a careful client does: the same key again until there is an answer."""
    spec = {"name": f"job {number}", "command": "sh", "args": ["-c", f"echo $$ >> '{marks}/{number}'; sleep 0.05"]}
    while True:
        try:
            return int(client.submit(spec, idempotency_key=f"job-{number}")["id"])
        except TransportError:
            time.sleep(0.05)


def ended(client: Client, ids: Iterable[int]) -> list[dict[str, Any]]:
    """The jobs, once all of them have ended."""
    try:
        jobs = [client.get(job_id) for job_id in ids]
    except TransportError:
        return []
    return jobs if all(job["state"] in ("COMPLETED", "FAILED", "CANCELED") for job in jobs) else []


def runs_of(job: dict[str, Any], marks: Path) -> int:
    """How often the job's script has begun."""
    mark = marks / job["name"].split()[1]
    return len(mark.read_text().split()) if mark.exists() else 0


@pytest.mark.live
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("count", [20, *(pytest.param(count, marks=pytest.mark.full) for count in (200, 2000))])
def test_jobs_survive_random_kills(count, processes, make_server, tmp_path):
    marks = tmp_path / "marks"
    marks.mkdir()
    server = make_server()
    server.ensure()
    token = server.token()
    ids: dict[int, int] = {}
    numbers = itertools.count()
    enough = threading.Event()

    def submitter() -> None:
        with Client(server.url, token) as client:
            # At least `count` jobs, and further ones until enough has been killed.
            while (number := next(numbers)) < count or not enough.is_set():
                ids[number] = submit_surely(client, number, marks)

    threads = [threading.Thread(target=submitter) for _ in range(SUBMITTERS)]
    for thread in threads:
        thread.start()
    seed = int(os.environ.get("HPCGATE_TEST_SEED", "0")) or random.randrange(1, 10**6)
    print(f"HPCGATE_TEST_SEED={seed}")
    dice, killed = random.Random(seed), Counter[str]()
    least = {kind: max(1, number * count // 200) for kind, number in LEAST.items()}
    while any(thread.is_alive() for thread in threads):
        server.ensure()
        lacking = [each for each in least if killed[each] < least[each]]
        kind = dice.choice(lacking) if lacking else dice.choices(list(WEIGHTS), weights=list(WEIGHTS.values()))[0]
        # One that is killed again before it has answered would never take a job where starting takes long.
        pids = [] if kind == "serve" and not server.answers() else processes.of(kind)
        if pids:
            processes.kill(dice.choice(pids))
            killed[kind] += 1
        if all(killed[each] >= least[each] for each in least):
            enough.set()
        time.sleep(dice.uniform(0.05, 0.4))  # the pace of the faults, not a wait for a result
    for thread in threads:
        thread.join()

    with Client(server.url, token) as client:
        # Each time: what was killed last may still seem to live when it is first looked at.
        jobs = eventually(lambda: server.ensure() or ended(client, ids.values()), 300)
        stored = {job["id"] for job in client.list()}
    print("killed:", dict(killed), "ended:", Counter((job["state"], job["reason"]) for job in jobs))
    assert stored == set(ids.values()), "a job was stored that nobody submitted, or one is missing"
    assert len(stored) >= count
    for job in jobs:
        runs = runs_of(job, marks)
        assert runs <= 1, f"job {job['id']} ran {runs} times"
        if job["state"] == "COMPLETED":
            assert runs == 1, f"job {job['id']} is COMPLETED and never ran"
            assert job["evidence"] in ("queue", "accounting", "exit_file")
        else:
            # What dies with its supervisor has no known result, and says so.
            assert (job["state"], job["reason"]) == ("FAILED", "NODE_FAIL"), job
            assert "supervised" in job["message"]


@pytest.mark.live
def test_two_gateways_on_one_database_run_no_job_twice(make_server, tmp_path):
    """Both get the same requests at the same time, under the same Idempotency-Keys."""
    marks = tmp_path / "marks"
    marks.mkdir()
    first, second = make_server(), make_server()
    first.ensure()
    token = first.token()
    second.ensure()
    ids: dict[str, list[int]] = {first.url: [], second.url: []}

    def submitter(url: str) -> None:
        with Client(url, token) as client:
            ids[url] = [submit_surely(client, number, marks) for number in range(50)]

    threads = [threading.Thread(target=submitter, args=(url,)) for url in ids]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ids[first.url] == ids[second.url]
    with Client(second.url, token) as client:
        jobs = eventually(lambda: ended(client, ids[second.url]), 60)
    assert [(job["state"], runs_of(job, marks)) for job in jobs] == [("COMPLETED", 1)] * 50
