"""Things go wrong on a live Slurm while jobs run: what the events tell of each job must be what happened to it."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
from live.slurm_gateway import WAIT, AsUser, configured, go, history, reached, submit, wait_for_polls
from live.worker import running
from support import ANN, eventually

from hpcgate.model.spec import Dependency, JobSpec, Resources
from hpcgate.model.state import Evidence, JobState, Reason
from hpcgate.service.admission import JobRequest

pytestmark = [pytest.mark.live, pytest.mark.timeout(240)]

RAN = ["SUBMITTING", "QUEUED", "RUNNING"]
S, R = JobState, Reason
KINDS = ("afterok", "afternotok")


@pytest.fixture(scope="module")
def plugin(cluster, user):
    return AsUser(cluster, user)


@pytest.fixture(scope="module")
def _one_gateway(plugin, user, tmp_path_factory):
    with running(configured(tmp_path_factory.mktemp("home"), f"{user.pw_dir}/it's for jobs"), plugin) as gateway:
        yield gateway


@pytest.fixture
def gateway(_one_gateway, cluster):
    yield _one_gateway
    cluster.clear()


def outcome(job):
    return job.state, job.reason, job.exit_code, job.signal


# --- daemons that are away


@pytest.mark.parametrize("away_s", [0, pytest.param(60, marks=pytest.mark.full)])
def test_slurmctld_away(gateway, cluster, away_s):
    """Jobs run, end and come in meanwhile; whoever ends with a record is known to have ended all the same."""
    running_on, ends = submit(gateway, WAIT), submit(gateway, WAIT + "exit 3\n")
    for job in (running_on, ends):
        reached(gateway, job, S.RUNNING)
    until = time.monotonic() + away_s
    with cluster.without("slurmctld"):
        go(ends)
        ended = reached(gateway, ends)
        assert (*outcome(ended), ended.evidence) == (S.FAILED, R.EXIT_NONZERO, 3, None, Evidence.EXIT_FILE)
        eventually(lambda: not gateway.status()["sites"]["kit"]["ok"], 60)
        late = gateway.jobs.submit(ANN, JobRequest(spec=JobSpec(command="true")))
        assert not late.accepted
        eventually(lambda: time.monotonic() >= until, away_s + 1)
        assert gateway.jobs.get(ANN, running_on.id).state is S.RUNNING
    eventually(lambda: gateway.status()["sites"]["kit"]["ok"], 60)
    go(running_on)
    assert outcome(reached(gateway, running_on)) == (S.COMPLETED, None, 0, None)
    assert outcome(reached(gateway, late.job)) == (S.COMPLETED, None, 0, None)
    assert history(gateway, running_on) == [*RAN, "COMPLETED"]
    assert history(gateway, ends) == [*RAN, "FAILED"]
    assert history(gateway, late.job) == [*RAN, "COMPLETED"]


def test_gateway_away_until_slurm_has_forgotten_the_jobs(plugin, cluster, user, tmp_path):
    """And then accounting does not answer: nobody is called LOST, and what is told later is the truth."""
    config = configured(tmp_path, f"{user.pw_dir}/jobs meanwhile")
    with running(config, plugin) as gateway:
        jobs = [submit(gateway, WAIT + ending) for ending in ("", "exit 3\n", "sleep 600\n", "")]
        for job in jobs:
            reached(gateway, job, S.RUNNING)
    with cluster.changed(MinJobAge=2):
        for job in jobs:
            go(job)
        well, badly, canceled, silent = jobs
        for job in (well, badly, silent):
            eventually(Path(job.folder, "exit.1").exists, 30)
        Path(silent.folder, "exit.1").unlink()  # accounting alone tells of this one
        cluster.run("scancel", canceled.native_id, check=True)
        eventually(lambda: not cluster.run("squeue", "-h", "-t", "all", "-o", "%A").stdout.split(), 90)
        # What slurmdbd has not written when it is stopped stays half a record, until slurmctld comes round to it.
        for job in jobs:
            _accounted(cluster, user, job)
        with cluster.without("slurmdbd"), running(config, plugin) as gateway:
            assert outcome(reached(gateway, well)) == (S.COMPLETED, None, 0, None)
            assert outcome(reached(gateway, badly)) == (S.FAILED, R.EXIT_NONZERO, 3, None)
            # Longer than the time of grace of one second, over several rounds.
            wait_for_polls(gateway, 4)
            states = [gateway.jobs.get(ANN, job.id).state for job in (canceled, silent)]
            assert states == [S.RUNNING, S.RUNNING], "not lost: accounting was not there to be asked"
    with running(config, plugin) as gateway:
        job = reached(gateway, canceled)
        assert (job.state, job.reason, job.evidence) == (S.CANCELED, R.CANCELED_BY_ADMIN, Evidence.ACCOUNTING)
        job = reached(gateway, silent)
        assert (*outcome(job), job.evidence) == (S.COMPLETED, None, 0, None, Evidence.ACCOUNTING)
        assert [history(gateway, job)[3:] for job in jobs] == [["COMPLETED"], ["FAILED"], ["CANCELED"], ["COMPLETED"]]


def _accounted(cluster, user, job):
    columns = ("sacct", "-anPX", "-j", job.native_id, "-o", "UID,State,SubmitLine")
    whole = re.compile(rf"{user.pw_uid}\|(COMPLETED|FAILED|CANCELLED)[^|]*\|.*{job.key}")
    eventually(lambda: whole.search(cluster.run(*columns).stdout), 60)


# --- what others do to jobs


@pytest.mark.timeout(300)
def test_requeued_from_outside(gateway, cluster):
    job = submit(gateway, f"echo $HPCGATE_ATTEMPT >>attempts\n{WAIT}")
    eventually(Path(job.folder, "work", "attempts").exists, 30)
    reached(gateway, job, S.RUNNING)
    cluster.run("scontrol", "requeue", job.native_id, check=True)
    assert reached(gateway, job, S.QUEUED, attempt=2).native_id == job.native_id
    with cluster.hurrying():
        reached(gateway, job, S.RUNNING, attempt=2)
    go(job)
    # Slurm may call a requeued job RUNNING a minute before its node has begun with it.
    ended = reached(gateway, job, timeout_s=180)
    assert (*outcome(ended), ended.attempt) == (S.COMPLETED, None, 0, None, 2)
    assert history(gateway, job) == [*RAN, "REQUEUED", "QUEUED", "RUNNING", "COMPLETED"]
    assert Path(job.folder, "work", "attempts").read_text().split() == ["1", "2"]
    first, second = gateway.jobs.attempts(ANN, job.id)
    assert first.started_at < second.started_at


@pytest.mark.parametrize("again", [True, False])
def test_node_set_down(gateway, cluster, again):
    job = submit(gateway, WAIT, native={} if again else {"no-requeue": True})
    (node,) = eventually(lambda: reached(gateway, job, S.RUNNING).nodes)
    cluster.run("scontrol", "update", f"nodename={node}", "state=down", "reason=test", check=True)
    try:
        if again:
            reached(gateway, job, S.QUEUED, attempt=2)
            with cluster.hurrying():
                reached(gateway, job, S.RUNNING, attempt=2)
            go(job)
            assert outcome(reached(gateway, job)) == (S.COMPLETED, None, 0, None)
            assert history(gateway, job) == [*RAN, "REQUEUED", "QUEUED", "RUNNING", "COMPLETED"]
        else:
            assert outcome(reached(gateway, job)) == (S.FAILED, R.NODE_FAIL, None, None)
            assert history(gateway, job) == [*RAN, "FAILED"]
    finally:
        cluster.run("scontrol", "update", f"nodename={node}", "state=resume")
        cluster.clear()
        eventually(cluster.idle, 60)


def test_canceled_from_outside(gateway, cluster, user):
    by_admin, by_user, waiting = submit(gateway, WAIT), submit(gateway, WAIT), submit(gateway, WAIT, hold=True)
    for job in (by_admin, by_user):
        reached(gateway, job, S.RUNNING)
    reached(gateway, waiting, S.HELD)
    cluster.run("scancel", by_admin.native_id, waiting.native_id, check=True)
    cluster.run("scancel", by_user.native_id, check=True, user=user.pw_name)
    assert outcome(reached(gateway, by_admin)) == (S.CANCELED, R.CANCELED_BY_ADMIN, None, None)
    assert outcome(reached(gateway, by_user)) == (S.CANCELED, R.CANCELED_BY_USER, None, None)
    assert outcome(reached(gateway, waiting)) == (S.CANCELED, R.CANCELED_BY_ADMIN, None, None)
    assert history(gateway, by_admin) == history(gateway, by_user) == [*RAN, "CANCELED"]
    assert "RUNNING" not in history(gateway, waiting)


# --- how jobs end that do not end well


def test_too_much_memory(gateway):
    """Without control groups the node's daemon kills it, and Slurm then says no more than that it was killed."""
    job = submit(gateway, "head -c 200000000 /dev/zero | tail | sleep 60\n", resources=Resources(memory_mib=50))
    assert outcome(reached(gateway, job)) == (S.FAILED, R.SIGNALED, None, 9)
    assert history(gateway, job) == [*RAN, "FAILED"]
    eventually(lambda: "exceeded memory limit" in Path(job.folder, "stderr").read_text())


