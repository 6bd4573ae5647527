"""What a poll round costs: scheduler commands, and CPU of reconciling ten thousand observations."""

from __future__ import annotations

import gc
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from hpcgate.config import config_from
from hpcgate.gateway import Gateway, open_gateway
from hpcgate.model.spec import JobSpec
from hpcgate.model.state import JobState
from hpcgate.service.admission import JobRequest
from hpcgate.service.worker import collect_garbage_seldom
from hpcgate.testing.fakes import FakeScheduler
from tests.bench import bare
from tests.bench.options import Options
from tests.bench.report import Bare, Line, Report
from tests.bench.timing import once_s

MANY = 10_000


def measure(options: Options, report: Report) -> None:
    """All lines of this group."""
    report.title("polling (scripted scheduler, real store)")
    thresholds = gc.get_threshold()
    collect_garbage_seldom()  # as `hpcgate worker` does
    _at_once(report)
    commands = {}
    for count in (10, MANY):
        with tempfile.TemporaryDirectory(prefix="hpcgate-bench-") as folder:
            fake = FakeScheduler()
            with _gateway(Path(folder), fake) as gateway:
                _submit(gateway, count)
                commands[count] = _commands_of_a_round(gateway, fake)
                if count == MANY:
                    _reconcile(gateway, fake, report)
    report.add(
        Line(
            name="scheduler commands per poll round, 10,000 active jobs",
            value=commands[MANY],
            unit="calls",
            bare=(Bare("with 10 active jobs", commands[10]),),
            target="the same",
            ok=commands[MANY] == commands[10],
        )
    )
    gc.set_threshold(*thresholds)


def _at_once(report: Report) -> None:
    """The dearest round: every job ended between two polls, so that each gets the events of all it went through."""
    with tempfile.TemporaryDirectory(prefix="hpcgate-bench-") as folder:
        fake = FakeScheduler()
        with _gateway(Path(folder), fake) as gateway:
            _submit(gateway, MANY)
            worker = gateway.worker()
            for known in fake.jobs:
                fake.set_state(known.native_id, JobState.COMPLETED)
            _line(report, "all QUEUED -> COMPLETED", worker.step, _least())
            assert gateway.store.jobs.counts() == {JobState.COMPLETED: MANY}


def _submit(gateway: Gateway, count: int) -> None:
    requests = [JobRequest(spec=JobSpec(name=f"job{n}", command="true")) for n in range(count)]
    gateway.jobs.submit_many(gateway.os_principal(), requests)


def _least() -> Bare:
    with bare.database() as db:
        bare.fill(db, MANY)
        _, cpu_s = once_s(lambda: bare.change_all(db, MANY))
    return Bare("bare SQLite, UPDATE + event each", cpu_s)


def _gateway(folder: Path, fake: FakeScheduler) -> Gateway:
    site = {"scheduler": "fake", "work_root": str(folder / "work"), "poll": {"min_s": 0.001, "max_s": 0.001}}
    return open_gateway(config_from({"sites": {"fake": site}}, home=folder / "home"), plugins=[("fake", fake)])


def _commands_of_a_round(gateway: Gateway, fake: FakeScheduler) -> int:
    worker = gateway.worker()
    worker.step()
    fake.calls.clear()
    time.sleep(0.01)
    worker.step()
    assert fake.calls["poll"] == 1, fake.calls
    return sum(fake.calls.values())


def _reconcile(gateway: Gateway, fake: FakeScheduler, report: Report) -> None:
    worker = gateway.worker()

    def round_() -> None:
        time.sleep(0.002)
        worker.step()

    def say(state: JobState) -> None:
        for known in fake.jobs:
            fake.set_state(known.native_id, state)

    least = _least()
    _line(report, "nothing new", round_, least)
    say(JobState.RUNNING)
    _line(report, "all QUEUED -> RUNNING", round_, least)
    assert gateway.store.jobs.counts() == {JobState.RUNNING: MANY}
    say(JobState.COMPLETED)
    _line(report, "all RUNNING -> COMPLETED", round_, least)
    assert gateway.store.jobs.counts() == {JobState.COMPLETED: MANY}


def _line(report: Report, what: str, round_: Callable[[], None], least: Bare) -> None:
    # What the pretended scheduler keeps in memory is not the gateway's to collect.
    gc.collect()
    gc.freeze()
    wall_s, cpu_s = once_s(round_)
    report.add(
        Line(
            name=f"reconcile 10,000 observations, {what}, CPU",
            value=cpu_s,
            unit="s",
            bare=(least,),
            target="<= 1 s",
            ok=cpu_s <= 1,
            note=f"{wall_s:.2f} s on the clock; a whole round of the worker, lease and listing included",
        )
    )
