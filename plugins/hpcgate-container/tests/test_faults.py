"""What may go wrong at an engine, tried on a live one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from container_jobs import Bed
from hpcgate_container import labels, scheduler, tend

from hpcgate.errors import JobRejected, SchedulerError
from hpcgate.model.scheduler import Presence
from hpcgate.model.spec import ArraySpec
from hpcgate.model.state import JobState, Reason

pytestmark = pytest.mark.live

WAITS = "#!/bin/sh\necho once >>ran\nwhile [ ! -e go ]; do sleep 0.1; done\n"


class Died(BaseException):
    """The gateway's process was killed here."""


@pytest.fixture
def bed(podman, site, transport):
    bed = Bed(podman, site, transport)
    yield bed
    bed.clean()


def die(monkeypatch, where, name):
    def killed(*_args, **_more):
        raise Died

    monkeypatch.setattr(where, name, killed)


def test_a_gateway_killed_between_making_and_starting(bed, monkeypatch):
    job = bed.job(script="#!/bin/sh\necho once >>ran\n")
    with monkeypatch.context() as patch:
        die(patch, tend, "launch")
        with pytest.raises(Died):
            bed.submit(job)
    now = [0.0]
    bed.plugin = scheduler.ContainerScheduler()  # the next gateway
    bed.plugin._watch = tend.Watch(lambda: now[0])
    found = bed.plugin.hpcgate_find_by_key(bed.site, job.ref, bed.transport)
    assert (found.presence, found.native_id) == (Presence.PRESENT, labels.native_id(job.key))
    assert bed.see(job).state is JobState.QUEUED, "another process may be about to start it"
    now[0] += tend.UNSTARTED_S
    bed.see(job)
    assert bed.end(job).state is JobState.COMPLETED
    assert bed.read(job, "work/ran") == "once\n"


def test_a_gateway_killed_while_it_makes_an_array(bed, monkeypatch):
    job = bed.job(script="#!/bin/sh\necho $HPCGATE_ARRAY_INDEX >>ran\n", array=ArraySpec.parse("1-3"))
    create, made = scheduler.Create.run, []

    def dies(self, transport):
        if len(made) == 2:
            raise Died
        made.append(create(self, transport))
        return made[-1]

    with monkeypatch.context() as patch:
        patch.setattr(scheduler.Create, "run", dies)
        with pytest.raises(Died):
            bed.submit(job)
    assert bed.plugin.hpcgate_find_by_key(bed.site, job.ref, bed.transport).presence is Presence.ABSENT
    bed.submit(job)
    assert bed.end(job).state is JobState.COMPLETED
    assert sorted(bed.read(job, "work/ran").split()) == ["1", "2", "3"]


def test_a_job_that_was_removed_after_its_start_is_not_submitted_again(bed):
    job = bed.submit(bed.job(script=WAITS))
    bed.wait(lambda: bed.exists(job, "start.1"))
    bed.podman.run("rm", "--force", "--time=0", job.native_id)
    found = bed.plugin.hpcgate_find_by_key(bed.site, job.ref, bed.transport)
    assert found.presence is Presence.PRESENT
    assert bed.look(job) is None, "absent, and nothing is said of how it ended"


def test_killed_and_stopped_from_outside(bed):
    killed, stopped = (bed.submit(bed.job(script=WAITS)) for _ in range(2))
    for job in (killed, stopped):
        bed.wait(lambda job=job: bed.exists(job, "work/ran"))
    bed.podman.run("kill", killed.native_id)
    bed.podman.run("stop", "--time=5", stopped.native_id)
    for job, signal in ((killed, 9), (stopped, 15)):
        seen = bed.end(job)
        assert (seen.state, seen.reason, seen.signal) == (JobState.FAILED, Reason.SIGNALED, signal)


def test_a_container_that_is_started_again_by_hand_runs_nothing(bed):
    job = bed.submit(bed.job(script="#!/bin/sh\necho once >>ran\nexit 3\n"))
    first = bed.end(job)
    bed.podman.run("start", "--attach", job.native_id, check=False)
    for plugin in (bed.plugin, scheduler.ContainerScheduler()):
        bed.plugin = plugin
        again = bed.end(job)
        assert (again.state, again.exit_code) == (first.state, first.exit_code) == (JobState.FAILED, 3)
    assert bed.read(job, "work/ran") == "once\n"


def test_an_image_without_a_shell_cannot_be_launched(bed):
    bed.podman.run("import", "-", "localhost/empty:1", stdin=bytes(10_240))
    bed.set(images=("localhost/*",))
    job = bed.submit(bed.job(command="true", native={"image": "localhost/empty:1"}))
    seen = bed.end(job)
    assert (seen.state, seen.reason) == (JobState.FAILED, Reason.LAUNCH_FAILED)
    assert "/bin/sh" in (seen.message or "")


def test_an_image_that_is_not_there_is_refused_with_the_engines_words(bed):
    bed.set(images=("localhost/*",))
    with pytest.raises(JobRejected, match="image not known"):
        bed.submit(bed.job(command="true", native={"image": "localhost/none:1"}))


