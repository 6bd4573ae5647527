"""The command line that makes a container: what is always there, what the site adds, what nobody can get in."""

from __future__ import annotations

from dataclasses import replace

import pytest
from container_jobs import ANN, ENGINE, FOLDER, KEY, argv_of, job_of, site_with
from hpcgate_container import plugin
from hpcgate_container.create import fits
from hpcgate_container.images import is_reference
from hpcgate_container.job import plan
from hpcgate_container.settings import ContainerSettings

from hpcgate.errors import InvalidSpec, SchedulerError
from hpcgate.model.spec import ArraySpec, JobSpec, Resources, TaskRole, TaskSpec

DOCKER = replace(ENGINE, kind="docker")


def options(argv, name):
    return [word.partition("=")[2] for word in argv if word.partition("=")[0] == name]


# --- always -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", [ENGINE, DOCKER], ids=lambda engine: engine.kind)
def test_a_container_is_locked_up(engine):
    argv = argv_of(site_with(engine=engine.kind), engine, command="true")
    assert argv[:2] == [engine.kind, "create"]
    for word in (
        "--cap-drop=all", "--security-opt=no-new-privileges", "--network=none", "--user=1000:100", "--read-only",
        "--pids-limit=2048", "--pull=never", "--entrypoint=/bin/sh", "--init=false",
    ):  # fmt: skip
        assert word in argv, word
    assert not [word for word in argv if word.startswith(("--privileged", "--cap-add", "--device", "--pid=", "--ipc"))]
    assert argv[-2:] == ["localhost/tiny:1", f"{FOLDER}/run"]


@pytest.mark.parametrize("engine", [ENGINE, DOCKER], ids=lambda engine: engine.kind)
def test_only_what_both_engines_know_is_said_to_docker(engine):
    argv = argv_of(site_with(engine=engine.kind), engine, command="true", resources=Resources(walltime_s=60))
    podmans_own = {"--http-proxy", "--sdnotify", "--image-volume", "--timeout", "--userns"}
    said = {word.partition("=")[0] for word in argv}
    assert said & podmans_own == (
        {"--http-proxy", "--sdnotify", "--image-volume", "--timeout"} if engine is ENGINE else set()
    )


def test_labels_hold_keys_and_numbers_alone():
    argv = argv_of(
        name="--privileged",
        command="true",
        labels={"a": "--privileged"},
        tags=("x,y",),
        secret_environment={"T": "s3cret"},
    )
    assert options(argv, "--label") == [
        "hpcgate.site=0123456789abcdef", f"hpcgate.key={KEY}", "hpcgate.job=7", "hpcgate.attempt=1",
        "hpcgate.secrets=1", "hpcgate.cpus=1", "hpcgate.memory-mib=0", "hpcgate.walltime-s=0",
    ]  # fmt: skip
    assert "s3cret" not in " ".join(argv)
    assert options(argv, "--name") == [f"hpcgate-{KEY}"]


def test_limits():
    argv = argv_of(command="true", resources=Resources(cpus_per_node=4, memory_mib=512, walltime_s=60))
    assert options(argv, "--cpus") == ["4"]
    assert options(argv, "--memory") == options(argv, "--memory-swap") == ["512m"]
    assert options(argv, "--timeout") == ["100"], "walltime, grace and a little more: the job's own clock is first"


def test_memory_may_be_counted_by_core():
    argv = argv_of(command="true", resources=Resources(cpus_per_node=4, memory_per_cpu_mib=100))
    assert options(argv, "--memory") == ["400m"]


def test_an_engine_without_control_groups_is_asked_for_no_limits():
    bare = replace(ENGINE, rootless=True, limits=frozenset())
    argv = argv_of(engine=bare, command="true")
    assert not options(argv, "--cpus") + options(argv, "--pids-limit")
    with pytest.raises(InvalidSpec, match="cannot limit memory"):
        fits(bare, plan(site_with(), job_of(command="true", resources=Resources(memory_mib=10))))


def test_no_container_runs_as_root_of_the_host():
    with pytest.raises(SchedulerError, match="account is root") as caught:
        argv_of(account=replace(ANN, uid=0), command="true")
    assert not caught.value.transient
    assert "--user=0:0" in argv_of(engine=replace(DOCKER, rootless=True), command="true"), (
        "the account, seen from inside"
    )
    assert "--userns=keep-id" in argv_of(engine=replace(ENGINE, rootless=True), command="true")