def test_killed_by_its_own_hand(gateway):
    """As the kernel does it to one that took too much memory: nobody but the signal tells."""
    job = submit(gateway, "kill -9 $$\n")
    assert outcome(reached(gateway, job)) == (S.FAILED, R.SIGNALED, None, 9)
    assert history(gateway, job) == [*RAN, "FAILED"]


def test_dependency_that_is_never_satisfied(gateway):
    first = submit(gateway, WAIT + "exit 1\n")
    reached(gateway, first, S.RUNNING)
    well, badly = (submit(gateway, "true\n", dependencies=(Dependency(job=first.id, kind=kind),)) for kind in KINDS)
    for job in (well, badly):
        reached(gateway, job, S.QUEUED)
    go(first)
    assert outcome(reached(gateway, first)) == (S.FAILED, R.EXIT_NONZERO, 1, None)
    assert outcome(reached(gateway, badly)) == (S.COMPLETED, None, 0, None)
    assert outcome(reached(gateway, well)) == (S.CANCELED, R.DEPENDENCY_NEVER_SATISFIED, None, None)
    assert history(gateway, well) == ["SUBMITTING", "QUEUED", "CANCELED"]


def test_dependency_given_from_outside(gateway, cluster):
    """Without the option that lets Slurm cancel a job that can never start: it stays, and says why."""
    first = submit(gateway, WAIT + "exit 1\n")
    reached(gateway, first, S.RUNNING)
    job = submit(gateway, "true\n", hold=True)
    dependency = f"dependency=afterok:{first.native_id}"
    cluster.run("scontrol", "update", f"jobid={job.native_id}", dependency, check=True)
    cluster.run("scontrol", "release", job.native_id, check=True)
    reached(gateway, job, S.QUEUED)
    go(first)
    reached(gateway, first)
    held = reached(gateway, job, S.HELD, S.CANCELED)
    assert (held.state, held.native_reason) == (S.HELD, "DependencyNeverSatisfied")
    gateway.jobs.cancel(ANN, [job.id])
    assert outcome(reached(gateway, job)) == (S.CANCELED, R.CANCELED_BY_USER, None, None)


@pytest.mark.full
def test_walltime_is_over(gateway):
    job = submit(gateway, "sleep 600\n", resources=Resources(walltime_s=60))
    assert outcome(reached(gateway, job, timeout_s=200)) == (S.FAILED, R.TIMEOUT, None, None)
    assert history(gateway, job) == [*RAN, "FAILED"]
