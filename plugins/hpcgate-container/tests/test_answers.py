"""What the engines' answers mean: those recorded from podman 4.3.1, and docker's own words."""

from __future__ import annotations

import json

import pytest
from container_jobs import KEY, site_with
from hpcgate_container.engine import Create, Talk
from hpcgate_container.host import AskEngine
from hpcgate_container.images import is_reference
from hpcgate_container.observe import End, Folders, end_of, observe
from hpcgate_container.scheduler import ContainerScheduler
from hpcgate_container.times import epoch
from hypothesis import given
from hypothesis import strategies as st

from hpcgate.errors import JobRejected, SchedulerError
from hpcgate.model.files import JobFolder
from hpcgate.model.job import JobRef
from hpcgate.model.state import Evidence, JobState, Phase, Reason
from hpcgate.scheduler.command import Answer
from hpcgate.testing.transports import MemoryTransport, ScriptedTransport

NEVER = "0001-01-01T00:00:00Z"
ID = "db869889c48420c6f466443a42d8cc92db0905d939def6e6960d19a8e2dbacd1"
LABELS = {"hpcgate.key": KEY, "hpcgate.attempt": "1", "hpcgate.job": "7", "hpcgate.site": "0123456789abcdef"}
STARTED, ENDED = "2026-11-22T06:23:09.392177526Z", "2026-11-22T06:23:11.133137233Z"


def row(status="exited", code=0, started=STARTED, ended=ENDED, labels=(), name=f"hpcgate-{KEY}", **state):
    """A line of ``inspect``, as podman 4.3.1 prints it."""
    recorded = {
        "OciVersion": "1.0.2-dev", "Status": status, "Running": status == "running", "Paused": False,
        "Restarting": False, "OOMKilled": False, "Dead": False, "Pid": 0, "ExitCode": code, "Error": "",
        "StartedAt": started, "FinishedAt": ended, "CheckpointedAt": NEVER, "RestoredAt": NEVER, **state,
    }  # fmt: skip
    created = "2026-11-22T06:23:05.757716641Z"
    every = {
        "id": ID,
        "name": name,
        "created": created,
        "state": recorded,
        "labels": LABELS | dict(labels),
        "node": "box",
    }
    return json.dumps(every)


def seen(*args, **more):
    (found,) = Talk(site_with()).inspect([ID]).parse(Answer("podman", 0, row(*args, **more) + "\n", ""))
    return found


class Home:
    """The folders of a site, in memory."""

    def __init__(self):
        self.transport = MemoryTransport()
        self.folder = JobFolder.of("/jobs", KEY)
        self.transport.mkdir(self.folder.root)

    def write(self, name, **record):
        given = {"native_id": f"hpcgate-{KEY}", "exit_code": 0, "signal": None, **record}
        self.transport.write(f"{self.folder.root}/{name}", json.dumps(given).encode())

    def end(self, *args, **more):
        return end_of(seen(*args, **more), Folders("/jobs", self.transport))


@pytest.fixture
def home():
    return Home()


# --- how a container ended ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "state", "reason", "exit_code", "signal"),
    [
        (0, JobState.COMPLETED, None, 0, None),
        (3, JobState.FAILED, Reason.EXIT_NONZERO, 3, None),
        (128, JobState.FAILED, Reason.EXIT_NONZERO, 128, None),
        (137, JobState.FAILED, Reason.SIGNALED, None, 9),
        (143, JobState.FAILED, Reason.SIGNALED, None, 15),
        (255, JobState.FAILED, Reason.EXIT_NONZERO, 255, None),
        (125, JobState.FAILED, Reason.LAUNCH_FAILED, 125, None),
        (127, JobState.FAILED, Reason.LAUNCH_FAILED, 127, None),
        (-1, JobState.FAILED, Reason.NODE_FAIL, None, None),
    ],
)
def test_exit_status(home, code, state, reason, exit_code, signal):
    end = home.end(code=code)
    assert (end.state, end.reason, end.exit_code, end.signal) == (state, reason, exit_code, signal)


def test_a_container_that_lost_its_end_did_not_complete(home):
    """After a restart of the host podman calls it exited, with code 0 and no end."""
    assert home.end(code=0, ended=NEVER).reason is Reason.NODE_FAIL
    home.write("exit.1")
    end = home.end(code=0, ended=NEVER)
    assert (end.state, end.evidence) == (JobState.COMPLETED, Evidence.EXIT_FILE)


def test_what_the_engine_noticed_of_the_memory_counts(home):
    assert home.end(code=0, OOMKilled=True).reason is Reason.OUT_OF_MEMORY