def test_mounts_are_the_folder_the_spool_and_what_the_site_lists():
    site = site_with(event_spool="/spool", mounts=("/data:/data", "/scratch:/scratch:rw"))
    assert options(argv_of(site, command="true"), "--mount") == [
        f"type=bind,source={FOLDER},target={FOLDER}",
        "type=bind,source=/spool,target=/run/hpcgate/events",
        "type=bind,source=/data,target=/data,readonly",
        "type=bind,source=/scratch,target=/scratch",
    ]


def test_folders_are_labelled_where_selinux_wants_it():
    (mount,) = options(argv_of(engine=replace(ENGINE, selinux=True), command="true"), "--mount")
    assert mount.endswith(",relabel=private")


def test_gpus():
    asked = Resources(gpus_per_node=2)
    site = site_with(gpus=4)
    assert options(argv_of(site, command="true", resources=asked), "--device") == [
        "nvidia.com/gpu=0",
        "nvidia.com/gpu=1",
    ]
    assert options(argv_of(site, DOCKER, command="true", resources=asked), "--gpus") == ["2"]
    with pytest.raises(InvalidSpec, match=r"resources\.gpus_per_node"):
        argv_of(command="true", resources=asked)


def test_each_task_of_an_array_is_a_container():
    argv = argv_of(index=3, command="true", array=ArraySpec.parse("2-3"))
    assert options(argv, "--name") == [f"hpcgate-{KEY}-3"]
    assert {"hpcgate.index=3", "hpcgate.tasks=2"} <= set(options(argv, "--label"))
    assert argv[-1] == "3"


# --- images and networks ------------------------------------------------------------------------------------------


def test_a_job_may_name_an_image_that_the_site_allows():
    site = site_with(images=("registry.example.org/*",))
    wanted = "registry.example.org/a/b:1"
    assert argv_of(site, command="true", native={"image": wanted})[-2] == wanted
    task = TaskSpec(command="true", image=wanted, environment={"A": "1"}, workdir="below")
    assert argv_of(site, tasks=(task,))[-2] == wanted
    planned = plan(site, job_of(tasks=(task,)))
    assert (planned.argv, planned.environment, planned.working_directory) == (("true",), {"A": "1"}, "below")


def test_a_network_is_there_only_when_asked_for_and_allowed():
    site = site_with(networks=("bridge",))
    assert "--network=none" in argv_of(site, command="true")
    assert "--network=bridge" in argv_of(site, command="true", native={"network": "bridge"})
    for network in ("host", "container:other", "ns:/proc/1/ns/net", "--privileged", "", 1, None):
        with pytest.raises(InvalidSpec, match=r"native\.network"):
            argv_of(site, command="true", native={"network": network})


@pytest.mark.parametrize(
    "text",
    [
        "tiny",
        "tiny:1",
        "localhost/tiny:1",
        "localhost:5000/a/b_c.d-e:V1.0",
        "docker.io/library/busybox@sha256:" + "a" * 64,
    ],
)
def test_what_is_the_name_of_an_image(text):
    assert is_reference(text)


@pytest.mark.parametrize(
    "text",
    [
        "", "--privileged", "-v/:/host", "dir:/etc", "docker-archive:/tmp/x.tar", "oci:/etc:tag", "/etc", "../x", "a b",
        "a\nb", "a;b", "tiny:1 --privileged", "tiny:", "a//b", "tiny@sha256:1", "$(id)", "x" * 600,
    ],
)  # fmt: skip
def test_what_is_not_the_name_of_an_image(text):
    assert not is_reference(text)
    site = site_with(images=("*",))
    with pytest.raises(InvalidSpec, match=r"native\.image"):
        argv_of(site, command="true", native={"image": text})
    with pytest.raises(InvalidSpec, match=r"(tasks\[0\]\.)?image"):
        argv_of(site, tasks=(TaskSpec(command="true", image=text),))