def test_a_program_that_is_not_in_the_image_is_told_in_words(bed):
    seen = bed.end(bed.submit(bed.job(command="no-such-program")))
    assert (seen.state, seen.exit_code) == (JobState.FAILED, 127)
    assert "not found in the image" in (seen.message or "")


def test_secrets_of_a_killed_job_are_removed(bed):
    job = bed.submit(bed.job(script=WAITS, secret_environment={"TOKEN": "s3cret"}))
    bed.wait(lambda: bed.exists(job, "work/ran"))
    assert bed.exists(job, "secrets")
    bed.podman.run("kill", job.native_id)
    bed.end(job)
    assert not bed.exists(job, "secrets")


def test_a_job_waits_at_the_gateway_while_the_host_is_full(bed):
    bed.set(max_running=1)
    first = bed.submit(bed.job(script=WAITS))
    with pytest.raises(SchedulerError, match="the job waits") as caught:
        bed.submit(bed.job(command="true"))
    assert caught.value.transient
    bed.cancel(first)
    assert bed.end(first).state is JobState.CANCELED
    assert bed.end(bed.submit(bed.job(command="true"))).state is JobState.COMPLETED


def test_ended_containers_are_cleared_away_once_they_are_written_down(bed):
    bed.set(keep_s=0)
    done, asked_for = (bed.submit(bed.job(command="true")) for _ in range(2))
    bed.end(done, beside=asked_for)
    bed.end(asked_for, beside=done)
    bed.plugin.hpcgate_poll_jobs(bed.site, [asked_for.ref], bed.transport)
    left = bed.podman.run("ps", "--all", "--format={{.Names}}").split()
    assert asked_for.native_id in left
    assert done.native_id not in left
    assert bed.exists(done, "exit.1"), "its folder stays"


def test_a_container_sees_no_more_than_its_own(bed):
    script = """#!/bin/sh
    id -u
    grep -E '^(CapEff|NoNewPrivs)' /proc/self/status
    touch /bin/x 2>&1
    touch /tmp/x && echo scratch
    ls /sys/class/net
    ls "$HOME"/../.. | wc -l
    """
    job = bed.submit(bed.job(script=script))
    assert bed.end(job).state is JobState.COMPLETED
    uid = str(Path(bed.site.work_root).parent.stat().st_uid)
    assert bed.read(job, "stdout").splitlines() == [
        uid,
        "CapEff:\t0000000000000000",
        "NoNewPrivs:\t1",
        "touch: /bin/x: Read-only file system",
        "scratch",
        "lo",
        "1",
    ]


def test_the_docker_way_of_saying_it(bed):
    """The same words that docker gets, taken by podman: what docker does not know is not among them."""
    folder = bed.podman.root / "docker"  # where any account may look
    folder.mkdir()
    folder.chmod(0o755)
    log = folder / "log"
    log.touch()
    log.chmod(0o666)
    program = folder / "docker"
    noting = f'for word; do printf "%s\\t" "$word"; done >>{log}\necho >>{log}\n'
    program.write_text(f'#!/bin/sh\n{noting}exec {" ".join(bed.podman.command)} "$@"\n')
    program.chmod(0o755)
    bed.set(engine="docker", engine_command=(str(program),))
    done = bed.submit(bed.job(script="#!/bin/sh\nexit 3\n"))
    waits = bed.submit(bed.job(script=WAITS))
    held = bed.submit(bed.job(command="true", hold=True))
    assert bed.end(done).exit_code == 3
    bed.wait(lambda: bed.see(waits).state is JobState.RUNNING)
    for signal, state in (("STOP", JobState.SUSPENDED), ("CONT", JobState.RUNNING)):
        bed.plugin.hpcgate_signal_job(bed.site, waits.ref, signal, bed.transport)
        assert bed.see(waits).state is state
    bed.cancel(waits, held)
    assert bed.end(waits).state is bed.end(held).state is JobState.CANCELED
    said = [line.split("\t")[:-1] for line in log.read_text().splitlines()]
    assert {words[0] for words in said} >= {"info", "create", "start", "ps", "inspect", "pause", "unpause", "stop"}
    assert not {word.partition("=")[0] for words in said for word in words} & {
        "--ignore", "--timeout", "--userns", "--http-proxy", "--sdnotify", "--image-volume", "--url",
    }  # fmt: skip


def test_the_probe_tells_what_is_wrong(bed):
    bed.set(image="localhost/none:1")
    probe = bed.plugin.hpcgate_probe_site(bed.site, bed.transport)
    assert {check.name for check in probe.checks if not check.ok} == {"image"}
    bed.set(engine_command=("/no/such/podman",))
    assert not bed.plugin.hpcgate_probe_site(bed.site, bed.transport).ok
    bed.set(engine_command=("podman", "--remote", "--url", "unix:///no/such.sock"))
    (check,) = bed.plugin.hpcgate_probe_site(bed.site, bed.transport).checks
    assert "no/such.sock" in json.dumps(check.detail) or "connect" in check.detail