@pytest.mark.parametrize("code", [-1, 137, 143])
def test_the_end_of_the_walltime_by_a_clock_outside(home, code):
    assert home.end(code=code, labels={"hpcgate.walltime-s": "2"}).reason is Reason.TIMEOUT
    assert home.end(code=code, labels={"hpcgate.walltime-s": "60"}).reason is not Reason.TIMEOUT


@pytest.mark.parametrize("code", [117, 118, 119])
def test_a_record_tells_more_than_a_number(home, code):
    assert home.end(code=code).reason is Reason.EXIT_NONZERO, "a script may end with it as well"
    home.write("exit.1", exit_code=None, signal=15, reason="TIMEOUT")
    assert home.end(code=code).reason is Reason.TIMEOUT


def test_a_record_of_another_job_does_not_count(home):
    home.write("exit.1", native_id="hpcgate-OTHER", reason="TIMEOUT")
    assert home.end(code=117).reason is Reason.EXIT_NONZERO
    home.transport.write(f"{home.folder.root}/exit.1", b"[" * 10_000)
    assert home.end(code=117).reason is Reason.EXIT_NONZERO


def test_canceled_is_what_was_asked_to_end_before_it_had(home):
    home.transport.write(f"{home.folder.root}/canceled", b"")
    for code in (143, 137, 5, -1):
        assert home.end(code=code).state is JobState.CANCELED
    assert home.end("created", started=NEVER, ended=NEVER).state is JobState.CANCELED
    assert home.end("running", ended=NEVER) is None
    assert home.end(code=0).state is JobState.COMPLETED


# --- where a job is -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "labels", "state", "phase"),
    [
        ("created", {}, JobState.QUEUED, Phase.STARTING),
        ("created", {"hpcgate.hold": "1"}, JobState.HELD, None),
        ("running", {}, JobState.RUNNING, None),
        ("paused", {}, JobState.SUSPENDED, None),
        ("stopping", {}, JobState.RUNNING, Phase.COMPLETING),
        ("Running", {}, JobState.RUNNING, None),
        ("removing", {}, None, None),
        ("a new word", {}, None, None),
    ],
)
def test_status(status, labels, state, phase):
    found = observe([seen(status, ended=NEVER, labels=labels)], {})
    assert (found.state, found.phase) == (state, phase)
    assert (found.native_id, found.key) == (f"hpcgate-{KEY}", KEY)


def test_an_array_is_known_only_as_a_whole():
    rows = [
        seen(name=f"hpcgate-{KEY}-{index}", labels={"hpcgate.index": str(index), "hpcgate.tasks": "2"})
        for index in (4, 3)
    ]
    done, failed = End(state=JobState.COMPLETED, exit_code=0), End(state=JobState.FAILED, exit_code=2)
    ends = {f"hpcgate-{KEY}-3": failed, f"hpcgate-{KEY}-4": done}
    assert observe(rows[:1], ends) is None, "one container is missing: nothing can be said"
    found = observe(rows, ends)
    assert (found.state, found.exit_code) == (JobState.FAILED, 2)
    assert [(task.index, task.native_id) for task in found.tasks] == [(3, f"hpcgate-{KEY}-3"), (4, f"hpcgate-{KEY}-4")]


# --- refusals -----------------------------------------------------------------------------------------------------


TAKEN_BY_PODMAN = (
    f'Error: creating container storage: the container name "hpcgate-{KEY}" is already in use by db869889c484. You '
    "have to remove that container to be able to reuse that name: that name is already in use"
)
TAKEN_BY_DOCKER = (
    f'Error response from daemon: Conflict. The container name "/hpcgate-{KEY}" is already in use by container "db8". '
    "You have to remove (or rename) that container to be able to reuse that name."
)


@pytest.mark.parametrize("words", [TAKEN_BY_PODMAN, TAKEN_BY_DOCKER])
def test_a_name_that_is_taken_is_the_first_submit(words):
    assert Create(["podman"]).parse(Answer("podman", 125, "", words)) is False


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("Error: localhost/none:1: image not known", JobRejected),
        ("Unable to find image 'none:1' locally\nError response from daemon: pull access denied for none", JobRejected),
        ("Error response from daemon: No such image: none:1", JobRejected),
        ("Error: statfs /data: no such file or directory", JobRejected),
        ("Error response from daemon: could not select device driver", JobRejected),
        (
            "Error: initializing source docker://localhost/none:1: pinging container registry: connection refused",
            SchedulerError,
        ),
        ("Error: unable to connect to Podman socket: dial unix /x: connect: no such file or directory", SchedulerError),
        (
            "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?",
            SchedulerError,
        ),
        ("Error: database is locked", SchedulerError),
        ("", SchedulerError),
    ],
)
def test_what_is_refused_for_good_and_what_may_pass(words, kind):
    with pytest.raises(kind) as caught:
        Create(["podman"]).parse(Answer("podman", 125, "", words))
    assert type(caught.value) is kind


