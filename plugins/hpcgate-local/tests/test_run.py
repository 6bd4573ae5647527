"""One job from submit to its end: what it gets, and what is said of it."""

from __future__ import annotations

import json
import os
import signal
import stat
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hpcgate_local import plugin
from hpcgate_local.observe import observe

from hpcgate.errors import InvalidSpec, SchedulerError
from hpcgate.model.files import JobFolder
from hpcgate.model.scheduler import Presence, SubmitFailed, Submitted
from hpcgate.model.spec import Resources
from hpcgate.model.state import Evidence, JobState, Phase, Reason
from hpcgate.scheduler.evidence import read_exit

AWKWARD = {
    "SPACES": "  two  words ",
    "QUOTES": 'it\'s "so" `x`',
    "DOLLAR": "$HOME ${X} $(false)",
    "NEWLINE": "one\ntwo\n",
    "UNICODE": "żółć 漢字 \U0001f600",
    "LONG": "x" * 4096,
    "EMPTY": "",
    "EQUALS": "a=b=c",
}


def test_a_script_runs_verbatim_by_its_own_interpreter(machine) -> None:
    text = "#!/usr/bin/env python3\nimport os, sys\nprint(os.getcwd())\nprint('err', file=sys.stderr)\nsys.exit(7)\n"
    job = machine.submit(script=text)
    end = machine.end(job)
    folder = JobFolder(job.folder)
    assert (end.state, end.reason, end.exit_code, end.signal) == (JobState.FAILED, Reason.EXIT_NONZERO, 7, None)
    assert machine.out(job) == folder.work + "\n"
    assert Path(folder.stderr()).read_text() == "err\n"
    assert Path(folder.script).read_text() == text
    assert stat.S_IMODE(Path(folder.script).stat().st_mode) == 0o700
    assert stat.S_IMODE(Path(folder.root).stat().st_mode) == 0o700


def test_a_command_gets_its_arguments_untouched(machine) -> None:
    args = ("-c", "import sys; print(sys.argv[1:])", "a b", "$HOME", "it's", '"', "new\nline", "*", "ż", "")
    job = machine.submit(command="python3", args=args)
    assert machine.end(job).state is JobState.COMPLETED
    assert machine.out(job) == f"{list(args[2:])}\n"


def test_awkward_environment_arrives(machine) -> None:
    secret = {f"SECRET_{name}": value for name, value in AWKWARD.items()}
    code = "import os, json; print(json.dumps(dict(os.environ)))"
    job = machine.submit(command="python3", args=("-c", code), environment=AWKWARD, secret_environment=secret)
    machine.end(job)
    seen = json.loads(machine.out(job))
    assert {name: seen[name] for name in (*AWKWARD, *secret)} == {**AWKWARD, **secret}


