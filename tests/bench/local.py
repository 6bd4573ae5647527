"""The local scheduler from the library: submit, bulk, ten thousand queued, cancel."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from statistics import median

from hpcgate.gateway import Gateway
from hpcgate.model.job import Job
from hpcgate.model.principal import Principal
from hpcgate.model.query import JobFilter
from hpcgate.model.spec import JobSpec
from hpcgate.model.state import ACTIVE, JobState
from hpcgate.service.admission import JobRequest
from tests.bench import bare
from tests.bench.options import Options
from tests.bench.places import Home, rss_mb
from tests.bench.report import Bare, Line, Report
from tests.bench.timing import each_ms, once_s, p95, until

COUNT = 10_000


def measure(options: Options, report: Report) -> None:
    """All lines of this group."""
    report.title("local scheduler, from the library")
    with Home(cpus=1) as home, home.gateway() as gateway:
        people = gateway.os_principal()
        # One job that keeps the only core: everything else stays queued.
        blocker = gateway.jobs.submit(people, JobRequest(spec=JobSpec(name="blocker", command="sleep", args=("3600",))))
        _submit(gateway, people, report)
        _bulk(gateway, people, report)
        _spooler(home, report)
        worker = home.worker()
        _cancel(gateway, people, blocker.job.id, report)
        gateway.jobs.cancel(people, [blocker.job.id])
        until(lambda: not gateway.store.jobs.count(JobFilter(active=True)), 20)
        home.stop(worker)


def _submit(gateway: Gateway, people: Principal, report: Report) -> None:
    spec = JobSpec(command="true")
    took = each_ms(200, lambda: gateway.jobs.submit(people, JobRequest(spec=spec)), warm=5)
    alternatives = (
        Bare("spawn of `true`", bare.spawn_ms()),
        Bare("fsynced append", bare.synced_append_ms()),
    )
    report.add(
        Line(
            name="submit, median of 200",
            value=median(took),
            unit="ms",
            bare=alternatives,
            target="<= 4 ms",
            ok=median(took) <= 4,
            note=f"p95 {p95(took):.1f} ms; durable in three transactions: job, spooler's queue, native id",
        )
    )


def _bulk(gateway: Gateway, people: Principal, report: Report) -> None:
    requests = [JobRequest(spec=JobSpec(name=f"bulk{number}", command="true")) for number in range(COUNT)]
    answers: list[object] = []
    wall_s, cpu_s = once_s(lambda: answers.extend(gateway.jobs.submit_many(people, requests)))
    assert all(isinstance(answer, Job) and answer.state is JobState.QUEUED for answer in answers)
    rate = COUNT / wall_s
    report.add(
        Line(
            name="bulk submit of 10,000",
            value=rate,
            unit="jobs/s",
            bare=(Bare("shell loop of `true &`", bare.shell_loop_rate()),),
            target=">= 500 jobs/s",
            ok=rate >= 500,
            note=f"{wall_s:.1f} s, of them {cpu_s:.1f} s CPU of the submitting process",
        )
    )


def _spooler(home: Home, report: Report) -> None:
    spooler = int(Path(home.path, "jobs/local/.spool/spooler.lock").read_text())
    memory = rss_mb(spooler)
    report.add(
        Line(
            name="spooler with 10,000 queued, RSS",
            value=memory,
            unit="MB",
            bare=(Bare("python with sqlite3 and json", _interpreter_mb()),),
            target="<= 60 MB",
            ok=memory <= 60,
        )
    )


def _interpreter_mb() -> float:
    code = "import json, sqlite3, subprocess; print(1, flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        memory = rss_mb(process.pid)
        process.communicate(b"\n")
    return memory


def _cancel(gateway: Gateway, people: Principal, blocker: int, report: Report) -> None:
    until(lambda: gateway.store.jobs.get(blocker).state is JobState.RUNNING, 20)

    def left() -> int:
        return sum(gateway.store.jobs.counts(site="local", states=ACTIVE).values())

    began = time.perf_counter()
    queued, asked, cursor = JobFilter(states=frozenset({JobState.QUEUED})), 0, None
    while True:
        part = gateway.jobs.cancel_matching(people, queued, cursor=cursor)
        asked, cursor = asked + part.count, part.next_cursor
        if cursor is None:
            break
    told_s = time.perf_counter() - began
    until(lambda: left() == 1, 120, every_s=0.1)
    took = time.perf_counter() - began
    assert asked >= COUNT
    with bare.database() as db:
        bare.fill(db, COUNT)
        bare_s, _ = once_s(lambda: bare.change_all(db, COUNT))
    report.add(
        Line(
            name="cancel of 10,000 queued until all are CANCELED",
            value=took,
            unit="s",
            bare=(Bare("one SQLite transaction, UPDATE + event each", bare_s),),
            target="<= 20 s",
            ok=took <= 20,
            note=f"the call itself {told_s:.1f} s; the rest is the worker, a process of its own, seeing them end",
        )
    )
