"""What is waited for, and for how long."""

from __future__ import annotations

import threading

import pytest
from support import ANN, eventually

from hpcgate.errors import CommandTimeout, NotFound, SchedulerError
from hpcgate.model.spec import JobSpec
from hpcgate.model.state import JobState, Reason
from hpcgate.service.admission import JobRequest
from hpcgate.service.deadline import within

TRUE = JobRequest(spec=JobSpec(command="true"))


def test_work_that_is_done_in_time():
    released = threading.Event()
    assert within(20, lambda: 7, released.set) == 7
    eventually(released.is_set)

    def fail():
        raise NotFound("no")

    with pytest.raises(NotFound):
        within(20, fail, lambda: None)


def test_work_that_is_not(caplog):
    gate, released = threading.Event(), threading.Event()

    def fail():
        gate.wait(20)
        raise NotFound("too late to matter")

    with pytest.raises(CommandTimeout, match=r"within 0\.1 s"):
        within(0.1, fail, released.set)
    gate.set()
    eventually(released.is_set)
    assert "too late to matter" in caplog.text


def test_a_submit_in_time_is_like_any_other(gateway):
    result = gateway.jobs.submit(ANN, TRUE, within_s=20)
    assert (result.accepted, result.job.native_id) == (True, "1")


def test_a_job_that_is_not_taken_is_withdrawn(gateway, fake):
    fake.fail_next("submit", SchedulerError("busy"))
    with pytest.raises(SchedulerError.__base__, match="does not take the job: busy"):
        gateway.jobs.submit(ANN, TRUE, within_s=20)
    worker = gateway.worker()
    eventually(lambda: worker.step() or gateway.jobs.get(ANN, 1).state.final)
    job = gateway.jobs.get(ANN, 1)
    assert (job.state, job.reason) == (JobState.CANCELED, Reason.SUBMIT_TIMEOUT)
    assert fake.jobs == ()


def test_a_job_whose_answer_was_lost_is_withdrawn(gateway, fake):
    fake.lose_answer_next_submit()
    with pytest.raises(CommandTimeout, match="did not say that it took the job: "):
        gateway.jobs.submit(ANN, TRUE, within_s=20)
    assert gateway.jobs.get(ANN, 1).canceling


def test_a_job_that_is_taken_after_all_is_canceled(gateway, fake):
    with fake.pause("submit"):
        with pytest.raises(CommandTimeout, match=r"timeout: site 'fake' did not take the job within 0\.2 s"):
            gateway.jobs.submit(ANN, TRUE, within_s=0.2)
        assert gateway.jobs.get(ANN, 1).canceling
    worker = gateway.worker()
    eventually(lambda: worker.step() or gateway.jobs.get(ANN, 1).state.final)
    assert gateway.jobs.get(ANN, 1).reason is Reason.SUBMIT_TIMEOUT
    assert "1" in fake.canceled