def test_inspect_leaves_out_what_is_gone_and_nothing_else():
    inspect = Talk(site_with()).inspect([ID, "gone"])
    gone = "Error: inspecting object: no such container gone\n"
    assert [each.name for each in inspect.parse(Answer("podman", 125, row(), gone))] == [f"hpcgate-{KEY}"]
    assert inspect.parse(Answer("docker", 1, "\n", "Error: No such container: gone")) == []
    for stderr in ("Error: database is locked", "", f"{gone}Error: something else"):
        with pytest.raises(SchedulerError):
            inspect.parse(Answer("podman", 125, "", stderr))


def test_a_listing_that_is_not_understood_is_no_empty_listing():
    transport = ScriptedTransport()
    transport.on("podman", stdout="Welcome to box!\n")
    with pytest.raises(SchedulerError, match="not understood"):
        Talk(site_with()).ids({"a": "b"}).run(transport)


@pytest.mark.parametrize("count", [1, 10, 1000])
def test_a_poll_is_two_commands_however_many_containers_there_are(count):
    keys = [f"{KEY[:-4]}{number:04}" for number in range(count)]
    rows = [row("running", ended=NEVER, name=f"hpcgate-{key}", labels={"hpcgate.key": key}) for key in keys]
    transport = ScriptedTransport()
    transport.on("podman", "ps", stdout="".join(f"{number:064x}\n" for number in range(count)))
    transport.on("podman", "inspect", stdout="\n".join(rows))
    refs = [
        JobRef(id=number, key=key, native_id=f"hpcgate-{key}", folder=f"/jobs/{key}") for number, key in enumerate(keys)
    ]
    listing = ContainerScheduler().hpcgate_poll_jobs(site_with(), refs, transport)
    assert listing.complete
    assert {each.state for each in listing.observations.values()} == {JobState.RUNNING}
    assert len(listing.observations) == count
    assert [command.argv[1] for command in transport.commands] == ["ps", "inspect"]


# --- info ---------------------------------------------------------------------------------------------------------


def test_docker_info():
    info = {
        "ServerVersion": "28.2.2", "NCPU": 4, "MemTotal": 8 << 30, "Name": "box", "CgroupVersion": "2",
        "MemoryLimit": True, "CpuCfsQuota": True, "PidsLimit": False, "DefaultRuntime": "runc",
        "SecurityOptions": ["name=seccomp,profile=builtin", "name=rootless"],
    }  # fmt: skip
    engine = AskEngine(["docker"], "docker").parse(Answer("docker", 0, json.dumps(info), ""))
    assert (engine.kind, engine.version, engine.rootless, engine.cpus, engine.memory_mib) == (
        "docker",
        "28.2.2",
        True,
        4,
        8192,
    )
    assert engine.limits == {"cpu", "memory"}


def test_docker_info_without_a_daemon():
    info = {"ServerErrors": ["Cannot connect to the Docker daemon"], "ServerVersion": "", "NCPU": 0}
    with pytest.raises(SchedulerError, match="Cannot connect"):
        AskEngine(["docker"], "docker").parse(Answer("docker", 0, json.dumps(info), ""))


@pytest.mark.parametrize(("rootless", "version", "limits"), [(True, "v1", 0), (True, "v2", 2), (False, "v1", 2)])
def test_an_ordinary_account_limits_nothing_with_control_groups_of_version_1(rootless, version, limits):
    host = {
        "hostname": "box", "cpus": 2, "memTotal": 1 << 30, "cgroupVersion": version, "ociRuntime": {"name": "crun"},
        "cgroupControllers": ["cpuset", "memory", "pids"], "security": {"rootless": rootless, "selinuxEnabled": True},
    }  # fmt: skip
    answer = Answer("podman", 0, json.dumps({"host": host, "version": {"Version": "5.0"}}), "")
    engine = AskEngine(["podman"], "podman").parse(answer)
    assert (len(engine.limits), engine.selinux, engine.runtime) == (limits, True, "crun")


def test_times():
    assert epoch("2026-11-22T06:23:09.5Z") == epoch("2026-11-22T07:23:09.5+01:00")
    assert epoch(NEVER) is epoch("") is epoch(None) is None
    with pytest.raises(ValueError, match="no time"):
        epoch("5 minutes ago")


@given(st.text(max_size=60))
def test_no_image_name_looks_like_an_option_or_holds_white_space(text):
    if is_reference(text):
        assert text[0].isalnum()
        assert not any(letter.isspace() or letter in "'\"$;&|<>\\," for letter in text)
