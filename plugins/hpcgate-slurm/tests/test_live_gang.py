"""Gangs and dependencies on a live cluster, as an ordinary user."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hpcgate_slurm import plugin as slurm
from hpcgate_slurm.settings import SlurmSettings
from live.as_user import UserTransport

from hpcgate.errors import SchedulerError
from hpcgate.model.files import JobFolder
from hpcgate.model.job import JobDependency
from hpcgate.model.spec import ArraySpec, Dependency, JobSpec, Resources, TaskRole, TaskSpec
from hpcgate.model.state import FINAL, JobState, Reason
from hpcgate.testing.conformance.bench import Bench
from hpcgate.testing.conformance.sites import default_site, host_of

pytestmark = [pytest.mark.live, pytest.mark.timeout(240)]
S, R = JobState, Reason


@pytest.fixture(scope="module")
def site(user, tmp_path_factory):
    site = default_site("slurm", slurm, tmp_path_factory.mktemp("site"))
    return replace(site, work_root=f"{user.pw_dir}/gang's folder", event_spool=None)


@pytest.fixture(scope="module")
def transport(cluster, user):
    with UserTransport(user, cluster.environment) as transport:
        yield transport


@pytest.fixture
def bench(site, transport):
    bench = Bench(host_of("slurm", slurm), site, transport, deadline_s=60, every_s=0.2)
    yield bench
    bench.clean(everything=True)


def role(name: str, count: int, code: str, *, resources: Resources | None = None, **more) -> TaskRole:
    task = TaskSpec(command="/bin/sh", args=("-c", code), environment=more.pop("environment", {}))
    return TaskRole(name=name, count=count, task=task, resources=resources or Resources(), **more)


def gang(bench: Bench, *roles: TaskRole, **fields):
    return bench.submit(JobSpec(roles=roles, **fields))


def ends(tasks) -> dict[str, object]:
    return {f"{task.role}.{task.index}": task.reason or task.exit_code for task in tasks}


#: Every task waits until it has seen all the others: it ends only where all of them run at the same time.
MEET = 'touch "met.$HPCGATE_ROLE.$HPCGATE_ROLE_INDEX"; while [ "$(ls -d met.* | wc -l)" -lt 4 ]; do sleep 0.1; done; '


def test_all_roles_run_at_the_same_time_with_what_each_asked_for(bench):
    show = MEET + 'echo "$HPCGATE_ROLE $HPCGATE_ROLE_INDEX of $HPCGATE_ROLE_SIZE, $HPCGATE_CPUS cores, $WORD"'
    job = gang(
        bench,
        role("ps", 1, show, resources=Resources(cpus_per_task=2, memory_mib=200), environment={"WORD": "it's a $x"}),
        role("worker", 3, show, resources=Resources(memory_mib=100)),
        environment={"WORD": "every"},
        resources=Resources(walltime_s=300),
    )
    running = bench.reach(job, S.RUNNING)
    assert {f"{task.role}.{task.index}" for task in running.tasks} == {"ps.0", "worker.0", "worker.1", "worker.2"}
    seen = bench.follow(job).seen
    assert (seen.state, seen.exit_code) == (S.COMPLETED, 0)
    assert ends(seen.tasks) == {"ps.0": 0, "worker.0": 0, "worker.1": 0, "worker.2": 0}
    assert {node for task in seen.tasks for node in task.nodes} == set(seen.nodes)
    assert sorted(bench.output(job).splitlines()) == [
        "ps 0 of 1, 2 cores, it's a $x",
        *(f"worker {index} of 3, 1 cores, every" for index in range(3)),
    ]


def test_a_task_that_fails_fails_the_job_once_all_have_ended(bench):
    job = gang(bench, role("a", 1, "sleep 1; echo late"), role("b", 2, 'exit "$((HPCGATE_ROLE_INDEX * 7))"'))
    seen = bench.follow(job).seen
    assert (seen.state, seen.reason, seen.exit_code) == (S.FAILED, R.EXIT_NONZERO, 7)
    assert ends(seen.tasks) == {"a.0": 0, "b.0": 0, "b.1": R.EXIT_NONZERO}
    assert bench.output(job) == "late\n"


def test_enough_successes_complete_the_job_and_end_the_rest(bench):
    job = gang(bench, role("server", 1, "sleep 600"), role("client", 2, "exit 0", min_succeeded=2))
    seen = bench.follow(job).seen
    assert (seen.state, seen.exit_code) == (S.COMPLETED, 0)
    assert ends(seen.tasks) == {"server.0": R.CANCELED_BY_GATEWAY, "client.0": 0, "client.1": 0}


def test_enough_failures_fail_the_job_and_fewer_are_borne(bench):
    code = '[ "$HPCGATE_ROLE_INDEX" -lt {} ] || exit 0; exit 5'
    borne = gang(bench, role("a", 1, "exit 0"), role("b", 2, code.format(1), min_failed=2))
    ended = gang(bench, role("a", 1, "sleep 600"), role("b", 2, code.format(2), min_failed=2))
    assert bench.follow(borne).seen.state is S.COMPLETED
    seen = bench.follow(ended).seen
    assert (seen.state, seen.exit_code) == (S.FAILED, 5)
    assert ends(seen.tasks) == {"a.0": R.CANCELED_BY_GATEWAY, "b.0": R.EXIT_NONZERO, "b.1": R.EXIT_NONZERO}


def test_one_role_is_a_gang_too(bench):
    job = gang(bench, role("only", 2, "kill -SEGV $$"))
    seen = bench.follow(job).seen
    assert (seen.state, seen.reason, seen.signal) == (S.FAILED, R.SIGNALED, 11)
    assert ends(seen.tasks) == {"only.0": R.SIGNALED, "only.1": R.SIGNALED}


def test_hold_release_signal_and_cancel_reach_the_whole(bench):
    catch = "trap 'echo got; exit 0' USR1; touch \"up.$HPCGATE_ROLE\"; while :; do sleep 0.1; done"
    roles = (role("a", 1, catch), role("b", 1, catch))
    held = gang(bench, *roles, hold=True)
    seen = bench.reach(held, S.HELD)
    assert {task.state for task in seen.tasks} == {S.HELD}
    bench.life.release_job(bench.site, held.ref, bench.transport)
    bench.reach(held, S.RUNNING)
    work = JobFolder(held.folder or "").work
    bench.wait(lambda: {"up.a", "up.b"} <= {item.name for item in bench.transport.list(work)}, lambda: "not both up")
    bench.life.signal_job(bench.site, held.ref, "USR1", bench.transport)
    assert bench.follow(held).seen.state is S.COMPLETED
    assert bench.output(held) == "got\ngot\n"
    canceled = gang(bench, role("a", 1, "sleep 600"), role("b", 1, "sleep 600"))
    bench.reach(canceled, S.RUNNING)
    bench.life.cancel_jobs(bench.site, [canceled.ref], bench.transport)
    seen = bench.follow(canceled).seen
    assert (seen.state, seen.reason) == (S.CANCELED, R.CANCELED_BY_USER)
    assert ends(seen.tasks) == {"a.0": R.CANCELED_BY_USER, "b.0": R.CANCELED_BY_USER}
    assert not bench.life.read_accounting(bench.site, [canceled.ref], bench.transport)[0].tasks[0].exit_code


# --- dependencies


def waiting_for(bench: Bench, other, kind: str = "afterok"):
    job = bench.job(command="true")
    return replace(job, depends_on=(JobDependency(job=other.ref, kind=kind),))


def accounted_end(bench: Bench, job):
    rows = bench.life.read_accounting(bench.site, [job.ref], bench.transport)
    # Its row may be half written at first.
    return rows if rows and rows[0].state in FINAL else None


def test_an_array_is_waited_for_as_a_whole(bench):
    code = "#!/bin/sh\nwhile [ ! -e go ]; do sleep 0.1; done\nexit $((HPCGATE_ARRAY_INDEX == 1))\n"
    array = bench.submit(script=code, array=ArraySpec.parse("0-2"))
    bad, any_end = (
        bench.submit(command="true", dependencies=(Dependency(job=array.id, kind=kind),))
        for kind in ("afterok", "afterany")
    )
    bench.reach(bad, S.QUEUED)
    bench.transport.write(f"{JobFolder(array.folder or '').work}/go", b"")
    seen = bench.follow(bad).seen
    assert (seen.state, seen.reason) == (S.CANCELED, R.DEPENDENCY_NEVER_SATISFIED)
    assert bench.follow(any_end).seen.state is S.COMPLETED
    accounted = bench.wait(lambda: accounted_end(bench, bad), lambda: "accounting does not know its end")
    assert (accounted[0].state, accounted[0].reason) == (S.CANCELED, R.DEPENDENCY_NEVER_SATISFIED)


def test_a_job_that_the_queue_forgot_is_never_waited_for(bench):
    """sbatch itself would take it for satisfied, and the job would run after the failure of the other."""
    stranger = replace(bench.job(command="true"), native_id="99999999")
    with pytest.raises(SchedulerError, match="does not know job 99999999") as caught:
        bench.hand_over(waiting_for(bench, stranger))
    assert caught.value.transient


def test_a_job_that_ended_otherwise_is_left_to_the_gateway(bench):
    other = bench.submit(command="false")
    bench.follow(other)
    with pytest.raises(SchedulerError, match="is FAILED already") as caught:
        bench.hand_over(waiting_for(bench, other))
    assert caught.value.transient
    assert bench.follow(bench.hand_over(waiting_for(bench, other, "afternotok"))).seen.state is S.COMPLETED


# --- the listing as JSON documents


def test_json_documents_tell_the_same_of_jobs_arrays_and_gangs(bench):
    bench.site = replace(bench.site, settings=SlurmSettings(listing="json"))
    array = bench.submit(command="sh", args=("-c", "exit $((HPCGATE_ARRAY_INDEX == 2))"), array=ArraySpec.parse("0-2"))
    both = gang(bench, role("a", 1, "exit 0"), role("b", 1, "exit 0"))
    held = bench.submit(command="true", hold=True)
    assert bench.reach(held, S.HELD).native_reason == "JobHeldUser"
    seen = bench.follow(array).seen
    assert (seen.state, seen.exit_code, [task.exit_code for task in seen.tasks]) == (S.FAILED, 1, [0, 0, 1])
    assert ends(bench.follow(both).seen.tasks) == {"a.0": 0, "b.0": 0}
    bench.life.cancel_jobs(bench.site, [held.ref], bench.transport)
    assert bench.follow(held).seen.reason is R.CANCELED_BY_USER
