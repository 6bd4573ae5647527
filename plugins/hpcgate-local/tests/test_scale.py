"""Ten thousand queued jobs are rows."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from pathlib import Path

from hpcgate_local import plugin

from hpcgate.model.state import JobState

COUNT = 10_000


def test_ten_thousand_queued_jobs(machine):
    blocker = machine.sh("sleep 1000", resources=replace(machine.job(command="x").spec.resources, tasks=2))
    machine.running(blocker)
    jobs = [machine.job(command="true") for _ in range(COUNT)]

    began = time.perf_counter()
    taken = plugin.hpcgate_submit_jobs(machine.site, jobs, machine.transport)
    assert COUNT / (time.perf_counter() - began) >= 500

    began = time.process_time()
    listing = plugin.hpcgate_poll_jobs(machine.site, [], machine.transport)
    assert time.process_time() - began <= 0.5
    assert len(listing.observations) == COUNT + 1
    assert listing.complete

    status = Path(f"/proc/{machine.spooler().pid}/status").read_text()
    assert int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) <= 60 * 1024
    assert len(machine.own_processes()) <= 4  # spooler, supervisor, shell, sleep

    refs = [replace(job.ref, native_id=each.native_id) for job, each in zip(jobs, taken, strict=True)]
    began = time.perf_counter()
    machine.cancel(*refs)
    assert time.perf_counter() - began <= 2
    listing = plugin.hpcgate_poll_jobs(machine.site, [], machine.transport)
    assert [each.state for each in listing.observations.values()].count(JobState.CANCELED) == COUNT
    assert machine.see(blocker).state is JobState.RUNNING
