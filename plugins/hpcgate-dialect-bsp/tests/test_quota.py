"""Quotas as clients see them: random lives of jobs, many at once, and one that takes longer than it had asked for."""

from __future__ import annotations

import math
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest
from bsptools import DAINT, GRANTED_KB, GRANTED_S, MODEL, NSG, TABLES, Service, User, at
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from hpcgate.errors import SchedulerError
from hpcgate.model.state import ACTIVE, JobState

picks = st.integers(0, 1000)
hours = st.floats(0.0001, 4).map(lambda hours: round(hours, 4))
WAITS, RUNS = JobState.QUEUED, JobState.RUNNING
ENDED = frozenset(JobState) - ACTIVE


@dataclass
class Life:
    """What a job is known to cost.

    Args:
        wire: as it was answered.
        reserved: seconds, for as long as it has not ended.
        kb: of what came with it.
        used: seconds, once it has ended.
    """

    wire: dict[str, Any]
    reserved: int
    kb: int
    state: JobState = WAITS
    began: float = 0.0
    used: int = 0


class Lives(RuleBasedStateMachine):
    """Jobs of one user in one project. Each example is the life of another user of the same service."""

    service: Service

    def __init__(self) -> None:
        super().__init__()
        self.ann = self.service.member()
        self.known: list[Life] = []

    # --- what happens

    @rule(hours=hours, kb=st.sampled_from([0, 0, 0, 20]), refused=st.sampled_from([False] * 7 + [True]))
    def submit(self, hours: float, kb: int, refused: bool) -> None:
        asked = math.ceil(round(hours * 3600, 3))
        fits = asked <= self.left()[0]
        if refused and fits:
            self.service.fake.fail_next("submit", SchedulerError("no", transient=False))
        status = 401 if not fits else 400 if refused else 201
        file = {"file": b"x" * (kb * 1024), "name": "data"} if kb else {}
        answer = self.ann.submit(status=status, runtime=hours, **file)
        if status == 201:
            self.known.append(Life(answer, asked, kb))
        else:
            assert answer.startswith("Quota not enough!") == (not fits)

    @precondition(lambda self: self.those({WAITS}))
    @rule(pick=picks, ago_s=st.floats(0, 5000))
    def start(self, pick: int, ago_s: float) -> None:
        job = self.one(pick, {WAITS})
        job.state, job.began = RUNS, time.time() - ago_s
        self.service.says(job.wire, RUNS, started_at=job.began)

    @precondition(lambda self: self.those({RUNS}))
    @rule(pick=picks, state=st.sampled_from(sorted(ENDED)), ran_s=st.floats(0, 20_000))
    def finish_or_fail(self, pick: int, state: JobState, ran_s: float) -> None:
        self.ends(self.one(pick, {RUNS}), state, ran_s)

    @precondition(lambda self: self.those({WAITS, RUNS}))
    @rule(pick=picks, done=st.booleans())
    def cancel(self, pick: int, done: bool) -> None:
        job = self.one(pick, {WAITS, RUNS})
        assert self.ann.delete(at(job.wire))["stage"] == "CANCELED"
        if done:
            self.ends(job, JobState.CANCELED, 7.5)

    @precondition(lambda self: self.those(ENDED))
    @rule(pick=picks)
    def delete(self, pick: int) -> None:
        assert self.ann.delete(at(self.one(pick, ENDED).wire))["stage"] == "DELETED"

    # --- what must hold

    @invariant()
    def what_is_left_is_granted_less_used_less_reserved(self) -> None:
        assert self.ann.quota() == self.left()

    def teardown(self) -> None:
        """Everybody goes home: what was only reserved is there again."""
        assert len(self.ann.get("/jobs/")) == len(self.known)
        for job in self.those({WAITS, RUNS}):
            self.ends(job, JobState.CANCELED, 0.0)
        self.what_is_left_is_granted_less_used_less_reserved()

    def ends(self, job: Life, state: JobState, ran_s: float) -> None:
        ended_at = job.began + ran_s
        times = {"started_at": job.began, "ended_at": ended_at} if job.state is RUNS else {}
        self.service.says(job.wire, state, **times)
        job.state, job.used = state, math.ceil(ended_at - job.began) if times else 0

    def left(self) -> tuple[int, float]:
        """Seconds and KB."""
        spent = sum(job.used if job.state in ENDED else job.reserved for job in self.known)
        return GRANTED_S - spent, float(GRANTED_KB - sum(job.kb for job in self.known))

    def those(self, states: Any) -> list[Life]:
        return [job for job in self.known if job.state in states]

    def one(self, pick: int, states: Any) -> Life:
        found = self.those(states)
        return found[pick % len(found)]


def _live(service: Service, examples: int, steps: int) -> None:
    class Served(Lives):
        pass

    Served.service = service
    checks = settings(
        max_examples=examples,
        stateful_step_count=steps,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(Served, settings=checks)


def test_random_lives_keep_the_quota_exact(service):
    _live(service, 30, 10)


@pytest.mark.full
def test_many_random_lives_keep_the_quota_exact(service):
    _live(service, 200, 40)


def test_submits_at_the_same_time_never_overdraw(service: Service, ann):
    def submit(_: int) -> int:
        return User(service, ann.name, ann.token)(
            "POST", "/jobs/pizdaint", headers={"Payload": '{"command": "ls", "runtime": 3}'}
        )

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


def test_all_users_together_are_held_to_what_the_project_has(make):
    ann = make(TABLES).member()
    tables = {"file": MODEL, "name": "m.zip", "tool": "PY_TG", "runtime": 10}
    ann.submit("/jobs/nsg/", **tables)
    project = ann.get(f"/projects/nsg/{NSG}/")
    assert (project["init_time"], project["time_left"], project["user_time"]) == (72_000, 36_000, 36_000)
    assert ann.get(f"/projects/pizdaint/{DAINT}/")["time_left"] is None
