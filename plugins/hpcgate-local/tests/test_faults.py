"""``kill -9`` of spooler and supervisors: no job lost, none run twice, no result guessed."""

from __future__ import annotations

import json
import random
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from hpcgate_local import plugin
from hpcgate_local.spooler import HERE, SUPERVISOR_KILLED, Spool, boot_id, processes, read_claim

from hpcgate.model.files import JobFolder
from hpcgate.model.spec import ArraySpec
from hpcgate.model.state import JobState, Reason
from hpcgate.scheduler.evidence import read_exit

WAITS = "until [ -e go ]; do sleep 0.02; done"
#: Leaves a mark for each start, then waits; a grandchild has left the session and is nobody's child.
MARKS = f"echo x >> marks; (setsid sleep 1000 >/dev/null 2>&1 &)\n{WAITS}"


def spoolers_of(machine):
    claims = {claim["pid"] for path in Path(machine.spool.runs).iterdir() if (claim := read_claim(str(path)))}
    return [each for each in machine.own_processes() if HERE.encode() in _cmdline(each) and each.pid not in claims]


def test_a_job_outlives_its_spooler(machine):
    job = machine.sh(MARKS)
    machine.said(job, "marks")
    machine.running(job)
    old = machine.spooler()
    machine.kill(old)
    assert machine.see(job).state is JobState.RUNNING  # and this look starts another spooler
    assert machine.spooler().pid != old.pid
    machine.go(job)
    assert machine.end(job).state is JobState.COMPLETED
    assert machine.work(job, "marks").read_text() == "x\n"


def test_an_end_without_a_spooler_is_not_lost(machine):
    job = machine.sh(MARKS + "; exit 6")
    machine.said(job, "marks")
    later = machine.sh("true", hold=True)
    machine.kill(machine.spooler())
    machine.go(job)
    # Nobody asks, yet its supervisor calls for a spooler before it leaves.
    machine.wait_for(lambda: machine.spool.find([job.key])["jobs"][0]["state"] == "FAILED", "the end of the job")
    assert machine.see(job).exit_code == 6
    assert machine.see(later).state is JobState.HELD


def test_a_queue_without_a_spooler_goes_on_at_the_next_look(machine):
    first, second = machine.sh(WAITS, array=ArraySpec.parse("0-1")), machine.sh("echo x >> marks")
    machine.wait_for(lambda: len(machine.see(first).tasks) == 2, "both tasks")
    machine.kill(machine.spooler())
    machine.go(first)
    assert machine.end(second).state is JobState.COMPLETED
    assert machine.end(first).state is JobState.COMPLETED
    assert machine.work(second, "marks").read_text() == "x\n"


@pytest.mark.parametrize("spooler_too", [False, True])
def test_a_job_whose_supervisor_is_killed_has_failed(machine, spooler_too):
    job = machine.sh("trap '' TERM HUP\n" + MARKS)
    machine.said(job, "marks")
    machine.running(job)
    if spooler_too:
        machine.kill(machine.spooler())
    machine.kill(machine.supervisor(job))
    end = machine.end(job)
    assert (end.state, end.reason, end.exit_code, end.message) == (
        JobState.FAILED,
        Reason.NODE_FAIL,
        None,
        SUPERVISOR_KILLED,
    )
    machine.wait_for(
        lambda: not [each for each in processes() if each.has_in_environment(f"HPCGATE_JOB_KEY={job.key}".encode())],
        "all of its processes to be gone",
    )
    assert machine.work(job, "marks").read_text() == "x\n"
    told = read_exit(job, machine.transport)
    assert told is not None
    assert told.reason is Reason.NODE_FAIL


def test_an_orphan_that_hid_its_environment_is_found(machine):
    job = machine.sh("(env -i setsid sh -c 'echo $$ > pid; exec sleep 1000' >/dev/null 2>&1 &)\n" + MARKS)
    machine.said(job, "marks")
    pid = int(machine.said(job, "pid"))
    hidden = next(each for each in processes() if each.pid == pid)
    assert not hidden.has_in_environment(f"HPCGATE_JOB_KEY={job.key}".encode())
    machine.kill(machine.supervisor(job))
    machine.end(job)
    machine.wait_for(lambda: not hidden.send(0), "the orphan's end")