def test_environment_is_by_allow_list(machine, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HPCGATE_TOKEN", "NOT_FOR_JOBS", "LC_TEST", "SITE_WANTS_THIS"):
        monkeypatch.setenv(name, "value of " + name)
    machine.set(environment=("SITE_WANTS_THIS",))
    job = machine.sh("env", resources=Resources(tasks=2), environment={"HPCGATE_CPUS": "wrong"})
    machine.end(job)
    seen = dict(line.split("=", 1) for line in machine.out(job).splitlines())
    assert seen["LC_TEST"] == "value of LC_TEST"
    assert seen["SITE_WANTS_THIS"] == "value of SITE_WANTS_THIS"
    assert "NOT_FOR_JOBS" not in seen
    assert "HPCGATE_TOKEN" not in seen
    assert seen["HPCGATE_JOB_ID"] == str(job.id)
    assert seen["HPCGATE_JOB_KEY"] == job.key
    assert (seen["HPCGATE_ATTEMPT"], seen["HPCGATE_CPUS"]) == ("1", "2")
    spooler = Path(f"/proc/{machine.spooler().pid}/environ").read_text()
    assert "NOT_FOR_JOBS" not in spooler


def test_secrets_stand_nowhere_and_are_gone_at_the_end(machine) -> None:
    secret = "sEcReT-of-this-test"
    job = machine.sh("touch ready; until [ -e go ]; do sleep 0.02; done", secret_environment={"PASSWORD": secret})
    machine.running(job)
    machine.wait_for(machine.work(job, "ready").exists, "the job to be ready")
    path = Path(JobFolder(job.folder).secrets)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    spool_files = [each for each in Path(machine.spool.root).rglob("*") if each.is_file()]
    assert spool_files
    for each in [*spool_files, *Path(job.folder).glob("s[tc]*")]:
        assert secret.encode() not in each.read_bytes(), each
    machine.go(job)
    machine.end(job)
    assert not path.exists()


@pytest.mark.parametrize("hold", [False, True])
def test_secrets_of_a_canceled_job_are_removed(machine, hold: bool) -> None:
    job = machine.sh("sleep 60", hold=hold, secret_environment={"PASSWORD": "x"})
    if not hold:
        machine.running(job)
    machine.cancel(job)
    assert machine.end(job).state is JobState.CANCELED
    machine.wait_for(lambda: not Path(JobFolder(job.folder).secrets).exists(), "the secrets to be gone")


def test_streams_and_folder_of_the_spec(machine, tmp_path: Path) -> None:
    place = tmp_path / "a place with spaces"
    place.mkdir()
    job = machine.job(
        script="#!/bin/sh\npwd\necho err >&2\n",
        working_directory=str(place),
        stdout_path="both.txt",
        stderr_path=str(place / "both.txt"),
    )
    taken = plugin.hpcgate_submit_job(machine.site, job, machine.transport)
    machine.end(replace(job.ref, native_id=taken.native_id))
    assert taken.stdout_path == taken.stderr_path == str(place / "both.txt")
    assert (place / "both.txt").read_text() == f"{place}\nerr\n"


def test_stdin_is_empty(machine) -> None:
    job = machine.submit(command="cat")
    assert machine.end(job).exit_code == 0


def test_a_signal_that_ended_it_is_told(machine) -> None:
    end = machine.end(machine.sh("kill -SEGV $$"))
    assert (end.state, end.reason, end.signal, end.exit_code) == (
        JobState.FAILED,
        Reason.SIGNALED,
        signal.SIGSEGV,
        None,
    )


def test_ignored_and_blocked_signals_are_not_inherited(machine) -> None:
    job = machine.sh("grep -E '^Sig(Blk|Ign):' /proc/self/status")
    machine.end(job)
    # Signals 32 and 33 are the C library's own; from Python 3.13 on, `subprocess` leaves them ignored.
    libc = 1 << 31 | 1 << 32
    masks = [int(line.split()[1], 16) & ~libc for line in machine.out(job).splitlines()]
    assert masks == [0, 0]


@pytest.mark.parametrize(
    ("spec", "word"),
    [
        ({"script": "#!/no/such/interpreter\n"}, "/no/such/interpreter"),
        ({"command": "no-such-program"}, "no-such-program"),
        ({"command": "true", "working_directory": "/no/such/folder"}, "/no/such/folder"),
        ({"command": "true", "stdout_path": "/no/such/folder/out"}, "/no/such/folder/out"),
    ],
)
def test_what_cannot_be_launched_says_why(machine, spec: dict[str, str], word: str) -> None:
    end = machine.end(machine.submit(**spec))
    assert (end.state, end.reason, end.exit_code) == (JobState.FAILED, Reason.LAUNCH_FAILED, None)
    assert word in (end.message or "")


def test_usage_and_times(machine) -> None:
    before = time.time()
    code = (
        "x = bytearray(96 << 20); t = __import__('time'); e = t.process_time() + 0.3\nwhile t.process_time() < e: pass"
    )
    end = machine.end(machine.sh(f'python3 -c "{code}"'))
    assert end.usage is not None
    assert 0.3 <= (end.usage.cpu_time_s or 0) < 5
    assert 96 << 10 <= (end.usage.max_rss_kib or 0) < 300 << 10
    assert end.started_at is not None
    assert end.ended_at is not None
    assert before <= end.started_at < end.started_at + 0.3 <= end.ended_at <= time.time()
    assert end.nodes == (os.uname().nodename,)


def test_usage_counts_a_daemon_of_the_job(machine) -> None:
    code = "t = __import__('time'); e = t.process_time() + 0.3\nwhile t.process_time() < e: pass\nopen('done', 'w')"
    job = machine.sh(f'(setsid python3 -c "{code}" &)\nuntil [ -e done ]; do sleep 0.02; done')
    usage = machine.end(job).usage
    assert usage is not None
    assert (usage.cpu_time_s or 0) >= 0.3


def test_the_exit_record_says_the_same(machine) -> None:
    job = machine.sh("exit 3")
    end = machine.end(job)
    told = read_exit(job, machine.transport)
    assert told is not None
    assert told.evidence is Evidence.EXIT_FILE
    for name in ("native_id", "state", "reason", "exit_code", "signal", "started_at", "ended_at", "nodes", "usage"):
        assert getattr(told, name) == getattr(end, name), name
    start = json.loads(Path(JobFolder(job.folder).started(1)).read_text())
    assert (start["native_id"], start["started_at"]) == (job.native_id, end.started_at)


def test_the_gateway_is_told_of_start_and_end(machine) -> None:
    job = machine.sh("until [ -e go ]; do sleep 0.02; done")

    def words() -> list[Path]:
        return list(machine.events.glob(f"{job.key}.*"))

    machine.wait_for(words, "word of the start")
    assert machine.see(job).state is JobState.RUNNING
    for word in words():
        assert word.stat().st_mode & 0o777 == 0o600
        word.unlink()
    machine.go(job)
    machine.wait_for(words, "word of the end")
    assert machine.see(job).state is JobState.COMPLETED


def test_a_short_job_is_quick(machine) -> None:
    machine.end(machine.submit(command="true"))
    took = []
    for _ in range(5):
        began = time.time()
        end = machine.end(machine.submit(command="true"))
        took.append((end.started_at or 0) - began)
    assert min(took) < 0.05


def test_the_same_key_is_the_same_job(machine) -> None:
    job = machine.job(script="#!/bin/sh\necho x >> marks\n", secret_environment={"A": "b"})
    first, again = machine.submit_job(job), machine.submit_job(job)
    assert first.native_id == again.native_id
    machine.end(first)
    assert machine.submit_job(job).native_id == first.native_id
    assert machine.work(first, "marks").read_text() == "x\n"
    machine.spool.cancel([])
    assert not Path(JobFolder(first.folder).secrets).exists()


def test_search_by_key(machine) -> None:
    job = machine.submit(command="true")
    found = plugin.hpcgate_find_by_key(machine.site, replace(job, native_id=None), machine.transport)
    assert (found.presence, found.native_id) == (Presence.PRESENT, job.native_id)
    other = plugin.hpcgate_find_by_key(machine.site, replace(job, key="another"), machine.transport)
    assert other.presence is Presence.ABSENT


def test_accounting_remembers_what_the_listing_forgets(machine) -> None:
    job = machine.sh("exit 4")
    machine.end(job)
    machine.set(keep_s=1)
    machine.wait_for(
        lambda: job.native_id not in plugin.hpcgate_poll_jobs(machine.site, [], machine.transport).observations,
        "the job to leave the listing",
    )
    told = plugin.hpcgate_read_accounting(machine.site, [job, replace(job, key="unknown")], machine.transport)
    assert [(each.native_id, each.exit_code, each.evidence) for each in told] == [
        (job.native_id, 4, Evidence.ACCOUNTING)
    ]


@pytest.mark.parametrize(
    ("resources", "field", "words"),
    [
        (Resources(nodes=2), "resources.nodes", "is 2"),
        (Resources(cpus_per_node=3), "resources.cpus_per_node", "3 cores; site 'here' has 2"),
        (Resources(tasks=2, cpus_per_task=2), "resources.cpus_per_task", "4 cores"),
        (Resources(memory_mib=1001), "resources.memory_mib", "1001 MiB; site 'here' has 1000"),
        (Resources(memory_per_cpu_mib=501, tasks=2), "resources.memory_per_cpu_mib", "1002 MiB"),
    ],
)
def test_more_than_the_site_has_is_refused(machine, resources: Resources, field: str, words: str) -> None:
    job = machine.job(command="true", resources=resources)
    for call in (
        lambda: plugin.hpcgate_submit_job(machine.site, job, machine.transport),
        lambda: plugin.hpcgate_render_script(machine.site, job),
    ):
        with pytest.raises(InvalidSpec) as caught:
            call()
        assert caught.value.errors[0].field == field
        assert words in caught.value.errors[0].message


def test_bulk_submit_answers_one_by_one(machine) -> None:
    jobs = [machine.job(command="true") for _ in range(3)]
    jobs[1] = machine.job(command="true", resources=Resources(nodes=5))
    first, second, third = plugin.hpcgate_submit_jobs(machine.site, jobs, machine.transport)
    assert isinstance(first, Submitted)
    assert isinstance(third, Submitted)
    assert isinstance(second, SubmitFailed)
    assert second.permanent
    assert [each.key for each in (first, second, third)] == [job.key for job in jobs]


def test_a_starting_job_is_still_queued():
    row = {"state": "STARTING", **dict.fromkeys(("reason", "message", "exit_code", "signal", "started_at", "ended_at"))}
    row |= {"id": 1, "key": "k", "attempt": 1, "submitted_at": 0.0, "cpu_time_s": None, "max_rss_kib": None}
    (seen,) = observe({"node": "n", "jobs": [row], "tasks": []}, Evidence.QUEUE)
    assert (seen.state, seen.phase, seen.nodes) == (JobState.QUEUED, Phase.STARTING, ())


def test_unknown_signal_name_is_refused(machine) -> None:
    job = machine.sh("sleep 60")
    with pytest.raises(SchedulerError, match="FOO") as caught:
        plugin.hpcgate_signal_job(machine.site, job, "FOO", machine.transport)
    assert not caught.value.transient


def test_site_check_and_description(machine) -> None:
    job = machine.sh("sleep 60", resources=Resources(memory_mib=100))
    machine.running(job)
    machine.sh("true", hold=True)
    probe = plugin.hpcgate_probe_site(machine.site, machine.transport)
    assert probe is not None
    assert {check.name for check in probe.checks} >= {"queue", "python", "cpus", "memory"}
    about = plugin.hpcgate_describe_site(machine.site, machine.transport)
    assert about is not None
    assert (about.queues[0].running, about.queues[0].pending) == (1, 1)
    assert (about.nodes[0].cpus_used, about.nodes[0].memory_used_mib) == (1, 100)
