"""A wish to cancel is never lost, whatever happens to the job at that moment."""

from __future__ import annotations

import threading

import pytest
from support import ANN, ROOT, eventually

from hpcgate.model.query import JobFilter
from hpcgate.model.spec import JobSpec
from hpcgate.model.state import JobState, Reason
from hpcgate.service.admission import JobRequest


@pytest.fixture
def job(gateway):
    return gateway.jobs.submit(ANN, JobRequest(spec=JobSpec(command="true"))).job


def run(gateway, fake, job):
    fake.set_state(job, JobState.RUNNING)
    worker = gateway.worker()
    eventually(lambda: worker.step() or gateway.jobs.get(ANN, job.id).state is JobState.RUNNING)
    return worker


def test_a_cancel_holds_though_the_job_goes_on_between_look_and_note(gateway, fake, job, monkeypatch):
    run(gateway, fake, job)
    monkeypatch.setattr(gateway.store.jobs, "get", lambda job_id: job)  # as it was before it ran
    (canceled,) = gateway.jobs.cancel(ANN, [job.id])
    assert (canceled.state, canceled.canceling) == (JobState.RUNNING, True)
    assert fake.calls["cancel"] == 1


def test_who_wished_it_while_the_queue_was_asked_is_told(gateway, fake, job):
    """The scheduler says that the job's own account canceled it: all that is asked of it, is asked as that."""
    worker = run(gateway, fake, job)
    with fake.pause("poll") as asked:
        before = fake.calls["poll"]
        thread = threading.Thread(target=lambda: eventually(lambda: worker.step() or fake.calls["poll"] > before))
        thread.start()
        assert asked.wait(60)
        gateway.jobs.cancel(ROOT, [job.id])
        fake.set_state(job, JobState.CANCELED, reason=Reason.CANCELED_BY_USER)
    thread.join()
    ended = gateway.jobs.get(ANN, job.id)
    assert (ended.state, ended.reason) == (JobState.CANCELED, Reason.CANCELED_BY_ADMIN)


def test_a_job_that_ends_between_look_and_note_stays_as_it_ended(gateway, fake, job, monkeypatch):
    fake.set_state(job, JobState.COMPLETED)
    worker = gateway.worker()
    eventually(lambda: worker.step() or gateway.jobs.get(ANN, job.id).state.final)
    monkeypatch.setattr(gateway.store.jobs, "get", lambda job_id: job)
    (ended,) = gateway.jobs.cancel(ANN, [job.id])
    assert (ended.state, ended.canceling) == (JobState.COMPLETED, False)
    assert fake.calls["cancel"] == 0


def test_a_plugin_that_breaks_on_a_cancel_loses_no_wish(gateway, fake, job):
    fake.fail_next("cancel", ZeroDivisionError("bug"))
    (wished,) = gateway.jobs.cancel(ANN, [job.id])
    assert wished.canceling
    worker = gateway.worker()
    eventually(lambda: worker.step() or gateway.jobs.get(ANN, job.id).state is JobState.CANCELED)


def without_its_site(make_gateway, gateway, fake, job):
    run(gateway, fake, job)
    return make_gateway(sites={"other": {"scheduler": "fake"}})


def test_a_job_whose_site_was_taken_away_is_ended_by_an_admin(make_gateway, gateway, fake, job):
    left = without_its_site(make_gateway, gateway, fake, job)
    (ended,) = left.jobs.cancel(ROOT, [job.id])
    assert (ended.state, ended.reason) == (JobState.CANCELED, Reason.CANCELED_BY_GATEWAY)
    assert "'fake' is not configured any more" in ended.message
    left.jobs.delete(ROOT, job.id)
    assert left.jobs.count(ROOT, JobFilter()) == 0


def test_the_owners_wish_waits_for_the_site_to_come_back(make_gateway, gateway, fake, job):
    (wished,) = without_its_site(make_gateway, gateway, fake, job).jobs.cancel(ANN, [job.id])
    assert (wished.state, wished.canceling) == (JobState.RUNNING, True)
    worker = gateway.worker()
    eventually(lambda: worker.step() or gateway.jobs.get(ANN, job.id).state is JobState.CANCELED)
