"""Random lives of jobs: at any moment the balance is exactly what the records of the jobs say."""

from __future__ import annotations

import math
import shutil
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from support import ANN, ROOT

from hpcgate.config import config_from
from hpcgate.errors import QuotaExceeded
from hpcgate.gateway import open_gateway
from hpcgate.model.allocation import Project, Weighting
from hpcgate.model.job import Job
from hpcgate.model.spec import InputFile, JobSpec, Resources, Staging
from hpcgate.model.state import ACTIVE, JobState, Reason
from hpcgate.service.admission import JobRequest
from hpcgate.service.reconcile import Reconciler
from hpcgate.testing.fakes import FakeScheduler

GRANTED_S, GRANTED_KB = 40_000, 60
picks = st.integers(0, 1000)


def asks(walltime_s: int, nodes: int, kb: int) -> JobRequest:
    inputs = (InputFile(path="data", content=b"x" * (1024 * kb)),) if kb else ()
    resources = Resources(walltime_s=walltime_s, nodes=nodes)
    return JobRequest(spec=JobSpec(command="true", resources=resources, staging=Staging(inputs=inputs)))


requests = st.builds(asks, st.integers(1, 9000), st.integers(1, 3), st.integers(0, 9))


class Quota(RuleBasedStateMachine):
    """Jobs of one project, node hours."""

    @initialize()
    def open(self) -> None:
        self.home = Path(tempfile.mkdtemp())
        self.fake = FakeScheduler()
        self.fake.cancel_ends = False
        site = {"scheduler": "fake", "identity": {"shared_account": True}}
        self.gateway = open_gateway(
            config_from({"sites": {"fake": site}}, home=self.home), plugins=[("fake", self.fake)]
        )
        brain = Project(name="brain", site="fake", weighting=Weighting.NODE, default=True)
        self.project = replace(brain, time_s=GRANTED_S, space_kb=GRANTED_KB)
        self.gateway.projects.create(ROOT, self.project)
        parts = (self.gateway.store, self.gateway._lifecycle, self.gateway._transports)
        self.reconciler = Reconciler(self.gateway.sites["fake"], *parts, lost_grace_s=0.0)
        self.known: list[int] = []
        self.used_by_deleted = 0

    def teardown(self) -> None:
        if hasattr(self, "gateway"):
            self.gateway.close()
            shutil.rmtree(self.home)

    # --- what happens

    @rule(request=requests)
    def submit(self, request: JobRequest) -> None:
        left = self.balance()
        try:
            self.known.append(self.gateway.jobs.submit(ANN, request).job.id)
        except QuotaExceeded:
            assert not self.fits(request, left)
        else:
            assert self.fits(request, left)

    @rule(wanted=st.lists(requests, min_size=1, max_size=4))
    def submit_many(self, wanted: list[JobRequest]) -> None:
        answers = self.gateway.jobs.submit_many(ANN, wanted)
        self.known += [answer.id for answer in answers if isinstance(answer, Job)]
        assert {type(answer) for answer in answers} <= {Job, QuotaExceeded}

    @precondition(lambda self: self.those({JobState.QUEUED}))
    @rule(pick=picks, ago_s=st.floats(0, 5000))
    def start(self, pick: int, ago_s: float) -> None:
        self.says(self.one(pick, {JobState.QUEUED}), JobState.RUNNING, started_at=time.time() - ago_s)

    @precondition(lambda self: self.those({JobState.RUNNING}))
    @rule(
        pick=picks,
        state=st.sampled_from([JobState.COMPLETED, JobState.FAILED, JobState.CANCELED]),
        ran_s=st.floats(-1, 20_000),
        nodes=st.integers(0, 4),
    )
    def end(self, pick: int, state: JobState, ran_s: float, nodes: int) -> None:
        job = self.one(pick, {JobState.RUNNING})
        seen: dict[str, Any] = {"nodes": tuple(f"n{number}" for number in range(nodes))}
        self.says(job, state, started_at=job.started_at, ended_at=(job.started_at or 0) + ran_s, **seen)

    @precondition(lambda self: self.those({JobState.RUNNING}))
    @rule(pick=picks)
    def requeue(self, pick: int) -> None:
        job = self.one(pick, {JobState.RUNNING})
        self.says(job, JobState.QUEUED, restarts=job.attempt, started_at=None)

    @precondition(lambda self: self.those({JobState.QUEUED}))
    @rule(pick=picks)
    def cancel(self, pick: int) -> None:
        job = self.one(pick, {JobState.QUEUED})
        self.gateway.jobs.cancel(ANN, [job.id])
        self.says(job, JobState.CANCELED, started_at=None)

    @precondition(lambda self: self.those({JobState.QUEUED, JobState.RUNNING}))
    @rule(pick=picks)
    def lose(self, pick: int) -> None:
        job = self.one(pick, {JobState.QUEUED, JobState.RUNNING})
        self.fake.forget(job)
        self.reconciler.poll()
        self.reconciler.poll()
        assert self.gateway.jobs.get(ANN, job.id).reason is Reason.LOST

    @precondition(lambda self: any(job.reason is Reason.LOST for job in self.jobs()) and self.those(ACTIVE))
    @rule(pick=picks, ran_s=st.floats(0, 9000))
    def prove(self, pick: int, ran_s: float) -> None:
        """What was lost turns up; it is seen when there is something else to poll for."""
        lost = [job for job in self.jobs() if job.reason is Reason.LOST]
        job = lost[pick % len(lost)]
        self.says(job, JobState.COMPLETED, restarts=job.attempt - 1, started_at=1000.0, ended_at=1000.0 + ran_s)

    @precondition(lambda self: self.those(frozenset(JobState) - ACTIVE))
    @rule(pick=picks)
    def delete(self, pick: int) -> None:
        job = self.one(pick, frozenset(JobState) - ACTIVE)
        self.used_by_deleted += self.took_s(job)
        self.gateway.jobs.delete(ANN, job.id)
        self.known.remove(job.id)

    # --- what must hold

    @invariant()
    def the_balance_is_what_the_records_say(self) -> None:
        if not hasattr(self, "gateway"):
            return
        balance = self.balance()
        jobs = self.jobs()
        active = [job for job in jobs if job.state in ACTIVE]
        ended = [job for job in jobs if job.state not in ACTIVE]
        assert balance.time.reserved == sum(job.spec.resources.walltime_s * job.spec.resources.nodes for job in active)
        assert balance.time.used == self.used_by_deleted + sum(map(self.took_s, ended))
        assert balance.space.reserved == sum(map(stored_kb, active))
        assert balance.space.used == sum(map(stored_kb, ended))
        for figures, granted in ((balance.time, GRANTED_S), (balance.space, GRANTED_KB)):
            assert granted - figures.used - figures.reserved == figures.left
        assert balance.space.left >= 0

    def took_s(self, job: Job) -> int:
        runs = [run for run in self.gateway.jobs.attempts(ROOT, job.id) if run.started_at and run.ended_at]
        weights = [max(job.spec.resources.nodes, len(run.nodes)) for run in runs]
        lasted = [max(0, math.ceil(run.ended_at - run.started_at)) for run in runs]
        return sum(weight * seconds for weight, seconds in zip(weights, lasted, strict=True))

    # --- parts

    def balance(self) -> Any:
        return self.gateway.projects.balance(self.project, "ann")

    def fits(self, request: JobRequest, left: Any) -> bool:
        resources = request.spec.resources
        time_s, kb = resources.walltime_s * resources.nodes, sum(map(len_kb, request.spec.staging.inputs))
        return time_s <= left.time.left and kb <= left.space.left

    def jobs(self) -> list[Job]:
        return self.gateway.store.jobs.get_many(self.known)

    def those(self, states: Any) -> list[Job]:
        return [job for job in self.jobs() if job.state in states]

    def one(self, pick: int, states: Any) -> Job:
        found = self.those(states)
        return found[pick % len(found)]

    def says(self, job: Job, state: JobState, **seen: Any) -> None:
        seen.setdefault("restarts", job.attempt - 1)
        self.fake.set_state(job, state, **seen)
        self.reconciler.poll()
        assert self.gateway.jobs.get(ANN, job.id).state is state


def len_kb(item: InputFile) -> int:
    return len(item.content) // 1024


def stored_kb(job: Job) -> int:
    return sum(map(len_kb, job.spec.staging.inputs))


def _run(examples: int, steps: int) -> None:
    checks = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(Quota, settings=checks)


def test_random_lives_keep_the_balance_exact() -> None:
    _run(8, 15)


@pytest.mark.full
def test_many_random_lives_keep_the_balance_exact() -> None:
    _run(100, 30)
