"""Whole jobs on the stand-in, through a gateway: what a site without history, a killed submit and an operator do."""

from __future__ import annotations

import stat
from contextlib import contextmanager
from pathlib import Path

import pytest
from hpcgate_pbs.scheduler import PbsScheduler
from support import ANN, eventually

from hpcgate.config import config_from
from hpcgate.gateway import open_gateway
from hpcgate.model.spec import ArraySpec, Dependency, JobSpec, Resources
from hpcgate.model.state import Evidence, JobState, Reason
from hpcgate.service.admission import JobRequest
from hpcgate.transport.local import LocalTransport

pytestmark = pytest.mark.live


@contextmanager
def opened(standin, home):
    table = {
        "scheduler": "pbs",
        "work_root": str(home / "work"),
        "poll": {"min_s": 0.05, "max_s": 0.2, "spool_s": 0.05},
        "settings": {"bin_dir": str(standin.bin_dir)},
    }
    config = config_from({"sites": {"pbs": table}}, home=home)
    with open_gateway(config) as gateway:
        yield gateway


@pytest.fixture
def gateway(standin, tmp_path):
    with opened(standin, tmp_path) as gateway:
        yield gateway


def submit(gateway, **spec):
    spec.setdefault("command", "true") if "script" not in spec else None
    return gateway.jobs.submit(ANN, JobRequest(spec=JobSpec(**spec))).job.id


def reach(gateway, job_id, *states):
    worker = gateway.worker()

    def there():
        worker.step()
        job = gateway.jobs.get(ANN, job_id)
        return job if job.state in states else None

    return eventually(there, timeout_s=30)


def finals(gateway, job_id):
    return reach(gateway, job_id, JobState.COMPLETED, JobState.FAILED, JobState.CANCELED)


def text(gateway, job_id, **more):
    return gateway.jobs.output(ANN, job_id, "stdout", **more).data.decode()


def test_a_job_is_followed_to_its_end(gateway):
    job = finals(gateway, submit(gateway, script="#!/bin/sh\n#PBS -N mine\necho hello\nexit 7\n"))
    assert (job.state, job.reason, job.exit_code) == (JobState.FAILED, Reason.EXIT_NONZERO, 7)
    assert job.nodes
    assert text(gateway, job.id) == "hello\n"


def test_a_server_without_history_leaves_the_jobs_own_record(standin, gateway):
    standin.configure(history=False)
    job = finals(gateway, submit(gateway, script="#!/bin/sh\nexit 7\n"))
    assert (job.state, job.exit_code, job.evidence) == (JobState.FAILED, 7, Evidence.EXIT_FILE)


def test_a_submit_that_was_killed_after_pbs_had_taken_the_job_makes_one_job(standin, gateway):
    """qsub is killed before it can print the id: the job is found by its key."""
    qsub = standin.bin_dir / "qsub"
    real = qsub.with_name("qsub.real")
    qsub.rename(real)
    qsub.write_text(f'#!/bin/sh\n{real} "$@" >/dev/null\nkill -9 $$\n')
    qsub.chmod(qsub.stat().st_mode | stat.S_IXUSR)
    job_id = submit(gateway, script="#!/bin/sh\necho once >> marker\nsleep 1\n")
    job = gateway.jobs.get(ANN, job_id)
    assert job.state is JobState.SUBMITTING
    assert job.native_id is None
    found = PbsScheduler().hpcgate_find_by_key(gateway.sites["pbs"], job.ref, LocalTransport())
    assert found.native_id == "1.testpbs"
    assert standin.run("qstat", "-x").stdout.count("testpbs") == 1


def test_a_job_that_an_operator_puts_back_is_a_new_attempt(standin, gateway):
    standin.configure(operator=True)
    job_id = submit(gateway, script="#!/bin/sh\n[ -e first ] && exit 0\ntouch first\nsleep 60\n")
    reach(gateway, job_id, JobState.RUNNING)
    native_id = gateway.jobs.get(ANN, job_id).native_id
    eventually(Path(gateway.jobs.get(ANN, job_id).folder, "work", "first").exists)
    assert standin.run("qrerun", native_id).returncode == 0
    job = finals(gateway, job_id)
    assert (job.state, job.attempt, job.native_id) == (JobState.COMPLETED, 2, native_id)


def test_an_ordinary_account_may_not_put_a_job_back(standin, gateway):
    job_id = submit(gateway, script="#!/bin/sh\nsleep 60\n")
    native_id = reach(gateway, job_id, JobState.RUNNING).native_id
    assert standin.run("qrerun", native_id).returncode == 159