def test_a_task_whose_supervisor_is_killed_fails_the_array(machine):
    job = machine.sh(WAITS, array=ArraySpec.parse("0-1"))
    machine.wait_for(lambda: len(machine.see(job).tasks) == 2, "both tasks")
    claim = machine.wait_for(lambda: read_claim(f"{machine.spool.runs}/{job.native_id}-1-1"), "a claim")
    machine.kill(next(each for each in processes() if each.pid == claim["pid"]))
    machine.go(job)
    end = machine.end(job)
    assert (end.state, end.reason) == (JobState.FAILED, Reason.NODE_FAIL)
    assert [task.state for task in end.tasks] == [JobState.COMPLETED, JobState.FAILED]


@pytest.mark.parametrize(("wish", "state"), [("cancel", JobState.CANCELED), ("requeue", JobState.COMPLETED)])
def test_a_wish_outlives_spooler_and_supervisor(machine, wish, state):
    machine.set(kill_grace_s=60.0)
    job = machine.sh('trap "" TERM; echo x >> "ran.$HPCGATE_ATTEMPT"; [ $HPCGATE_ATTEMPT = 2 ] || sleep 1000')
    machine.said(job, "ran.1")
    supervisor = machine.supervisor(job)
    machine.kill(machine.spooler())
    getattr(machine.spool, wish)(**({"keys": [job.key]} if wish == "cancel" else {"key": job.key}))
    machine.kill(supervisor)
    assert machine.end(job).state is state


def test_a_run_that_never_began_is_started(machine):
    """As if the spooler had been killed between its transaction and its fork."""
    job = machine.sh("echo x >> marks", hold=True)
    machine.kill(machine.spooler())
    with closing(sqlite3.connect(f"{machine.spool.root}/spool.db")) as db, db:
        db.execute("UPDATE job SET state = 'STARTING', held = 0 WHERE key = ?", (job.key,))
        db.execute("INSERT INTO run (job_id, attempt, idx, state) VALUES (?, 1, -1, 'STARTING')", (job.native_id,))
    assert machine.end(job).state is JobState.COMPLETED
    assert machine.work(job, "marks").read_text() == "x\n"


def test_a_run_that_was_claimed_before_a_reboot_is_not_started_again(machine):
    """The lock is free, the claim is there, the process number now belongs to somebody else."""
    job = machine.sh("echo x >> marks", hold=True)
    machine.kill(machine.spooler())
    with subprocess.Popen(["sleep", "1000"], start_new_session=True) as bystander:
        ticks = next(each.ticks for each in processes() if each.pid == bystander.pid)
        claim = {"pid": bystander.pid, "ticks": 1, "boot": "another", "at": time.time()}
        lines = [claim, {"child": [bystander.pid, ticks]}]
        Path(machine.spool.runs, f"{job.native_id}-1").write_text("\n".join(map(json.dumps, lines)))
        with closing(sqlite3.connect(f"{machine.spool.root}/spool.db")) as db, db:
            db.execute("UPDATE job SET state = 'RUNNING', held = 0 WHERE key = ?", (job.key,))
            db.execute("INSERT INTO run (job_id, attempt, idx, state) VALUES (?, 1, -1, 'RUNNING')", (job.native_id,))
        end = machine.end(job)
        assert (end.state, end.reason) == (JobState.FAILED, Reason.NODE_FAIL)
        assert not machine.work(job, "marks").exists()
        assert bystander.poll() is None
        bystander.kill()


def test_a_process_number_that_was_reused_is_not_signalled(machine):
    job = machine.sh("sleep 1000")
    machine.running(job)
    path = Path(machine.spool.runs, f"{job.native_id}-1")
    claim = read_claim(str(path))
    assert claim is not None
    assert claim["boot"] == boot_id()
    with subprocess.Popen(["sh", "-c", "sleep 1000 & wait"], start_new_session=True) as bystander:
        real = path.read_text()
        path.write_text(json.dumps({**claim, "pid": bystander.pid}))
        with pytest.raises(Exception, match="no processes"):
            plugin.hpcgate_signal_job(machine.site, job, "KILL", machine.transport)
        assert bystander.poll() is None
        path.write_text(real)
        for each in processes():
            if each.parent == bystander.pid:
                each.send(signal.SIGKILL)
        bystander.kill()


def test_racing_starts_leave_one_spooler(machine):
    machine.sh("true", hold=True)
    machine.kill(machine.spooler())
    argv = [sys.executable, "-I", "-S", HERE, "start", "--spool", machine.spool.root]
    starts = [subprocess.Popen(argv) for _ in range(20)]
    assert [start.wait(60) for start in starts] == [0] * 20
    machine.wait_for(lambda: len(spoolers_of(machine)) == 1, "a single spooler")
    assert spoolers_of(machine)[0].pid == machine.spooler().pid


