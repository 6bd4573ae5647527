"""Quota of projects: reserved at submit, settled at the end, exact at any moment."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from support import ANN, BOB, ROOT, eventually

from hpcgate.config import config_from
from hpcgate.errors import ConfigError, Conflict, Forbidden, InvalidSpec, JobRejected, NotFound, QuotaExceeded
from hpcgate.gateway import Gateway, open_gateway
from hpcgate.model.allocation import Grant, Project
from hpcgate.model.job import Job, TaskObservation
from hpcgate.model.quota import Balance
from hpcgate.model.spec import ArraySpec, InputFile, JobSpec, Resources, Staging
from hpcgate.model.state import JobState, Reason
from hpcgate.service.admission import JobRequest
from hpcgate.testing.fakes import FakeScheduler

HOUR = 3600
BRAIN = Project(name="brain", site="fake", time_s=10 * HOUR, space_kb=1000, default=True)


def asks(hours: float = 1, **fields: Any) -> JobRequest:
    resources = {"walltime_s": int(hours * HOUR), **fields.pop("resources", {})}
    return JobRequest(spec=JobSpec(**{"command": "true", "resources": Resources(**resources), **fields}))


def balance(gateway: Gateway, principal: Any = ANN, project: str = "brain") -> Balance:
    found = gateway.projects.balance(gateway.projects.get(ROOT, project), principal.name)
    for figures in (found.time, found.space):
        if figures.granted is not None:
            assert figures.granted - figures.used - figures.reserved == figures.left
    return found


def hours(gateway: Gateway, principal: Any = ANN, project: str = "brain") -> tuple[float, float, float]:
    """Used, reserved, left."""
    time = balance(gateway, principal, project).time
    return time.used / HOUR, time.reserved / HOUR, time.left / HOUR


@pytest.fixture
def brain(gateway: Gateway) -> Gateway:
    gateway.projects.create(ROOT, BRAIN)
    return gateway


@pytest.fixture
def ends(gateway: Gateway, fake: FakeScheduler) -> Callable[..., Job]:
    """Lets a job end as the queue says it did."""
    worker = gateway.worker()

    def end(job: Job, state: JobState, **seen: Any) -> Job:
        fake.set_state(job, state, **seen)

        def there() -> bool:
            worker.step()
            return gateway.jobs.get(ROOT, job.id).state is state

        eventually(there)
        return gateway.jobs.get(ROOT, job.id)

    return end


# --- the life of a reservation


def test_what_is_reserved_at_submit_is_settled_at_the_end(brain, ends):
    job = brain.jobs.submit(ANN, asks(2)).job
    assert hours(brain) == (0, 2, 8)
    assert job.spec.project == "brain", "a job that names none is of the default project"
    ended = ends(job, JobState.COMPLETED, started_at=1000.0, ended_at=1000.0 + HOUR / 2 - 0.4)
    assert (ended.state, hours(brain)) == (JobState.COMPLETED, (0.5, 0, 9.5)), "each second that began is used"
    (event,) = [each for each in brain.jobs.events(ANN, job.id, limit=100) if each.type == "job.charged"]
    assert event.data == {"project": "brain", "used_s": HOUR // 2, "before_s": 0, "reserved_s": 2 * HOUR}


def test_a_job_that_never_ran_gets_all_of_it_back(brain, ends, fake):
    job = brain.jobs.submit(ANN, asks(3)).job
    brain.jobs.cancel(ANN, [job.id])
    assert ends(job, JobState.CANCELED).state is JobState.CANCELED
    assert hours(brain) == (0, 0, 10)


def test_a_job_that_is_refused_by_the_scheduler_gets_all_of_it_back(brain, fake):
    fake.fail_next("submit", JobRejected("no such partition"))
    with pytest.raises(JobRejected, match="no such partition"):
        brain.jobs.submit(ANN, asks(3))
    assert hours(brain) == (0, 0, 10)


def test_a_quota_that_is_short_refuses_and_says_by_how_much(brain):
    brain.jobs.submit(ANN, asks(8))
    with pytest.raises(
        QuotaExceeded, match=r"has 7200 s \(wall time\) left for 'ann'; the job asks for 10800"
    ) as caught:
        brain.jobs.submit(ANN, asks(3))
    assert (caught.value.quota, caught.value.asked, caught.value.left) == ("time", 3 * HOUR, 2 * HOUR)
    assert hours(brain) == (0, 8, 2)
    assert hours(brain, BOB) == (0, 0, 10), "each user has a quota of its own"
    brain.jobs.submit(ANN, asks(2))


def test_an_overrun_is_charged_and_refuses_what_comes_after(brain, ends):
    job = brain.jobs.submit(ANN, asks(10)).job
    ends(job, JobState.COMPLETED, started_at=1000.0, ended_at=1000.0 + 11 * HOUR)
    assert hours(brain) == (11, 0, -1)
    with pytest.raises(QuotaExceeded, match="-3600 s"):
        brain.jobs.submit(ANN, asks(0.01))


def test_every_attempt_of_a_requeued_job_is_charged(brain, ends):
    job = brain.jobs.submit(ANN, asks(2)).job
    ends(job, JobState.RUNNING, started_at=1000.0)
    ends(job, JobState.QUEUED, restarts=1, ended_at=None)
    assert hours(brain)[1] == 2, "until it has ended, what it asked for stays reserved"
    first = brain.jobs.attempts(ANN, job.id)[0]
    ran_s = -(-(first.ended_at - 1000.0) // 1)
    ends(job, JobState.COMPLETED, restarts=1, started_at=5000.0, ended_at=5000.0 + HOUR)
    assert balance(brain).time.used == HOUR + ran_s
    assert balance(brain).time.reserved == 0


def test_a_proof_that_comes_after_lost_corrects_the_charge(make_gateway, fake):
    gateway = make_gateway(limits={"lost_grace_s": 0.0})
    gateway.projects.create(ROOT, BRAIN)
    job = gateway.jobs.submit(ANN, asks(2)).job
    worker = gateway.worker()
    fake.forget(job)

    def lost() -> bool:
        worker.step()
        return gateway.jobs.get(ANN, job.id).reason is Reason.LOST

    eventually(lost)
    assert hours(gateway) == (0, 0, 10)
    other = gateway.jobs.submit(ANN, asks(1)).job  # something to poll for
    fake.set_state(job, JobState.COMPLETED, started_at=1000.0, ended_at=1000.0 + HOUR)
    eventually(lambda: worker.step() or gateway.jobs.get(ANN, job.id).state is JobState.COMPLETED)
    assert hours(gateway) == (1, 1, 8)
    assert other.state is JobState.QUEUED


def test_a_deleted_job_gives_its_space_back_and_not_its_time(brain, ends):
    inputs = (InputFile(path="a", content=b"x" * 100_000),)
    job = brain.jobs.submit(ANN, asks(1, staging=Staging(inputs=inputs))).job
    assert (balance(brain).space.reserved, balance(brain).space.used) == (98, 0)
    ends(job, JobState.COMPLETED, started_at=1000.0, ended_at=1000.0 + HOUR)
    assert (balance(brain).space.reserved, balance(brain).space.used) == (0, 98)
    with pytest.raises(QuotaExceeded, match="has 902 KiB left for 'ann'; the job asks for 977"):
        brain.jobs.submit(ANN, asks(1, staging=Staging(inputs=(InputFile(path="a", content=b"x" * 1_000_000),))))
    brain.jobs.delete(ANN, job.id)
    assert (balance(brain).space.left, hours(brain)) == (1000, (1, 0, 9))


def test_a_clone_reserves_for_itself(brain):
    job = brain.jobs.submit(ANN, asks(6)).job
    with pytest.raises(QuotaExceeded):
        brain.jobs.clone(ANN, job.id)
    assert hours(brain) == (0, 6, 4)


def test_a_repeated_request_reserves_once(brain):
    first = brain.jobs.submit(ANN, asks(6), idempotency_key="k")
    again = brain.jobs.submit(ANN, asks(6), idempotency_key="k")
    assert (again.job.id, again.replayed, hours(brain)) == (first.job.id, True, (0, 6, 4))


def test_of_a_bulk_submit_comes_in_what_the_quota_is_enough_for(brain):
    answers = brain.jobs.submit_many(ANN, [asks(4), asks(7), asks(5), asks(2), asks(1)])
    assert [type(answer).__name__ for answer in answers] == ["Job", "QuotaExceeded", "Job", "QuotaExceeded", "Job"]
    assert [answer.spec.resources.walltime_s // HOUR for answer in answers if isinstance(answer, Job)] == [4, 5, 1]
    assert hours(brain) == (0, 10, 0)


def test_a_dry_run_says_that_the_quota_is_short_and_reserves_nothing(brain):
    assert brain.jobs.validate(ANN, asks(10)).valid
    answer = brain.jobs.validate(ANN, asks(11))
    assert not answer.valid
    assert answer.errors[0].field == "project"
    assert hours(brain) == (0, 0, 10)


# --- what a job costs


def test_an_array_reserves_for_all_tasks_and_uses_what_each_of_them_took(brain, ends):
    job = brain.jobs.submit(ANN, asks(1, array=ArraySpec.parse("0-3%2"))).job
    assert hours(brain) == (0, 4, 6)
    tasks = tuple(
        TaskObservation(index=index, state=JobState.COMPLETED, started_at=1000.0, ended_at=1000.0 + seconds)
        for index, seconds in enumerate((600, 600.5, 1200))
    )
    canceled = TaskObservation(index=3, state=JobState.CANCELED)
    ends(job, JobState.FAILED, started_at=1000.0, ended_at=9000.0, tasks=(*tasks, canceled))
    assert balance(brain).time.used == 600 + 601 + 1200


@pytest.mark.parametrize(
    ("weighting", "resources", "reserved", "seen", "used"),
    [
        ("wall", {"nodes": 4, "tasks_per_node": 8}, 1, {"nodes": ("a", "b", "c", "d")}, 1),
        ("node", {"nodes": 2}, 2, {"nodes": ("a", "b")}, 2),
        ("node", {"nodes": 1}, 1, {"nodes": ("a", "b", "c")}, 3),
        ("node", {"nodes": 3}, 3, {"nodes": ("a",)}, 3),
        ("core", {"nodes": 2, "tasks_per_node": 2, "cpus_per_task": 2}, 8, {}, 8),
        ("core", {"cpus_range": (2, 6)}, 6, {"cpu_ids": (0, 1), "nodes": ("a",)}, 6),
        ("core", {"tasks": 3}, 3, {"cpu_ids": (0, 1, 2, 3), "nodes": ("a",)}, 4),
    ],
)
def test_an_hour_weighs_as_the_project_counts(gateway, ends, weighting, resources, reserved, seen, used):
    gateway.projects.create(ROOT, replace(BRAIN, weighting=weighting))
    job = gateway.jobs.submit(ANN, asks(1, resources=resources)).job
    assert hours(gateway)[1] == reserved
    ends(job, JobState.RUNNING, started_at=1000.0, **seen)
    ends(job, JobState.COMPLETED, started_at=1000.0, ended_at=1000.0 + HOUR)
    assert hours(gateway) == (used, 0, 10 - used)


def test_without_a_walltime_the_default_counts_and_is_asked_for(make_gateway, fake):
    table = {"site": "fake", "hours": 10, "default": True}
    plain = JobRequest(spec=JobSpec(command="true"))
    gateway = make_gateway(projects={"brain": table})
    with pytest.raises(InvalidSpec, match=r"resources.walltime_s: is required: project 'brain' has a quota"):
        gateway.jobs.submit(ANN, plain)
    gateway = make_gateway(projects={"brain": {**table, "default_walltime_s": 1800}})
    job = gateway.jobs.submit(ANN, plain).job
    assert fake.job(job).job.spec.resources.walltime_s == 1800
    assert hours(gateway) == (0, 0.5, 9.5)


def test_the_default_walltime_of_a_site_comes_after_that_of_the_project(make_gateway, fake):
    site = {"scheduler": "fake", "identity": {"shared_account": True}, "default_walltime_s": 600}
    gateway = make_gateway(sites={"fake": site}, projects={"brain": {"site": "fake", "hours": 1, "default": True}})
    job = gateway.jobs.submit(ANN, JobRequest(spec=JobSpec(command="true"))).job
    assert fake.job(job).job.spec.resources.walltime_s == 600
    assert balance_time(gateway) == 600


def balance_time(gateway: Gateway) -> int:
    return gateway.projects.balance(gateway.projects.get(ROOT, "brain"), "ann").time.reserved


def test_a_project_without_hours_counts_all_the_same(make_gateway, fake):
    gateway = make_gateway(projects={"brain": {"site": "fake", "default": True}})
    job = gateway.jobs.submit(ANN, JobRequest(spec=JobSpec(command="true"))).job
    fake.set_state(job, JobState.COMPLETED, started_at=1000.0, ended_at=1100.0)
    gateway.worker().step()
    time = gateway.projects.balance(gateway.projects.get(ROOT, "brain"), "ann").time
    assert (time.granted, time.used, time.reserved, time.left) == (None, 100, 0, None)


@pytest.mark.parametrize(
    ("scheduler", "script"),
    [
        ("slurm", "#!/bin/sh\n#SBATCH -t 3:00:00 -N 4\ntrue\n"),
        ("pbs", "#!/bin/sh\n#PBS -l walltime=3:00:00,nodes=4\ntrue\n"),
        ("pbs", "#!/bin/sh\n#PBS -l select=3:ncpus=2+1:ncpus=8\n#PBS -l walltime=3:00:00\ntrue\n"),
    ],
)
def test_what_a_script_says_of_itself_counts(tmp_path, monkeypatch, scheduler, script):
    """Nothing is submitted: a dry run looks at the quota too."""
    monkeypatch.setenv("HPCGATE_LOAD_PLUGINS", scheduler)
    project = {"site": "far", "hours": 10, "weighting": "node", "default": True}
    config = config_from({"sites": {"far": {"scheduler": scheduler}}, "projects": {"brain": project}}, home=tmp_path)
    with open_gateway(config) as gateway:
        answer = gateway.jobs.validate(ANN, JobRequest(spec=JobSpec(script=script)))
    assert [error.message for error in answer.errors] == [
        "project 'brain' has 36000 s (node time) left for 'ann'; the job asks for 43200"
    ]


# --- whose it is


def test_all_users_together_have_a_quota_too(gateway):
    gateway.projects.create(ROOT, replace(BRAIN, total_time_s=12 * HOUR))
    gateway.jobs.submit(ANN, asks(8))
    with pytest.raises(QuotaExceeded, match="left for all its users together") as caught:
        gateway.jobs.submit(BOB, asks(5))
    assert (caught.value.quota, caught.value.left) == ("total_time", 4 * HOUR)
    gateway.jobs.submit(BOB, asks(4))


def test_a_member_may_have_a_grant_of_its_own(gateway):
    gateway.projects.create(ROOT, replace(BRAIN, default=False))
    with pytest.raises(InvalidSpec, match="there is no project 'brain'"):
        gateway.jobs.submit(ANN, asks(1, project="brain"))
    assert gateway.projects.put_member(ROOT, "brain", "ann", Grant(time_s=HOUR))
    gateway.jobs.submit(ANN, asks(1, project="brain"))
    with pytest.raises(QuotaExceeded):
        gateway.jobs.submit(ANN, asks(0.1, project="brain"))
    assert not gateway.projects.put_member(ROOT, "brain", "ann", Grant(time_s=2 * HOUR))
    gateway.jobs.submit(ANN, asks(1, project="brain"))
    gateway.projects.remove_member(ROOT, "brain", "ann")
    with pytest.raises(InvalidSpec, match="there is no project 'brain'"):
        gateway.jobs.submit(ANN, asks(1, project="brain"))
    told = [(event.type, event.owner, event.actor) for event in gateway.events.after(ROOT, 0) if event.job_id is None]
    assert told == [
        ("project.created", None, "root"),
        ("project.granted", "ann", "root"),
        ("project.granted", "ann", "root"),
        ("project.revoked", "ann", "root"),
    ]


def test_groups_open_a_project(gateway):
    gateway.projects.create(ROOT, replace(BRAIN, default=False, groups=("lab",)))
    with pytest.raises(InvalidSpec):
        gateway.jobs.submit(ANN, asks(1, project="brain"))
    gateway.jobs.submit(replace(ANN, groups=frozenset({"lab"})), asks(1, project="brain"))
    with pytest.raises(Forbidden, match="no member"):
        gateway.projects.usable(replace(BOB, roles=frozenset({"manager"})), "brain")


def test_a_project_with_active_jobs_stays_and_a_new_one_inherits_nothing(brain, ends):
    job = brain.jobs.submit(ANN, asks(2)).job
    with pytest.raises(Conflict, match="1 jobs that have not ended"):
        brain.projects.remove(ROOT, "brain")
    ends(job, JobState.COMPLETED, started_at=1000.0, ended_at=1000.0 + HOUR)
    brain.projects.remove(ROOT, "brain")
    with pytest.raises(NotFound):
        brain.projects.get(ROOT, "brain")
    brain.projects.create(ROOT, BRAIN)
    assert hours(brain) == (0, 0, 10)
    brain.jobs.delete(ANN, job.id)
    assert balance(brain).space.left == 1000


def test_a_smaller_grant_holds_for_the_next_job(brain):
    brain.jobs.submit(ANN, asks(5))
    brain.projects.update(ROOT, "brain", {"time_s": 4 * HOUR})
    assert hours(brain) == (0, 5, -1)
    with pytest.raises(QuotaExceeded):
        brain.jobs.submit(ANN, asks(0.01))


# --- where a job goes


def test_a_project_gives_account_and_site(make_gateway, fake):
    gateway = make_gateway(
        projects={"brain": {"site": "fake", "account": "b42", "default": True}},
    )
    job = gateway.jobs.submit(ANN, asks(1, project="brain")).job
    assert fake.job(job).job.spec.account == "b42"
    with pytest.raises(InvalidSpec, match="account: is 'other', but project 'brain' has 'b42'; leave it out"):
        gateway.jobs.submit(ANN, asks(1, account="other"))
    assert gateway.jobs.clone(ANN, job.id).job.spec.account == "b42"


def test_a_site_may_take_no_job_without_a_project(make_gateway):
    site = {"scheduler": "fake", "identity": {"shared_account": True}, "require_project": True}
    gateway = make_gateway(sites={"fake": site}, projects={"brain": {"site": "fake", "members": {"ann": {}}}})
    with pytest.raises(InvalidSpec, match="project: is required: site 'fake' takes no job without one"):
        gateway.jobs.submit(ANN, asks(1))
    gateway.jobs.submit(ANN, asks(1, project="brain"))


def test_a_project_that_its_scheduler_cannot_honour_does_not_start(make_gateway):
    with pytest.raises(ConfigError, match=r"\[projects.brain\] qos: scheduler 'fake' cannot honour it"):
        make_gateway(projects={"brain": {"site": "fake", "qos": "fast"}})


def test_a_site_has_one_default_project(brain):
    with pytest.raises(Conflict, match="has the default project 'brain' already"):
        brain.projects.create(ROOT, replace(BRAIN, name="other"))


# --- at the same time


def test_fifty_at_the_same_time_on_a_quota_for_twenty(database_url, make_gateway):
    gateways = [make_gateway() for _ in range(5)]
    gateways[0].projects.create(ROOT, replace(BRAIN, time_s=20 * HOUR))
    gate = threading.Barrier(50)
    answers: list[str] = []

    def submit(gateway: Gateway) -> None:
        gate.wait()
        try:
            gateway.jobs.submit(ANN, asks(1))
            answers.append("taken")
        except QuotaExceeded:
            answers.append("refused")
        finally:
            gateway.release_thread()

    threads = [threading.Thread(target=submit, args=(gateways[number % 5],)) for number in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (answers.count("taken"), answers.count("refused")) == (20, 30)
    assert hours(gateways[0]) == (0, 20, 0)