def test_a_dependency_that_can_never_be_met_cancels_the_job(gateway):
    first = submit(gateway, script="#!/bin/sh\nsleep 1\nexit 3\n")
    native_id = gateway.jobs.get(ANN, first).native_id
    second = submit(gateway, script=f"#!/bin/sh\n#PBS -W depend=afterok:{native_id}\ntrue\n")
    waiting = reach(gateway, second, JobState.QUEUED)
    assert waiting.state is JobState.QUEUED
    assert finals(gateway, first).exit_code == 3
    job = finals(gateway, second)
    assert (job.state, job.reason) == (JobState.CANCELED, Reason.DEPENDENCY_NEVER_SATISFIED)
    assert job.started_at is None


def test_jobs_of_the_gateway_wait_for_one_another(gateway):
    """Also for arrays, which are fine where all of their tasks are, and down a chain that breaks at its head."""
    first = submit(gateway, script="#!/bin/sh\nsleep 0.5\nexit $HPCGATE_ARRAY_INDEX\n", array=ArraySpec.parse("0-1"))
    fine = submit(gateway, command="true", dependencies=(Dependency(job=first, kind="afternotok"),))
    broken = submit(gateway, command="true", dependencies=(Dependency(job=first),))
    after = submit(gateway, array=ArraySpec.parse("1-2"), dependencies=(Dependency(job=broken, kind="afterany"),))
    assert gateway.jobs.get(ANN, after).native_id
    assert finals(gateway, first).exit_code == 1
    assert finals(gateway, fine).state is JobState.COMPLETED
    for job in (finals(gateway, broken), finals(gateway, after)):
        assert (job.state, job.reason) == (JobState.CANCELED, Reason.DEPENDENCY_NEVER_SATISFIED)
        assert job.started_at is None


def test_a_job_that_waits_for_others_can_be_held_and_released(gateway):
    first = submit(gateway, command="sleep", args=("60",))
    second = submit(gateway, command="true", hold=True, dependencies=(Dependency(job=first, kind="afterany"),))
    reach(gateway, second, JobState.HELD)
    gateway.jobs.release(ANN, second)
    reach(gateway, second, JobState.QUEUED)
    gateway.jobs.cancel(ANN, [first])
    assert finals(gateway, second).state is JobState.COMPLETED


def test_without_history_a_job_that_ended_unseen_is_not_waited_for(standin, gateway):
    """PBS would end the second one without a trace; the gateway looks first, and starts it once it knows."""
    standin.configure(history=False)
    first = submit(gateway, command="true")
    eventually(lambda: not standin.run("qstat").stdout)
    second = submit(gateway, command="true", dependencies=(Dependency(job=first),))
    assert gateway.jobs.get(ANN, second).state is JobState.SUBMITTING
    assert finals(gateway, first).state is JobState.COMPLETED
    assert finals(gateway, second).state is JobState.COMPLETED


def test_a_script_that_says_its_chunks_is_told_all_cores_of_its_node(gateway):
    lines = "#PBS -l select=1:ncpus=6:mpiprocs=3"
    job = finals(gateway, submit(gateway, script=f'#!/bin/sh\n{lines}\necho "$HPCGATE_CPUS"\n'))
    assert text(gateway, job.id) == "6\n"


def test_a_job_over_its_walltime_times_out(gateway):
    job = finals(gateway, submit(gateway, command="sleep", args=("60",), resources=Resources(walltime_s=1)))
    assert (job.state, job.reason) == (JobState.FAILED, Reason.TIMEOUT)


def test_tasks_of_an_array_have_their_own_output(gateway):
    job = finals(
        gateway, submit(gateway, script='#!/bin/sh\necho "$HPCGATE_ARRAY_INDEX"\n', array=ArraySpec.parse("2-6:2"))
    )
    assert job.state is JobState.COMPLETED
    assert [task.index for task in gateway.jobs.tasks(ANN, job.id).items] == [2, 4, 6]
    assert text(gateway, job.id, task=4) == "4\n"


def test_a_canceled_array_is_canceled(gateway):
    job_id = submit(gateway, command="sleep", args=("60",), array=ArraySpec.parse("1-12"))
    reach(gateway, job_id, JobState.RUNNING)
    gateway.jobs.cancel(ANN, [job_id])
    job = finals(gateway, job_id)
    assert (job.state, job.reason) == (JobState.CANCELED, Reason.CANCELED_BY_USER)


def test_a_server_that_does_not_answer_ends_no_job(standin, gateway):
    job_id = submit(gateway, script="#!/bin/sh\nsleep 1\n")
    reach(gateway, job_id, JobState.RUNNING)
    standin.configure(reachable=False)
    worker = gateway.worker()
    for _ in range(5):
        worker.step()
    job = gateway.jobs.get(ANN, job_id)
    assert job.state in (JobState.RUNNING, JobState.COMPLETED)
    assert job.state is JobState.RUNNING or job.evidence is Evidence.EXIT_FILE
    standin.configure(reachable=True)
    assert finals(gateway, job_id).state is JobState.COMPLETED
