"""Quotas as clients see them: random lives of jobs, many at once, and one that takes longer than it had asked for."""

from __future__ import annotations

import itertools
import math
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from bsptools import DAINT, GRANTED_KB, GRANTED_S, MODEL, NSG, Service, at
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from hpcgate.errors import SchedulerError
from hpcgate.model.state import ACTIVE, JobState

picks = st.integers(0, 1000)
ENDED = frozenset(JobState) - ACTIVE


class Lives(RuleBasedStateMachine):
    """Jobs of one user in one project."""

    service: Service
    users = itertools.count()

    def __init__(self) -> None:
        super().__init__()
        self.ann = self.service.newcomer(f"user{next(self.users)}")
        self.known: list[dict[str, Any]] = []

    # --- what happens

    @rule(hours=st.floats(0.0001, 4).map(lambda hours: round(hours, 4)), kb=st.integers(0, 900))
    def submit(self, hours: float, kb: int) -> None:
        before, _ = self.ann.quota()
        fits = math.ceil(round(hours * 3600, 3)) <= before
        file = {"file": b"x" * (kb * 1024), "name": "data"} if kb else {}
        answer = self.ann.submit(status=201 if fits else 401, runtime=hours, **file)
        if fits:
            self.known.append(answer)
        else:
            assert answer.startswith("Quota not enough!")

    @rule()
    def is_refused(self) -> None:
        self.service.fake.fail_next("submit", SchedulerError("no", transient=False))
        before = self.ann.quota()
        if before[0] >= 3600:
            assert "no" in self.ann.submit(status=400, file=MODEL, name="m.zip")
        assert self.ann.quota() == before
        self.service.fake._errors.clear()

    @precondition(lambda self: self.those({JobState.QUEUED}))
    @rule(pick=picks, ago_s=st.floats(0, 5000))
    def start(self, pick: int, ago_s: float) -> None:
        self.service.says(self.one(pick, {JobState.QUEUED}), JobState.RUNNING, started_at=time.time() - ago_s)

    @precondition(lambda self: self.those({JobState.RUNNING}))
    @rule(pick=picks, state=st.sampled_from(sorted(ENDED)), ran_s=st.floats(0, 20_000))
    def finish_or_fail(self, pick: int, state: JobState, ran_s: float) -> None:
        wire = self.one(pick, {JobState.RUNNING})
        began = self.service.job(wire).started_at
        self.service.says(wire, state, started_at=began, ended_at=began + ran_s)

    @precondition(lambda self: self.those({JobState.QUEUED, JobState.RUNNING}))
    @rule(pick=picks, done=st.booleans())
    def cancel(self, pick: int, done: bool) -> None:
        wire = self.one(pick, {JobState.QUEUED, JobState.RUNNING})
        assert self.ann.delete(at(wire))["stage"] == "CANCELED"
        if done:
            self.service.says(wire, JobState.CANCELED)

    @precondition(lambda self: self.those(ENDED))
    @rule(pick=picks)
    def delete(self, pick: int) -> None:
        assert self.ann.delete(at(self.one(pick, ENDED)))["stage"] == "DELETED"

    # --- what must hold

    @invariant()
    def what_is_left_is_granted_less_used_less_reserved(self) -> None:
        jobs = [self.service.job(wire) for wire in self.known]
        reserved = sum(math.ceil(round(w["runtime"] * 3600, 3)) for w in self.known if self.state(w) in ACTIVE)
        used = sum(math.ceil(job.ended_at - job.started_at) for job in jobs if job.state in ENDED and job.started_at)
        stored = sum(-(-sum(len(each.content) for each in job.spec.staging.inputs) // 1024) for job in jobs)
        assert self.ann.quota() == (GRANTED_S - used - reserved, float(GRANTED_KB - stored))
        assert len(self.ann.get("/jobs/")) == len(self.known)

    def state(self, wire: dict[str, Any]) -> JobState:
        return self.service.job(wire).state

    def those(self, states: Any) -> list[dict[str, Any]]:
        return [wire for wire in self.known if self.state(wire) in states]

    def one(self, pick: int, states: Any) -> dict[str, Any]:
        found = self.those(states)
        return found[pick % len(found)]


def _live(service: Service, examples: int, steps: int) -> None:
    class Served(Lives):
        """Each example is the life of another user of the same service."""

    Served.service = service
    checks = settings(
        max_examples=examples, stateful_step_count=steps, deadline=None, suppress_health_check=list(HealthCheck)
    )
    run_state_machine_as_test(Served, settings=checks)


def test_random_lives_keep_the_quota_exact(service):
    _live(service, 4, 12)


@pytest.mark.full
def test_many_random_lives_keep_the_quota_exact(service):
    _live(service, 60, 30)


def test_submits_at_the_same_time_never_overdraw(service: Service, ann):
    def submit(_: int) -> int:
        return service.login("ann")("POST", "/jobs/pizdaint", headers={"Payload": '{"command": "ls", "runtime": 3}'})

    with ThreadPoolExecutor(8) as pool:
        answers = [answer.status_code for answer in pool.map(submit, range(8))]
    assert sorted(answers) == [201] * 3 + [401] * 5
    assert ann.quota()[0] == GRANTED_S - 3 * 3 * 3600
    assert len(ann.get("/jobs/")) == 3


def test_a_job_that_overruns_may_overdraw_and_then_nothing_is_accepted(service, ann, bob):
    job = ann.submit(runtime=9)
    began = time.time() - 100_000
    service.says(job, JobState.RUNNING, started_at=began)
    service.says(job, JobState.COMPLETED, started_at=began, ended_at=began + 40_000.5)
    assert ann.quota()[0] == GRANTED_S - 40_001
    assert ann.submit(status=401, runtime=0.001) == "Quota not enough! -4001 s left, 4 s asked for"
    assert bob.submit(runtime=1), "quotas are of each user"


def test_what_a_job_did_not_use_comes_back_once(service, ann):
    job = ann.submit(runtime="2.0", node_number=4)
    assert ann.quota()[0] == GRANTED_S - 7200, "hours are of the clock, not of nodes"
    began = time.time() - 1000
    service.says(job, JobState.RUNNING, started_at=began)
    service.says(job, JobState.COMPLETED, started_at=began, ended_at=began + 10.2)
    for _ in range(3):
        ann.get(at(job))
        assert ann.quota()[0] == GRANTED_S - 11
    ann.delete(at(job))
    assert ann.quota()[0] == GRANTED_S - 11


def test_all_users_together_are_held_to_what_the_project_has(service, ann):
    tables = {"file": MODEL, "name": "m.zip", "tool": "PY_TG", "runtime": 10}
    ann.submit("/jobs/nsg/", **tables)
    project = ann.get(f"/projects/nsg/{NSG}/")
    assert (project["init_time"], project["time_left"], project["user_time"]) == (72_000, 36_000, 36_000)
    assert ann.get(f"/projects/pizdaint/{DAINT}/")["time_left"] is None
