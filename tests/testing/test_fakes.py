"""What tests may rely on when they tell the fake what to do."""

import threading

import pytest

from hpcgate.errors import CommandTimeout, InvalidSpec, SchedulerError
from hpcgate.model.job import Job
from hpcgate.model.scheduler import Capability, Presence
from hpcgate.model.site import Site
from hpcgate.model.spec import JobSpec, Resources
from hpcgate.model.state import Evidence, JobState
from hpcgate.testing.fakes import FakeScheduler, FakeSettings
from hpcgate.testing.transports import MemoryTransport

SITE = Site(name="here", scheduler="fake", transport="local", work_root="/jobs", settings=FakeSettings(cpus=8))


def job(number=1, **spec):
    return Job(
        id=number,
        key=f"KEY{number}",
        owner="ann",
        site="here",
        spec=JobSpec(**(spec or {"command": "true"})),
        state=JobState.SUBMITTING,
        folder=f"/jobs/KEY{number}",
        created_at=1.0,
        updated_at=1.0,
    )


@pytest.fixture
def clock():
    return lambda: 100.0


@pytest.fixture
def fake(clock):
    return FakeScheduler(clock=clock)


@pytest.fixture
def transport():
    return MemoryTransport()


def poll(fake, transport):
    return fake.hpcgate_poll_jobs(SITE, [], transport)


def test_states_are_what_the_test_says(fake, transport):
    fake.hpcgate_submit_job(SITE, job(), transport)
    seen = poll(fake, transport).observations["1"]
    assert (seen.state, seen.evidence, seen.key, seen.submitted_at) == (JobState.QUEUED, Evidence.QUEUE, "KEY1", 100.0)
    fake.set_state("KEY1", JobState.RUNNING, nodes=("n1",), restarts=2)
    fake.set_state("1", JobState.FAILED, exit_code=3)
    seen = poll(fake, transport).observations["1"]
    assert (seen.state, seen.exit_code, seen.restarts, seen.nodes) == (JobState.FAILED, 3, 2, ("n1",))
    assert (seen.started_at, seen.ended_at) == (100.0, 100.0)


def test_a_job_that_is_forgotten_is_known_to_accounting_only_if_the_test_says_so(fake, transport):
    ref = job().ref
    native_id = fake.hpcgate_submit_job(SITE, job(), transport).native_id
    ref = type(ref)(id=1, key="KEY1", native_id=native_id, folder="/jobs/KEY1")
    fake.set_state(ref, JobState.RUNNING)
    fake.forget(ref)
    assert poll(fake, transport).observations == {}
    assert fake.hpcgate_read_accounting(SITE, [ref], transport) == []
    assert fake.hpcgate_find_by_key(SITE, ref, transport).presence is Presence.ABSENT
    fake.account(ref, JobState.COMPLETED)
    (row,) = fake.hpcgate_read_accounting(SITE, [ref], transport)
    assert (row.exit_code, row.evidence, row.started_at) == (0, Evidence.ACCOUNTING, 100.0)
    assert fake.hpcgate_find_by_key(SITE, ref, transport).native_id == "1"


def test_a_lost_answer_is_a_job_that_was_taken(fake, transport):
    fake.lose_answer_next_submit()
    with pytest.raises(CommandTimeout):
        fake.hpcgate_submit_job(SITE, job(), transport)
    assert fake.taken("KEY1") == 1
    assert fake.hpcgate_find_by_key(SITE, job().ref, transport).presence is Presence.PRESENT
    fake.hpcgate_submit_job(SITE, job(), transport)
    assert fake.taken("KEY1") == 2


def test_planned_errors_come_once_each_and_nothing_happens(fake, transport):
    fake.fail_next("submit", SchedulerError("busy"), times=2)
    for _ in range(2):
        with pytest.raises(SchedulerError):
            fake.hpcgate_submit_job(SITE, job(), transport)
    assert fake.jobs == ()
    fake.hpcgate_submit_job(SITE, job(), transport)
    assert fake.calls["submit"] == 3


def test_a_paused_hook_waits(fake, transport):
    thread = threading.Thread(target=fake.hpcgate_submit_job, args=(SITE, job(), transport))
    with fake.pause("submit") as waits:
        thread.start()
        assert waits.wait(30)
        assert fake.jobs == ()
    thread.join()
    assert len(fake.jobs) == 1


def test_unclaimed_capabilities_answer_none(transport):
    fake = FakeScheduler(capabilities=frozenset())
    fake.hpcgate_submit_job(SITE, job(), transport)
    ref = type(job().ref)(id=1, key="KEY1", native_id="1", folder="/jobs/KEY1")
    assert fake.hpcgate_hold_job(SITE, ref, transport) is None
    assert fake.hpcgate_signal_job(SITE, ref, "TERM", transport) is None
    assert fake.hpcgate_read_accounting(SITE, [ref], transport) is None
    assert fake.hpcgate_describe_site(SITE, transport) is None


def test_claims_everything_by_default(fake):
    assert fake.hpcgate_scheduler_info().capabilities == frozenset(Capability)


def test_more_cores_than_there_are_is_refused(fake, transport):
    with pytest.raises(InvalidSpec, match="9 cores are wanted; the site has 8"):
        fake.hpcgate_submit_job(SITE, job(command="true", resources=Resources(cpus_per_node=9)), transport)


def test_held_jobs_wait_and_running_ones_cannot_be_held(fake, transport):
    fake.hpcgate_submit_job(SITE, job(command="true", hold=True), transport)
    ref = type(job().ref)(id=1, key="KEY1", native_id="1", folder="/jobs/KEY1")
    assert fake.job("KEY1").state is JobState.HELD
    fake.hpcgate_release_job(SITE, ref, transport)
    fake.set_state(ref, JobState.RUNNING)
    with pytest.raises(SchedulerError, match="cannot hold job 1: it is RUNNING"):
        fake.hpcgate_hold_job(SITE, ref, transport)


def test_a_cancel_that_takes_its_time(fake, transport):
    fake.cancel_ends = False
    fake.hpcgate_submit_job(SITE, job(), transport)
    ref = type(job().ref)(id=1, key="KEY1", native_id="1", folder="/jobs/KEY1")
    assert fake.hpcgate_cancel_jobs(SITE, [ref], transport)
    assert (fake.canceled, fake.job(ref).state) == (["1"], JobState.QUEUED)


def test_it_can_be_asked_from_many_threads(fake, transport):
    threads = [
        threading.Thread(target=fake.hpcgate_submit_job, args=(SITE, job(number), transport)) for number in range(1, 41)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({known.native_id for known in fake.jobs}) == 40
    assert len(poll(fake, transport).observations) == 40
