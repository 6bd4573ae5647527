"""The tasks of a job as the gateway shows them, with a scheduler that a test moves."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from support import ANN

from hpcgate.errors import TransportError
from hpcgate.model.job import TaskObservation
from hpcgate.model.scheduler import HONOURED
from hpcgate.model.spec import JobSpec, TaskSpec
from hpcgate.model.state import JobState, Reason
from hpcgate.service.admission import JobRequest
from hpcgate.service.decide import ended_tasks

pytestmark = pytest.mark.usefixtures("honouring")

DONE = {"started_at": 10, "ended_at": 11, "exit_code": 0, "signal": None}
FAILED = {"started_at": 11, "ended_at": 12, "exit_code": 3, "signal": None}
RUNS = {"started_at": 11}
STOPPED = {"started_at": 11, "ended_at": 12, "exit_code": None, "signal": 15, "stopped": True}


@pytest.fixture
def honouring(fake):
    fake.info = replace(fake.info, fields={**fake.info.fields, "tasks": HONOURED})


@pytest.fixture
def reconciler(gateway):
    return gateway.worker()._loops["fake"]._reconciler


@pytest.fixture
def job(gateway):
    tasks = (TaskSpec(command="true"),) * 3
    return gateway.jobs.submit(ANN, JobRequest(spec=JobSpec(tasks=tasks))).job


def record(job, *tasks, attempt=1, native_id=None):
    Path(job.folder).mkdir(parents=True, exist_ok=True)
    data = {"native_id": native_id or job.native_id, "node": "n1", "tasks": list(tasks)}
    Path(f"{job.folder}/tasks.{attempt}").write_text(json.dumps(data))


def tell(gateway, job):
    spool = Path(gateway.sites["fake"].event_spool)
    spool.mkdir(exist_ok=True)
    (spool / job.key).touch()


def shown(gateway, job):
    found = gateway.jobs.tasks(ANN, job.id).items
    return [(task.state.value, task.reason and task.reason.value, task.exit_code) for task in found]


WAITS = ("QUEUED", None, None)
RAN = ("COMPLETED", None, 0)
NEVER = ("CANCELED", "DEPENDENCY_NEVER_SATISFIED", None)


def test_tasks_wait_from_the_beginning(gateway, job):
    assert shown(gateway, job) == [WAITS] * 3


def test_record_is_read_when_the_job_leaves_word_and_no_command_follows(gateway, reconciler, fake, job):
    fake.set_state(job.native_id, JobState.RUNNING)
    reconciler.poll()
    polls = fake.calls["poll"]
    record(job, DONE, RUNS)
    tell(gateway, job)
    assert reconciler.read_event_spool() is False
    assert shown(gateway, job) == [RAN, ("RUNNING", None, None), WAITS]
    assert fake.calls["poll"] == polls
    tell(gateway, job)
    assert reconciler.read_event_spool() is True  # nothing new: what happened only the queue can tell
    record(job, DONE, STOPPED)
    tell(gateway, job)
    assert reconciler.read_event_spool() is True


def test_record_of_another_native_id_does_not_count(gateway, reconciler, fake, job):
    record(job, DONE, DONE, DONE, native_id="stranger")
    fake.set_state(job.native_id, JobState.RUNNING)
    reconciler.poll()
    assert shown(gateway, job) == [WAITS] * 3


FINALS = {
    "failed": (JobState.FAILED, (DONE, FAILED), [RAN, ("FAILED", "EXIT_NONZERO", 3), NEVER]),
    "completed, record late": (JobState.COMPLETED, (DONE, RUNS), [RAN, RAN, RAN]),
    "timeout": (JobState.FAILED, (DONE, STOPPED), [RAN, ("FAILED", "TIMEOUT", None), NEVER]),
    "canceled": (
        JobState.CANCELED, (DONE, STOPPED), [RAN, *[("CANCELED", "CANCELED_BY_ADMIN", None)] * 2],
    ),
    "never started": (JobState.CANCELED, None, [("CANCELED", "CANCELED_BY_ADMIN", None)] * 3),
}  # fmt: skip


@pytest.mark.parametrize("case", FINALS)
def test_end_of_the_job_completes_its_tasks(gateway, reconciler, fake, job, case):
    state, tasks, expected = FINALS[case]
    if tasks is not None:
        record(job, *tasks)
    reason = {"timeout": {"reason": Reason.TIMEOUT}}.get(case, {})
    fake.set_state(job.native_id, state, **reason)
    reconciler.poll()
    assert gateway.jobs.get(ANN, job.id).state is state
    assert shown(gateway, job) == expected


def test_new_attempt_begins_with_tasks_that_wait(gateway, reconciler, fake, job):
    record(job, DONE, RUNS)
    fake.set_state(job.native_id, JobState.RUNNING, restarts=0)
    reconciler.poll()
    assert shown(gateway, job)[0] == RAN
    fake.set_state(job.native_id, JobState.QUEUED, restarts=1, started_at=None)
    reconciler.poll()
    assert shown(gateway, job) == [WAITS] * 3
    assert gateway.jobs.tasks(ANN, job.id, attempt=1).items[0].state is JobState.COMPLETED


def test_end_waits_a_while_for_a_folder_that_does_not_answer(gateway, reconciler, fake, job, monkeypatch):
    record(job, DONE, FAILED)
    fake.set_state(job.native_id, JobState.FAILED, exit_code=3)

    def silent(*args):
        raise TransportError("no answer")

    with monkeypatch.context() as patch:
        patch.setattr("hpcgate.service.progress.read_tasks", silent)
        reconciler.poll()
        assert gateway.jobs.get(ANN, job.id).state is JobState.QUEUED
    reconciler.poll()
    assert shown(gateway, job) == [RAN, ("FAILED", "EXIT_NONZERO", 3), NEVER]


def test_tasks_of_which_nothing_is_known_are_lost():
    ended = ended_tasks(None, 2, JobState.FAILED, Reason.EXIT_NONZERO, 5.0)
    assert ended == tuple(TaskObservation(index=n, state=JobState.FAILED, reason=Reason.LOST) for n in (0, 1))