def test_racing_first_submits_make_one_spool(machine):
    code = (
        "import sys; from hpcgate_local.spooler import Spool; "
        "job = dict(id=1, key=sys.argv[2], attempt=1, folder='/none', cpus=1, memory_mib=0, hold=True, array=None);"
        "print(Spool(sys.argv[1]).submit([job], {}))"
    )
    argv = [sys.executable, "-c", code, machine.spool.root]
    racers = [subprocess.Popen([*argv, f"k{n}"], stdout=subprocess.PIPE) for n in range(6)]
    ids = [racer.communicate(timeout=60)[0] for racer in racers]
    assert len(set(ids)) == 6
    assert len(machine.spool.list(60)["jobs"]) == 6


def test_a_spooler_leaves_when_nothing_is_left_and_comes_back(machine):
    machine.set(linger_s=0.0)
    machine.end(machine.sh("true"))
    machine.wait_for(lambda: not machine.own_processes(), "the spooler to leave")
    held = machine.sh("true", hold=True)
    machine.wait_for(lambda: not machine.own_processes(), "the spooler to leave a held job alone")
    plugin.hpcgate_release_job(machine.site, held, machine.transport)
    assert machine.end(held).state is JobState.COMPLETED
    assert "Traceback" not in Path(machine.spool.root, "spooler.log").read_text()


def test_no_job_is_stranded_when_the_spooler_leaves(machine):
    """Each submit falls into the moment at which the spooler of the one before leaves."""
    machine.set(linger_s=0.0)
    for _ in range(15):
        job = machine.submit(command="true")
        machine.wait_for(
            lambda key=job.key: machine.spool.find([key])["jobs"][0]["ended_at"], "an end that no poll has helped", 5
        )


def test_a_broken_spool_is_a_site_error(machine):
    machine.end(machine.sh("true"))
    machine.kill(machine.spooler(), signal.SIGTERM)
    database = Path(machine.spool.root, "spool.db")
    good = database.read_bytes()
    database.write_bytes(b"no database" * 1000)
    for name in ("spool.db-wal", "spool.db-shm"):
        Path(machine.spool.root, name).unlink(missing_ok=True)
    from hpcgate.errors import SchedulerError

    with pytest.raises(SchedulerError, match="does not answer"):
        plugin.hpcgate_poll_jobs(machine.site, [], machine.transport)
    assert not plugin.hpcgate_probe_site(machine.site, machine.transport).ok
    database.write_bytes(good)


def test_killing_at_random_runs_each_job_once(machine):
    """40 short jobs, while spooler and supervisors are killed at any moment."""
    chance = random.Random(20)
    machine.set(cpus=4, linger_s=5.0)
    jobs = [machine.sh("echo x >> marks; sleep 0.05") for _ in range(40)]
    keys = [job.key for job in jobs]
    kills = 0

    def all_ended():
        nonlocal kills
        rows = machine.spool.list(600)["jobs"]
        victims = machine.own_processes()
        if victims and kills < 25:
            # Spoolers and supervisors alone: they are told by their command line.
            victims = [each for each in victims if b"spooler.py" in _cmdline(each)]
            if victims:
                kills += chance.choice(victims).send(signal.SIGKILL)
        return all(row["ended_at"] for row in rows if row["key"] in keys)

    machine.wait_for(all_ended, "the end of all", 60)
    assert kills
    for job in jobs:
        marks = machine.work(job, "marks")
        count = marks.read_text().count("x") if marks.exists() else 0
        end = machine.see(job)
        assert count <= 1, job
        if end.state is JobState.COMPLETED:
            assert count == 1
            assert Path(JobFolder(job.folder).exit(1)).exists()
        else:
            assert end.reason is Reason.NODE_FAIL


def _cmdline(process):
    try:
        return Path(f"/proc/{process.pid}/cmdline").read_bytes()
    except OSError:
        return b""


def test_a_spool_of_somebody_else_is_refused(tmp_path):
    root = tmp_path / "spool"
    root.mkdir()
    import os

    if os.geteuid() != 0:
        pytest.skip("only root can give a folder away")
    os.chown(root, 12345, 12345)
    with pytest.raises(PermissionError, match="another account"):
        Spool(str(root)).connect()
