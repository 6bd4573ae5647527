"""A worker is killed; how long until another one serves its site."""

from __future__ import annotations

import os
import signal
import time

from hpcgate.model.query import JobFilter
from hpcgate.model.spec import JobSpec
from hpcgate.service.admission import JobRequest
from tests.bench.options import Options
from tests.bench.places import Home
from tests.bench.report import Bare, Line, Report
from tests.bench.timing import until


def measure(options: Options, report: Report) -> None:
    """All lines of this group."""
    report.title("take-over")
    with Home() as home, home.gateway() as gateway:
        people = gateway.os_principal()
        job = gateway.jobs.submit(people, JobRequest(spec=JobSpec(command="sleep", args=("3600",)))).job

        def holder() -> str | None:
            lease = gateway.store.leases.get("site:local")
            return None if lease is None else lease.holder

        def polled_at() -> float:
            return gateway.store.sites.health("local").polled_at or 0.0

        first = home.worker()
        began = time.perf_counter()
        second = home.worker()
        start_s = time.perf_counter() - began
        lead = until(holder, 20)
        victim = next(child for child in (first, second) if f":{child.pid}:" in lead)
        until(lambda: polled_at() > 0, 20)
        os.kill(victim.pid, signal.SIGKILL)
        began, killed_at = time.perf_counter(), time.time()
        victim.wait()
        until(lambda: holder() != lead and polled_at() > killed_at, 60)
        took = time.perf_counter() - began
        report.add(
            Line(
                name="killed worker's site polled again by the other worker",
                value=took,
                unit="s",
                bare=(Bare("cold start of a worker", start_s),),
                target="<= 10 s",
                ok=took <= 10,
                note="kill -9 of the lease's holder; the lease runs 6 s",
            )
        )
        gateway.jobs.cancel(people, [job.id])
        until(lambda: not gateway.store.jobs.count(JobFilter(active=True)), 20)
