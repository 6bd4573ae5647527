"""Tasks of an array that are canceled, or run again, by themselves."""

from __future__ import annotations

import pytest
from support import ANN, BOB, ROOT, eventually

from hpcgate.errors import Conflict, InvalidSpec, NotFound, NotSupported
from hpcgate.model.job import TaskObservation
from hpcgate.model.scheduler import Capability
from hpcgate.model.spec import ArraySpec, JobSpec, arrays_of, indices_of
from hpcgate.model.state import JobState
from hpcgate.service.admission import JobRequest

ARRAY = JobRequest(spec=JobSpec(command="true", array=ArraySpec(start=1, stop=9, limit=2)))


@pytest.fixture
def job(gateway):
    return gateway.jobs.submit(ANN, ARRAY).job


def step(gateway, until):
    worker = gateway.worker()
    eventually(lambda: worker.step() or until())
    worker.close()


def ended(gateway, fake, job, bad):
    fake.set_state(
        job,
        JobState.FAILED,
        tasks=tuple(
            TaskObservation(index=index, state=JobState.FAILED if index in bad else JobState.COMPLETED)
            for index in range(1, 9)  # the last one never began
        ),
    )
    step(gateway, lambda: gateway.jobs.get(ANN, job.id).state is JobState.FAILED)


@pytest.mark.parametrize(
    ("indices", "arrays"),
    [
        ([5], ["5-5"]),
        ([3, 1, 2, 1], ["1-3"]),
        ([1, 3, 5, 6, 7, 20], ["1-5:2", "6-7", "20-20"]),
        (range(0, 100, 7), ["0-98:7"]),
    ],
)
def test_indices_are_split_into_evenly_spaced_arrays(indices, arrays):
    made = arrays_of(indices)
    assert [str(array) for array in made] == arrays
    assert sorted(index for array in made for index in array.indices()) == sorted(set(indices))


def test_indices_are_read_as_people_write_them():
    assert indices_of("3,5-7,10-20:5,6") == (3, 5, 6, 7, 10, 15, 20)
    for wrong in ("", "3,", "7-5", "1-9%2", "-1", "x"):
        with pytest.raises(InvalidSpec):
            indices_of(wrong)


def test_some_tasks_are_canceled_and_the_others_go_on(gateway, fake, job):
    fake.set_state(job, JobState.RUNNING)
    step(gateway, lambda: gateway.jobs.get(ANN, job.id).state is JobState.RUNNING)
    answer = gateway.jobs.cancel_tasks(ANN, job.id, [7, 3, 7])
    assert (answer.state, answer.canceling) == (JobState.RUNNING, False)
    step(gateway, lambda: len(gateway.jobs.tasks(ANN, job.id).items) == 9)
    canceled = [task.index for task in gateway.jobs.tasks(ANN, job.id).items if task.state is JobState.CANCELED]
    assert canceled == [3, 7]
    (told,) = [event for event in gateway.jobs.events(ANN, job.id) if event.type == "job.requested"]
    assert (told.data["verb"], told.data["indices"], told.actor) == ("cancel tasks", [3, 7], "ann")
    gateway.jobs.cancel_tasks(ROOT, job.id, [1, 2, 4, 5, 6, 8, 9])
    step(gateway, lambda: gateway.jobs.get(ANN, job.id).state is JobState.CANCELED)


def test_what_cannot_be_canceled_is_said(gateway, fake, job):
    plain = gateway.jobs.submit(ANN, JobRequest(spec=JobSpec(command="true"))).job
    for job_id, indices, error, said in (
        (plain.id, [1], InvalidSpec, "is no array"),
        (job.id, [0], InvalidSpec, "0 is none of 1-9"),
        (job.id, [], InvalidSpec, "at least one"),
    ):
        with pytest.raises(error, match=said):
            gateway.jobs.cancel_tasks(ANN, job_id, indices)
    with pytest.raises(NotFound):
        gateway.jobs.cancel_tasks(BOB, job.id, [1])
    ended(gateway, fake, job, {2})
    with pytest.raises(Conflict, match="must be"):
        gateway.jobs.cancel_tasks(ANN, job.id, [1])


def test_a_scheduler_without_the_capability_says_so(make_gateway, fake):
    fake.info = fake.info.__class__(
        name="fake",
        version="1.0",
        summary="without",
        settings=fake.info.settings,
        fields=fake.info.fields,
        capabilities=frozenset(Capability) - {Capability.CANCEL_TASKS},
    )
    gateway = make_gateway()
    job = gateway.jobs.submit(ANN, ARRAY).job
    with pytest.raises(NotSupported, match="cannot cancel tasks"):
        gateway.jobs.cancel_tasks(ANN, job.id, [1])


def test_failed_tasks_run_again_as_a_linked_array(database_url, gateway, fake, job):
    with pytest.raises(Conflict, match="once it has ended"):
        gateway.jobs.retry(ANN, job.id)
    ended(gateway, fake, job, {3, 5, 7})
    (again,) = gateway.jobs.retry(ANN, job.id, idempotency_key="once")
    assert (str(again.spec.array), again.retry_of, again.owner) == ("3-9:2%2", job.id, "ann")
    assert gateway.jobs.retry(ANN, job.id, idempotency_key="once")[0].id == again.id
    assert gateway.jobs.get(ANN, again.id).retry_of == job.id
    two = gateway.jobs.retry(ANN, job.id, [1, 2, 9])
    assert [str(each.spec.array) for each in two] == ["1-2%2", "9-9%2"]
    with pytest.raises(InvalidSpec, match="10 is none of"):
        gateway.jobs.retry(ANN, job.id, [10])
    with pytest.raises(NotFound):
        gateway.jobs.retry(BOB, job.id)


def test_nothing_to_run_again(gateway, fake, job):
    plain = gateway.jobs.submit(ANN, JobRequest(spec=JobSpec(command="true"))).job
    done = tuple(TaskObservation(index=index, state=JobState.COMPLETED) for index in range(1, 10))
    fake.set_state(job, JobState.COMPLETED, tasks=done)
    step(gateway, lambda: gateway.jobs.get(ANN, job.id).state is JobState.COMPLETED)
    with pytest.raises(Conflict, match="all tasks"):
        gateway.jobs.retry(ANN, job.id)
    with pytest.raises(InvalidSpec, match="is no array"):
        gateway.jobs.retry(ANN, plain.id)
