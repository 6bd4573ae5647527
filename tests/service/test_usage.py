"""What a job used, told by accounting after its exit record has ended it."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from support import ANN, eventually

from hpcgate.errors import SchedulerError
from hpcgate.model.job import Usage
from hpcgate.model.scheduler import Capability
from hpcgate.model.spec import JobSpec
from hpcgate.model.state import Evidence, JobState, Reason
from hpcgate.service import usage
from hpcgate.service.admission import JobRequest
from hpcgate.service.reconcile import Reconciler

USED = Usage(cpu_time_s=12.5, max_rss_kib=2048)


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock(gateway, fake):
    clock = Clock()
    job = ended(gateway, fake)
    clock.now = job.updated_at
    # It is known; what the test does comes after it.
    fake.account(job, JobState.COMPLETED, started_at=job.started_at, usage=Usage(cpu_time_s=1.0))
    reconciler(gateway, clock).poll()
    fake.calls.clear()
    return clock


def reconciler(gateway, clock):
    return Reconciler(
        gateway.sites["fake"], gateway.store, gateway._lifecycle, gateway._transports, lost_grace_s=60.0, clock=clock
    )


def reload(gateway, job):
    return gateway.jobs.get(ANN, job.id)


def ended(gateway, fake, *, count=1, record=None):
    """A job that its exit record has ended, and that the queue has forgotten."""
    jobs = [gateway.jobs.submit(ANN, JobRequest(spec=JobSpec(command="true"))).job for _ in range(count)]
    spool = Path(gateway.sites["fake"].event_spool)
    spool.mkdir(parents=True, exist_ok=True)
    for job in jobs:
        folder = Path(job.folder)
        folder.mkdir(parents=True, exist_ok=True)
        outcome = {"exit_code": 7, "node": "n1", "started_at": 100.0, "ended_at": 160.0, **(record or {})}
        (folder / "exit.1").write_text(json.dumps({"native_id": job.native_id, **outcome}))
        (spool / job.key).touch()
        fake.forget(job)
    reconciler(gateway, Clock()).read_event_spool()
    jobs = [reload(gateway, job) for job in jobs]
    assert all((job.state, job.evidence) == (JobState.FAILED, Evidence.EXIT_FILE) for job in jobs)
    return jobs[0] if count == 1 else jobs


def test_it_is_added_and_the_outcome_stands(gateway, fake, clock):
    job = ended(gateway, fake)
    assert job.usage is None
    before = gateway.jobs.events(ANN, job.id)
    fake.account(
        job, JobState.COMPLETED, started_at=99.0, ended_at=161.0, nodes=("n1", "n2"), usage=USED, message="not ours"
    )
    assert reconciler(gateway, clock).poll() == 0
    now = reload(gateway, job)
    assert (now.usage, now.nodes, now.started_at, now.ended_at) == (USED, ("n1", "n2"), 99.0, 161.0)
    outcome = (now.state, now.reason, now.exit_code, now.evidence, now.message)
    assert outcome == (JobState.FAILED, Reason.EXIT_NONZERO, 7, Evidence.EXIT_FILE, job.message)
    assert now.revision == job.revision + 1
    (event,) = gateway.jobs.events(ANN, job.id)[len(before) :]
    assert (event.type, event.data["cpu_time_s"], event.data["max_rss_kib"]) == ("job.usage", 12.5, 2048)
    assert event.data["nodes"] == ["n1", "n2"]
    assert reconciler(gateway, clock).wants_usage() is False


def test_a_worker_asks_without_active_jobs_and_after_a_restart(make_gateway, fake):
    job = ended(make_gateway(), fake)
    fake.account(job, JobState.FAILED, exit_code=7, usage=USED)
    gateway = make_gateway()
    worker = gateway.worker()
    eventually(lambda: worker.step() or reload(gateway, job).usage == USED)
    worker.close()
    assert fake.calls["poll"] == 0


def test_many_are_one_question_with_those_that_left_the_queue(gateway, fake, clock):
    asks = reconciler(gateway, clock)
    gone = gateway.jobs.submit(ANN, JobRequest(spec=JobSpec(command="true"))).job
    fake.forget(gone)
    fake.account(gone, JobState.COMPLETED, usage=USED)
    jobs = ended(gateway, fake, count=20)
    for job in jobs:
        fake.account(job, JobState.FAILED, exit_code=7, usage=USED)
    asks.poll()
    assert (fake.calls["poll"], fake.calls["accounting"]) == (1, 1)
    assert [reload(gateway, job).usage for job in (gone, *jobs)] == [USED] * 21


def test_it_is_asked_for_ever_more_seldom_and_given_up(gateway, fake, clock):
    job = ended(gateway, fake)
    clock.now = start = job.updated_at
    asks, at = reconciler(gateway, clock), []
    while clock.now < start + 2 * usage.GIVE_UP_S:
        before = fake.calls["accounting"]
        asks.poll()
        if fake.calls["accounting"] > before:
            at.append(clock.now - start)
        clock.now += 1
    assert 5 < len(at) < 16
    assert at[-1] <= usage.GIVE_UP_S
    assert all(later - earlier >= earlier for earlier, later in pairwise(at))


@pytest.mark.parametrize(
    ("state", "row"),
    [
        (JobState.RUNNING, {}),
        (JobState.FAILED, {"restarts": 1}),
        (JobState.FAILED, {"key": "another"}),
        (JobState.FAILED, {"usage": Usage(), "nodes": ("n1",)}),
    ],
    ids=["not over", "another run", "another job", "nothing told"],
)
def test_what_is_not_about_this_end_adds_nothing(gateway, fake, clock, state, row):
    job = ended(gateway, fake)
    fake.account(job, state, **{"usage": USED, "ended_at": 5.0, **row})
    reconciler(gateway, clock).poll()
    assert fake.calls["accounting"] == 1
    assert reload(gateway, job) == job


def test_while_accounting_tells_nothing_few_are_asked_about(gateway, fake, monkeypatch):
    monkeypatch.setattr(usage, "FEW", 3)
    clock = Clock()
    jobs = ended(gateway, fake, count=9)
    clock.now = jobs[-1].updated_at
    asks = reconciler(gateway, clock)
    for known in range(3, 10):
        asks.poll()
        if known == 3:
            for job in jobs:
                fake.account(job, JobState.FAILED, exit_code=7, usage=USED)
        told = sum(reload(gateway, job).usage == USED for job in jobs)
        assert told <= {3: 0, 4: 3}.get(known, 9)
        clock.now += 0.02


def test_an_accounting_that_does_not_answer_is_asked_again(gateway, fake, clock):
    job = ended(gateway, fake)
    fake.account(job, JobState.FAILED, exit_code=7, usage=USED)
    asks = reconciler(gateway, clock)
    fake.fail_next("accounting", SchedulerError("down"))
    asks.poll()
    assert reload(gateway, job).usage is None
    clock.now += 10
    asks.poll()
    assert reload(gateway, job).usage == USED


def test_a_scheduler_without_accounting_is_not_asked(make_gateway, fake):
    fake.info = replace(fake.info, capabilities=fake.info.capabilities - {Capability.ACCOUNTING})
    gateway = make_gateway()
    ended(gateway, fake)
    asks = reconciler(gateway, Clock())
    assert not asks.wants_usage()


def test_what_the_record_itself_told_is_not_asked_for(gateway, fake, clock):
    job = ended(gateway, fake, record={"cpu_time_s": 1.5})
    assert job.usage == Usage(cpu_time_s=1.5)
    assert not reconciler(gateway, clock).wants_usage()


def test_an_index_answers_which_they_are(gateway):
    since = "SELECT id FROM job WHERE site = 'fake' AND updated_at >= 1.0 AND evidence = 'exit_file' "
    sql = since + "AND cpu_time_s IS NULL AND max_rss_kib IS NULL ORDER BY updated_at DESC LIMIT 5"
    (plan,) = gateway.store._session.rows(f"EXPLAIN QUERY PLAN {sql}")
    assert "job_without_usage (site=? AND updated_at>?)" in plan[-1]
