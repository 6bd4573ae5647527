"""Jobs that wait for others: what the gateway decides itself, and what its scheduler is told to wait for."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support import ANN, BOB, ROOT, eventually

from hpcgate.errors import InvalidSpec, SchedulerError
from hpcgate.model.job import Job, JobDependency
from hpcgate.model.scheduler import HONOURED
from hpcgate.model.spec import Dependency, JobSpec
from hpcgate.model.state import Evidence, JobState, Reason
from hpcgate.service.admission import JobRequest
from hpcgate.service.dependencies import outlook
from hpcgate.testing.fakes import FakeScheduler

RUN = JobSpec(command="true")


def after(job_id: int, kind: str = "afterok") -> JobRequest:
    return JobRequest(spec=replace(RUN, dependencies=(Dependency(job=job_id, kind=kind),)))


def known(state: JobState, native_id: str | None = "7", started_at: float | None = None) -> Job:
    return Job(
        id=1,
        key="K1",
        owner="ann",
        site="fake",
        spec=RUN,
        state=state,
        native_id=native_id,
        started_at=started_at,
        created_at=0,
        updated_at=0,
    )


def waiting(kind: str) -> Job:
    spec = replace(RUN, dependencies=(Dependency(job=1, kind=kind),))
    return replace(known(JobState.SUBMITTING, None), id=2, key="K2", spec=spec)


@pytest.mark.parametrize(
    ("kind", "state", "free"),
    [
        ("after", JobState.COMPLETED, True),
        ("after", JobState.CANCELED, True),
        ("afterany", JobState.FAILED, True),
        ("afterok", JobState.COMPLETED, True),
        ("afterok", JobState.FAILED, False),
        ("afterok", JobState.CANCELED, False),
        ("afternotok", JobState.COMPLETED, False),
        ("afternotok", JobState.FAILED, True),
        ("afternotok", JobState.CANCELED, True),
    ],
)
def test_an_end_satisfies_a_dependency_or_never_will(kind, state, free):
    seen = outlook(waiting(kind), {1: known(state)})
    assert seen.waits_for == ()
    assert seen.not_yet is None
    assert (seen.never is None) is free


@pytest.mark.parametrize("kind", ["after", "afterany", "afterok", "afternotok"])
def test_a_job_in_the_queue_is_left_to_its_scheduler(kind):
    other = known(JobState.QUEUED)
    assert outlook(waiting(kind), {1: other}).waits_for == (JobDependency(job=other.ref, kind=kind),)


def test_a_job_that_runs_satisfies_after_alone():
    other = known(JobState.RUNNING, started_at=5.0)
    assert outlook(waiting("after"), {1: other}).waits_for == ()
    assert outlook(waiting("afterany"), {1: other}).waits_for != ()


def test_a_job_that_no_scheduler_has_yet_is_waited_for_before_the_submit():
    seen = outlook(waiting("afterok"), {1: known(JobState.SUBMITTING, None)})
    assert "job 1" in (seen.not_yet or "")


def test_a_job_that_was_deleted_can_never_be_waited_for():
    assert "deleted" in (outlook(waiting("afterok"), {}).never or "")


# --- through the service


@pytest.fixture
def fake():
    fake = FakeScheduler()
    fake.info = replace(fake.info, fields={**fake.info.fields, "dependencies": HONOURED})
    return fake


def test_a_scheduler_is_told_the_native_id(gateway, fake):
    first = gateway.jobs.submit(ANN, JobRequest(spec=RUN)).job
    second = gateway.jobs.submit(ANN, after(first.id)).job
    taken = fake.job(second.key).job
    assert [(each.job.native_id, each.kind) for each in taken.depends_on] == [(first.native_id, "afterok")]


def test_one_that_is_satisfied_is_no_news_for_the_scheduler(gateway, fake):
    first = gateway.jobs.submit(ANN, JobRequest(spec=RUN)).job
    fake.set_state(first.native_id, JobState.COMPLETED, exit_code=0)
    gateway.worker().step()
    second = gateway.jobs.submit(ANN, after(first.id)).job
    assert second.state is JobState.QUEUED
    assert fake.job(second.key).job.depends_on == ()


def test_one_that_can_never_start_is_refused_with_the_reason(gateway, fake):
    first = gateway.jobs.submit(ANN, JobRequest(spec=RUN)).job
    fake.set_state(first.native_id, JobState.FAILED, exit_code=3, reason=Reason.EXIT_NONZERO)
    gateway.worker().step()
    with pytest.raises(InvalidSpec, match="afterok, but it is FAILED"):
        gateway.jobs.submit(ANN, after(first.id))
    assert not gateway.jobs.validate(ANN, after(first.id)).valid


def test_one_that_nobody_may_see_is_not_there(gateway):
    first = gateway.jobs.submit(ANN, JobRequest(spec=RUN)).job
    for job_id in (first.id, 999):
        with pytest.raises(InvalidSpec, match=f"there is no job {job_id}"):
            gateway.jobs.submit(BOB, after(job_id))
    assert gateway.jobs.submit(ROOT, after(first.id)).accepted


def test_one_that_is_not_submitted_yet_holds_the_other_back(gateway, fake):
    fake.fail_next("submit", SchedulerError("the controller is busy", transient=True))
    first = gateway.jobs.submit(ANN, JobRequest(spec=RUN)).job
    assert first.state is JobState.SUBMITTING
    second = gateway.jobs.submit(ANN, after(first.id)).job
    assert second.state is JobState.SUBMITTING
    assert f"job {first.id}" in (second.message or "")
    assert fake.taken(second.key) == 0


def test_one_that_ends_wrongly_before_the_submit_ends_the_other(gateway, fake):
    fake.fail_next("submit", SchedulerError("the controller is busy", transient=True))
    first = gateway.jobs.submit(ANN, JobRequest(spec=RUN)).job
    second = gateway.jobs.submit(ANN, after(first.id)).job
    gateway.jobs.cancel(ANN, [first.id])
    worker = gateway.worker()
    ended = eventually(lambda: worker.step() or ((job := gateway.jobs.get(ANN, second.id)).state.final and job))
    assert (ended.state, ended.reason) == (JobState.CANCELED, Reason.DEPENDENCY_NEVER_SATISFIED)
    assert ended.evidence is Evidence.GATEWAY
    assert fake.taken(second.key) == 0
