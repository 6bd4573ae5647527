"""A client that sends each job until somebody takes it, and what is asked about such jobs afterwards."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

from live.slurm_cluster import Cluster
from support import eventually

from hpcgate.client import Client
from hpcgate.errors import TransportError


def submit_surely(clients: Sequence[Client], number: int, marks: Path) -> int:
    """Submits the same under the same key, to one server after the other, until there is an answer; the job's id.

    The job leaves its native id in a file named after its number, and exits with the rest of that divided by 3.
    """
    script = f"#!/bin/sh\necho $HPCGATE_NATIVE_ID >>'{marks}/{number}'\nexit {number % 3}\n"
    for client in cycle(clients):
        try:
            job = client.submit({"name": f"job {number}", "script": script}, idempotency_key=f"job-{number}")
            return int(job["id"])
        except TransportError:
            time.sleep(0.2)
    raise AssertionError("there are no servers")


def ended(client: Client, ids: Iterable[int]) -> list[dict[str, Any]]:
    """The jobs, once all of them have ended."""
    jobs = []
    try:
        for job_id in ids:
            job = client.get(job_id)
            if job["state"] not in ("COMPLETED", "FAILED", "CANCELED"):
                return []
            jobs.append(job)
    except TransportError:
        return []
    return jobs


def ran_once(number: int, job: dict[str, Any], marks: Path) -> None:
    """The job's own word against the gateway's."""
    expected = ("COMPLETED", 0) if number % 3 == 0 else ("FAILED", number % 3)
    assert (job["state"], job["exit_code"]) == expected, job
    assert (marks / str(number)).read_text().split() == [job["native_id"]], "ran once"


def accounted(cluster: Cluster, jobs: Sequence[dict[str, Any]]) -> dict[str, list[str]]:
    """The native ids that Slurm's accounting has for the key of each job, once it has heard of all that were submitted.

    slurmctld gives ids without a gap, and sends what it knows of jobs to accounting in its own time.
    """
    config = cluster.run("scontrol", "show", "config", check=True).stdout
    following = re.search(r"NEXT_JOB_ID\s*=\s*(\d+)", config)
    assert following is not None
    first = min(int(job["native_id"]) for job in jobs)
    columns = ("sacct", "-anPX", "-S", "now-1hour", "-o", "JobID,SubmitLine")

    def rows() -> dict[str, str] | None:
        found = dict(line.split("|", 1) for line in cluster.run(*columns, check=True).stdout.splitlines())
        return found if all(found.get(str(each)) for each in range(first, int(following[1]))) else None

    keys = {job["key"] for job in jobs}
    found: dict[str, list[str]] = {}
    for native_id, submitted in eventually(rows, 60).items():
        match = re.search(r"--comment=hpcgate:(\w+)", submitted)
        if match and match[1] in keys:
            found.setdefault(match[1], []).append(native_id)
    return found