# --- what is refused ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "spec"),
    [
        ("native.image", {"native": {"image": "other"}}),
        ("native.image", {"native": {"image": ["localhost/tiny:1"]}}),
        ("native.privileged", {"native": {"privileged": True}}),
        ("native.volume", {"native": {"volume": "/:/host"}}),
        ("native.label", {"native": {"label": "hpcgate.key=other"}}),
        ("resources.nodes", {"resources": Resources(nodes=2)}),
        ("array.limit", {"array": ArraySpec.parse("0-3%2")}),
        ("array", {"array": ArraySpec.parse("0-100")}),
        ("stdout_path", {"stdout_path": "/etc/passwd"}),
        ("stdout_path", {"stdout_path": "../../other/stdout"}),
        ("stderr_path", {"stderr_path": "~/x"}),
        ("stderr_path", {"working_directory": "/tmp", "stderr_path": "x"}),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(field, spec):
    with pytest.raises(InvalidSpec) as caught:
        argv_of(command="true", **spec)
    assert [error.field for error in caught.value.errors] == [field]


@pytest.mark.parametrize(
    ("field", "task"),
    [
        ("tasks[0].command", TaskSpec(image="localhost/tiny:1")),
        ("tasks[0].runtime", TaskSpec(command="true", runtime="docker")),
        ("tasks[0].network", TaskSpec(command="true", network=True)),
    ],
)
def test_what_a_task_cannot_have(field, task):
    with pytest.raises(InvalidSpec) as caught:
        argv_of(tasks=(task,))
    assert [error.field for error in caught.value.errors] == [field]


def test_a_task_gets_the_sites_network_and_runtime():
    site = replace(site_with(networks=("bridge", "other")), runtimes={"singularity": "podman"})
    argv = argv_of(site, tasks=(TaskSpec(command="true", network=True, runtime="singularity"),))
    assert "--network=bridge" in argv


def test_the_folder_of_a_task_is_made():
    rendered = plugin.hpcgate_render_script(site_with(), job_of(tasks=(TaskSpec(command="true", workdir="a b"),)))
    assert (
        f"mkdir -p '{FOLDER.replace(chr(39), chr(39) + chr(34) + chr(39) + chr(34) + chr(39))}/work/a b'"
        in rendered.text
    )


def test_more_than_one_task_is_refused():
    task = TaskSpec(command="true")
    with pytest.raises(InvalidSpec, match="tasks: are 2"):
        argv_of(tasks=(task, task))
    with pytest.raises(InvalidSpec, match="roles"):
        argv_of(roles=(TaskRole(name="a", count=1, task=task),))


@pytest.mark.parametrize("folder", ["/a,target=/etc,b", '/a"b', "/a\nb"])
def test_a_folder_that_would_become_another_mount_is_refused(folder):
    site = replace(site_with(), work_root=folder)
    job = replace(job_of(command="true"), folder=f"{folder}/{KEY}")
    with pytest.raises(SchedulerError, match="no engine takes in a mount"):
        plugin.hpcgate_render_script(site, job)


def test_more_than_the_host_has_is_refused():
    for asked in (Resources(cpus_per_node=9), Resources(memory_mib=17_000)):
        with pytest.raises(InvalidSpec, match="box has"):
            fits(ENGINE, plan(site_with(), job_of(command="true", resources=asked)))


# --- settings -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("engine", "lxc"), ("pull", "always"), ("image", "--privileged"), ("images", ("-x",)), ("networks", ("a:b",)),
        ("networks", ("--privileged",)), ("mounts", ("/a",)), ("mounts", ("a:/b",)), ("mounts", ("/a:/b:rwx",)),
        ("mounts", ("/a:/",)), ("mounts", ("/a:/proc/x",)), ("mounts", ("/a:/b/../c",)), ("mounts", ("/a,b:/c",)),
        ("mounts", ("/a:/c", "/b:/c")), ("pids", 1), ("gpus", -1), ("max_running", 0), ("kill_grace_s", -1),
        ("engine_command", ("",)), ("gpu_device", "--privileged"), ("max_array_tasks", 0), ("keep_s", -1.0),
    ],
)  # fmt: skip
def test_a_wrong_setting_is_named(name, value):
    with pytest.raises(InvalidSpec) as caught:
        ContainerSettings(**{name: value})
    assert {error.field for error in caught.value.errors} == {f"settings.{name}"}


def test_environment_and_arguments_stand_in_the_script_not_on_the_command_line():
    spec = JobSpec(command="echo", args=("--privileged", "a\nb"), environment={"A": "x\ny'$(id)"})
    rendered = plugin.hpcgate_render_script(site_with(), replace(job_of(command="true"), spec=spec))
    assert "a\nb" in rendered.text
    assert "x\ny'\"'\"'$(id)" in rendered.text
    assert not [word for word in rendered.argv if "privileged" in word or "$(id)" in word]
