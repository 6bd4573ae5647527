"""What is done to jobs: order, limits, hold, cancel, walltime, requeue, signals, arrays."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from hpcgate_local import plugin

from hpcgate.errors import SchedulerError
from hpcgate.model.files import JobFolder
from hpcgate.model.spec import ArraySpec, Resources
from hpcgate.model.state import JobState, Reason

#: A tree that does not go by itself: a child, one that left the session, one that was orphaned; all deaf to TERM.
STUBBORN = """
trap '' TERM
sleep 1000 &
setsid sleep 1001 &
(setsid sh -c 'trap "" TERM HUP; sleep 1002 & sleep 1003' >/dev/null 2>&1 &)
wait
"""
WAITS = "until [ -e go ]; do sleep 0.02; done"


def descendants_of(machine, job):
    return [each for each in machine.own_processes() if each.has_in_environment(f"HPCGATE_JOB_KEY={job.key}".encode())]


# --- order ----------------------------------------------------------------------------------------------------------


def test_jobs_start_in_order_as_cores_get_free(machine):
    wide = Resources(tasks=2)
    first, second, third = machine.sh(WAITS), machine.sh(WAITS, resources=wide), machine.sh("true")
    machine.running(first)
    # A core is free, but what came earlier needs two: what came later must not push past it for ever.
    assert machine.see(second).state is JobState.QUEUED
    assert machine.see(third).state is JobState.QUEUED
    machine.go(first)
    machine.running(second)
    assert machine.see(third).state is JobState.QUEUED
    machine.go(second)
    assert machine.end(third).state is JobState.COMPLETED


def test_memory_is_counted(machine):
    first = machine.sh(WAITS, resources=Resources(memory_mib=600))
    machine.running(first)
    second = machine.sh("true", resources=Resources(memory_per_cpu_mib=600))
    machine.spool.wake()
    assert machine.see(second).state is JobState.QUEUED
    machine.go(first)
    machine.end(second)


def test_a_site_that_shrank_still_runs_what_it_took(machine):
    job = machine.sh("true", hold=True, resources=Resources(tasks=2))
    machine.set(cpus=1)
    machine.end(machine.sh("true"))  # brings the new size along
    plugin.hpcgate_release_job(machine.site, job, machine.transport)
    assert machine.end(job).state is JobState.COMPLETED


# --- hold -----------------------------------------------------------------------------------------------------------


def test_hold_and_release(machine):
    job = machine.sh("true", hold=True)
    assert machine.see(job).state is JobState.HELD
    plugin.hpcgate_hold_job(machine.site, job, machine.transport)
    plugin.hpcgate_release_job(machine.site, job, machine.transport)
    assert machine.end(job).state is JobState.COMPLETED


def test_what_runs_or_ended_cannot_be_held(machine):
    job = machine.sh(WAITS)
    machine.running(job)
    with pytest.raises(SchedulerError, match="cannot be held any more: it is RUNNING") as caught:
        plugin.hpcgate_hold_job(machine.site, job, machine.transport)
    assert not caught.value.transient
    plugin.hpcgate_release_job(machine.site, job, machine.transport)  # it is not held: nothing to do
    machine.go(job)
    machine.end(job)
    for call in (plugin.hpcgate_hold_job, plugin.hpcgate_release_job, plugin.hpcgate_requeue_job):
        with pytest.raises(SchedulerError, match="COMPLETED"):
            call(machine.site, job, machine.transport)


# --- the end by force -----------------------------------------------------------------------------------------------


def test_cancel_reaches_the_whole_tree(machine):
    job = machine.sh(STUBBORN)
    machine.wait_for(lambda: len(descendants_of(machine, job)) == 6, "the tree to stand")
    machine.cancel(job)
    end = machine.end(job)
    assert (end.state, end.reason) == (JobState.CANCELED, Reason.CANCELED_BY_USER)
    assert not descendants_of(machine, job)
    machine.cancel(job)  # already gone is no error
    assert machine.see(job) == end


def test_cancel_lets_a_job_clean_up(machine):
    job = machine.sh("trap 'echo clean > cleaned; exit 0' TERM\ntouch ready\nwhile :; do sleep 0.02; done")
    machine.wait_for(machine.work(job, "ready").exists, "the trap")
    machine.cancel(job)
    end = machine.end(job)
    assert (end.state, end.exit_code) == (JobState.CANCELED, 0)
    assert machine.work(job, "cleaned").read_text() == "clean\n"


def test_a_stopped_job_can_be_canceled(machine):
    machine.set(kill_grace_s=60.0)
    job = machine.sh("touch ready; kill -STOP $$")
    machine.wait_for(machine.work(job, "ready").exists, "the job")
    machine.cancel(job)
    assert machine.end(job).signal == signal.SIGTERM


def test_cancel_of_a_queued_job_is_at_once(machine):
    job = machine.sh("touch ran", hold=True)
    machine.cancel(job)
    end = machine.see(job)
    assert (end.state, end.reason, end.started_at) == (JobState.CANCELED, Reason.CANCELED_BY_USER, None)
    assert not Path(job.folder).exists()


def test_walltime_ends_the_tree(machine):
    job = machine.sh(STUBBORN, resources=Resources(walltime_s=1))
    end = machine.end(job)
    assert (end.state, end.reason, end.signal) == (JobState.FAILED, Reason.TIMEOUT, signal.SIGKILL)
    assert "walltime of 1 s" in (end.message or "")
    assert 2 <= (end.ended_at or 0) - (end.started_at or 0) < 6  # a second of walltime, one of grace
    assert not descendants_of(machine, job)


def test_what_a_job_leaves_behind_ends_with_it(machine):
    job = machine.sh("(setsid sleep 1000 >/dev/null 2>&1 &)\nexit 5")
    end = machine.end(job)
    assert (end.reason, end.exit_code) == (Reason.EXIT_NONZERO, 5)
    assert not descendants_of(machine, job)


# --- again ----------------------------------------------------------------------------------------------------------


def test_requeue_starts_anew_under_the_same_id(machine):
    job = machine.sh('echo "$HPCGATE_ATTEMPT" >> runs; [ "$HPCGATE_ATTEMPT" = 1 ] && sleep 1000; exit 0')
    machine.said(job, "runs")
    plugin.hpcgate_requeue_job(machine.site, job, machine.transport)
    end = machine.end(job)
    assert (end.state, end.restarts, end.native_id) == (JobState.COMPLETED, 1, job.native_id)
    assert machine.work(job, "runs").read_text() == "1\n2\n"
    folder = JobFolder(job.folder)
    assert Path(folder.exit(2)).exists()
    assert not Path(folder.exit(1)).exists()


def test_requeue_of_what_does_not_run_is_refused(machine):
    job = machine.sh("true", hold=True)
    with pytest.raises(SchedulerError, match="it is HELD, not RUNNING"):
        plugin.hpcgate_requeue_job(machine.site, job, machine.transport)


def test_a_cancel_beats_a_requeue(machine):
    job = machine.sh("trap '' TERM; echo 1 >> runs; while :; do sleep 0.1; done")
    machine.said(job, "runs")
    plugin.hpcgate_requeue_job(machine.site, job, machine.transport)
    machine.cancel(job)
    assert machine.end(job).state is JobState.CANCELED
    assert machine.work(job, "runs").read_text() == "1\n"


def test_signal_reaches_the_job(machine):
    job = machine.sh("trap 'echo got > got' USR1\ntouch ready\nuntil [ -e got ]; do sleep 0.02; done; exit 0")
    machine.wait_for(machine.work(job, "ready").exists, "the trap")
    plugin.hpcgate_signal_job(machine.site, job, "USR1", machine.transport)
    assert machine.end(job).state is JobState.COMPLETED
    with pytest.raises(SchedulerError, match="COMPLETED and has no processes"):
        plugin.hpcgate_signal_job(machine.site, job, "SIGUSR1", machine.transport)


# --- arrays ---------------------------------------------------------------------------------------------------------


def test_an_array_runs_each_index_once(machine):
    machine.set(cpus=4)
    job = machine.sh(
        'echo "i=$HPCGATE_ARRAY_INDEX"; echo x >> "ran.$HPCGATE_ARRAY_INDEX"', array=ArraySpec.parse("1-7:2")
    )
    end = machine.end(job)
    assert (end.state, end.exit_code) == (JobState.COMPLETED, 0)
    assert [(task.index, task.state, task.native_id) for task in end.tasks] == [
        (index, JobState.COMPLETED, f"{job.native_id}_{index}") for index in (1, 3, 5, 7)
    ]
    folder = JobFolder(job.folder)
    for index in (1, 3, 5, 7):
        assert Path(folder.stdout(index)).read_text() == f"i={index}\n"
        assert machine.work(job, f"ran.{index}").read_text() == "x\n"
        assert Path(folder.exit(1, index)).exists()


def test_an_array_keeps_to_its_limit_and_lets_others_pass(machine):
    machine.set(cpus=4)
    job = machine.sh(f"touch in.$HPCGATE_ARRAY_INDEX; {WAITS}", array=ArraySpec.parse("0-4%2"))
    machine.wait_for(lambda: len(machine.see(job).tasks) == 2, "two tasks")
    assert machine.end(machine.sh("true")).state is JobState.COMPLETED  # two cores were left
    seen = machine.see(job)
    assert seen.state is JobState.RUNNING
    assert [task.index for task in seen.tasks] == [0, 1]
    machine.go(job)
    assert len(machine.end(job).tasks) == 5


def test_an_array_with_a_failed_task_has_failed(machine):
    job = machine.sh("exit $((HPCGATE_ARRAY_INDEX == 2 ? 9 : 0))", array=ArraySpec.parse("0-3"))
    end = machine.end(job)
    assert (end.state, end.reason, end.exit_code) == (JobState.FAILED, Reason.EXIT_NONZERO, 9)
    assert end.message == "1 of 4 tasks failed, the first of them at index 2"
    assert [task.state for task in end.tasks].count(JobState.COMPLETED) == 3


def test_cancel_of_an_array_ends_what_runs_and_starts_no_more(machine):
    job = machine.sh("sleep 1000", array=ArraySpec.parse("0-9"))
    machine.wait_for(lambda: len(machine.see(job).tasks) == 2, "two tasks")
    machine.cancel(job)
    end = machine.end(job)
    assert (end.state, end.reason) == (JobState.CANCELED, Reason.CANCELED_BY_USER)
    assert [(task.index, task.state) for task in end.tasks] == [(0, JobState.CANCELED), (1, JobState.CANCELED)]


def test_hold_of_an_array_keeps_the_rest_back(machine):
    job = machine.sh(WAITS, array=ArraySpec.parse("0-3"))
    machine.wait_for(lambda: len(machine.see(job).tasks) == 2, "two tasks")
    plugin.hpcgate_hold_job(machine.site, job, machine.transport)
    machine.go(job)
    machine.wait_for(lambda: all(task.state.final for task in machine.see(job).tasks), "the end of both")
    assert machine.end(machine.sh("true")).state is JobState.COMPLETED
    seen = machine.see(job)
    assert (seen.state, len(seen.tasks)) == (JobState.RUNNING, 2)
    plugin.hpcgate_release_job(machine.site, job, machine.transport)
    assert len(machine.end(job).tasks) == 4


def test_cancel_of_an_array_that_is_held_between_tasks(machine):
    job = machine.sh("true", array=ArraySpec.parse("0-3%1"))
    machine.wait_for(lambda: machine.see(job).tasks, "a task")
    try:
        plugin.hpcgate_hold_job(machine.site, job, machine.transport)
    except SchedulerError:
        pytest.skip("all of its tasks were quicker than the hold")
    machine.wait_for(lambda: all(task.state.final for task in machine.see(job).tasks), "the end of what ran")
    machine.cancel(job)
    assert machine.end(job).state is JobState.CANCELED


def test_requeue_of_an_array_starts_all_of_it_anew(machine):
    job = machine.sh(
        'echo x >> "ran.$HPCGATE_ATTEMPT.$HPCGATE_ARRAY_INDEX"; [ "$HPCGATE_ATTEMPT" = 2 ] || sleep 1000',
        array=ArraySpec.parse("0-1"),
    )
    machine.said(job, "ran.1.0")
    machine.said(job, "ran.1.1")
    plugin.hpcgate_requeue_job(machine.site, job, machine.transport)
    end = machine.end(job)
    assert (end.state, end.restarts, len(end.tasks)) == (JobState.COMPLETED, 1, 2)
    assert [machine.work(job, f"ran.2.{index}").read_text() for index in (0, 1)] == ["x\n", "x\n"]
