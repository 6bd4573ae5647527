"""Sites that take no new jobs."""

from __future__ import annotations

import pytest
from support import ANN, ROOT, eventually

from hpcgate.errors import Conflict, Forbidden, InvalidSpec, NotFound, SiteDrained
from hpcgate.model.move import JobDraft
from hpcgate.model.spec import JobSpec
from hpcgate.model.state import JobState
from hpcgate.service.admission import JobRequest

TRUE = JobRequest(spec=JobSpec(command="true"))


def step(gateway, until):
    worker = gateway.worker()
    eventually(lambda: worker.step() or until())
    worker.close()


def reload(gateway, job):
    return gateway.jobs.get(ANN, job.id)


def test_a_drained_site_takes_no_new_jobs_in_any_process_and_what_runs_goes_on(database_url, make_gateway, fake):
    gateway, other = make_gateway(), make_gateway()
    running = gateway.jobs.submit(ANN, TRUE).job
    fake.set_state(running, JobState.RUNNING)
    gateway.site_service.drain(ROOT, "fake.example.org", "  maintenance\n until 18:00 ")
    for one in (gateway, other):
        with pytest.raises(SiteDrained, match="'fake' takes no new jobs now: maintenance until 18:00"):
            one.jobs.submit(ANN, TRUE)
        assert [type(answer) for answer in one.jobs.submit_many(ANN, [TRUE])] == [SiteDrained]
        verdict = one.jobs.validate(ANN, TRUE)
        assert not verdict.valid
        assert verdict.errors[0].field == "site"
    fake.set_state(running, JobState.COMPLETED)
    step(other, lambda: reload(other, running).state is JobState.COMPLETED)
    other.site_service.resume(ROOT, "fake")
    assert gateway.jobs.submit(ANN, TRUE).job.state is JobState.QUEUED


def test_what_was_accepted_waits_and_goes_when_the_site_is_resumed(gateway, fake):
    spec = TRUE.spec
    new, left = (
        JobDraft(key=key, owner="ann", site="fake", spec=spec, folder=f"/nowhere/{key}", state=state)
        for key, state in (("NEW", JobState.CREATED), ("LEFT", JobState.SUBMITTING))
    )
    waiting = gateway.store.jobs.add([new, left], actor="ann").jobs
    gateway.site_service.drain(ROOT, "fake", "maintenance")
    step(gateway, lambda: fake.calls["find"] == 1)  # it may have got there before its process died
    for _ in range(3):
        step(gateway, lambda: True)
    assert (fake.calls["find"], fake.calls["submit"]) == (1, 0)
    gateway.site_service.resume(ROOT, "fake")
    step(gateway, lambda: all(reload(gateway, job).state is JobState.QUEUED for job in waiting))
    assert [fake.taken(job.key) for job in waiting] == [1, 1]


def test_a_replayed_request_gets_its_job_though_the_site_is_drained(gateway):
    job = gateway.jobs.submit(ANN, TRUE, idempotency_key="k").job
    gateway.site_service.drain(ROOT, "fake", "maintenance")
    assert gateway.jobs.submit(ANN, TRUE, idempotency_key="k").job.id == job.id


def test_it_is_seen_everywhere_and_only_admins_say_it(gateway):
    for name, reason, kind in (("fake", " ", InvalidSpec), ("fake", "x" * 501, InvalidSpec), ("other", "r", NotFound)):
        with pytest.raises(kind):
            gateway.site_service.drain(ROOT, name, reason)
    with pytest.raises(Forbidden):
        gateway.site_service.drain(ANN, "fake", "r")
    with pytest.raises(Conflict, match="not drained"):
        gateway.site_service.resume(ROOT, "fake")
    before = gateway.site_service.check(ROOT, "fake")
    gateway.site_service.drain(ROOT, "fake", "one")
    gateway.site_service.drain(ROOT, "fake", "another")
    assert gateway.site_service.get(ANN, "fake").drain.reason == "another"
    assert gateway.status()["sites"]["fake"]["drained"] == "another"
    assert gateway.status()["ready"]
    probe = gateway.site_service.check(ROOT, "fake")
    assert (before.ok, probe.ok, probe.checks[-1].name) == (True, False, "takes jobs")
    with pytest.raises(Forbidden):
        gateway.site_service.resume(ANN, "fake")
    gateway.site_service.resume(ROOT, "fake")
    assert gateway.site_service.get(ANN, "fake").drain is None
    told = [(event.type, event.actor) for event in gateway.events.after(ROOT, 0) if event.type.startswith("site.")]
    assert told == [("site.drained", "root"), ("site.drained", "root"), ("site.resumed", "root")]
    assert not [event for event in gateway.events.after(ANN, 0) if event.type.startswith("site.")]
