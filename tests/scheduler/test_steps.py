"""The driver of a job's tasks, run by real shells."""

import json
import os
import shutil
import signal
import subprocess
from dataclasses import replace

import pytest
from support import eventually

from hpcgate.errors import InvalidSpec
from hpcgate.model.job import Job, JobRef
from hpcgate.model.site import Site
from hpcgate.model.spec import JobSpec, Policies, TaskSpec
from hpcgate.model.state import JobState, Reason
from hpcgate.scheduler.evidence import read_tasks
from hpcgate.scheduler.steps import SETUP_EXIT, with_driver
from hpcgate.testing.conformance.texts import AWKWARD
from hpcgate.transport.local import LocalTransport

KEY = "01ARZ3NDEKTSV4RRFFQ69G5FAV"
SHELLS = {
    name: argv
    for name, argv in {"dash": ["dash"], "bash": ["bash", "--posix"], "busybox": ["busybox", "sh"]}.items()
    if shutil.which(argv[0])
}
#: Says how it was called, in a way that the test reads back.
STAND_IN = """#!/bin/sh
{ printf '%s\\0' "$@"; } >"$RECORD/$(basename "$0").$1.argv"
env -0 >"$RECORD/$(basename "$0").$1.env"
exit 0
"""


@pytest.fixture(params=sorted(SHELLS))
def shell(request):
    return SHELLS[request.param]


def sh(script, **more):
    return TaskSpec(command="/bin/sh", args=("-c", script), **more)


class Node:
    """A compute node."""

    def __init__(self, root, shell):
        self.root, self.shell = root, shell
        self.folder = root / "it's $HOME of jobs" / KEY
        (self.folder / "work").mkdir(parents=True)
        self.spool = root / "events"
        self.spool.mkdir()
        self.tools = root / "tools"
        self.tools.mkdir()
        self.site = Site(
            name="a", scheduler="x", transport="local", work_root="/w", settings=None, event_spool=str(self.spool)
        )

    def stand_in(self, *names):
        for name in names:
            (self.tools / name).write_text(STAND_IN)
            (self.tools / name).chmod(0o755)

    def script(self, *tasks, runtimes=None, **spec):
        job = Job(
            id=1, key=KEY, owner="ann", site="a", spec=JobSpec(tasks=tasks, **spec), state=JobState.QUEUED,
            folder=str(self.folder), created_at=0.0, updated_at=0.0,
        )  # fmt: skip
        return with_driver(replace(self.site, runtimes=runtimes or {}), job).spec.script

    def start(self, *tasks, variables=None, **more):
        file = self.root / "driver"
        file.write_bytes(self.script(*tasks, **more).encode())
        environment = {
            "PATH": f"{self.tools}:{os.environ['PATH']}", "HOME": str(self.root), "RECORD": str(self.root),
            "HPCGATE_NATIVE_ID": "41", "HPCGATE_ATTEMPT": "1", "HPCGATE_JOB_KEY": KEY,
        }  # fmt: skip
        return subprocess.Popen(
            [*self.shell, str(file)],
            env=environment | (variables or {}),
            cwd=self.folder / "work",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    def run(self, *tasks, **more):
        with self.start(*tasks, **more) as process:
            out, err = process.communicate(timeout=60)
        return process.returncode, out.decode(), err.decode()

    def told(self, total=9):
        ref = JobRef(id=1, key=KEY, native_id="41", folder=str(self.folder), tasks=total)
        return read_tasks(ref, LocalTransport())

    def recorded(self, program, verb="run"):
        words = (self.root / f"{program}.{verb}.argv").read_bytes().decode().split("\0")[:-1]
        pairs = (self.root / f"{program}.{verb}.env").read_bytes().decode().split("\0")[:-1]
        return words, dict(pair.split("=", 1) for pair in pairs)


@pytest.fixture
def node(tmp_path, shell):
    return Node(tmp_path / "node", shell)


@pytest.fixture
def running(node):
    processes = []
    yield processes
    for process in processes:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


# --- how tasks run


def test_one_after_the_other_with_one_output(node):
    code, out, err = node.run(sh("echo a; echo x >&2"), sh("echo b; echo $HPCGATE_TASK"))
    assert (code, out, err) == (0, "a\nb\n1\n", "x\n")
    first, second = node.told()
    assert (first.state, first.exit_code, second.state) == (JobState.COMPLETED, 0, JobState.COMPLETED)
    assert first.started_at <= first.ended_at <= second.started_at
    assert (node.spool / KEY).exists()


def test_first_failure_ends_the_job_as_it_ended(node):
    assert node.run(sh("exit 3"), sh("echo ran"))[:2] == (3, "")
    (task,) = node.told()
    assert (task.state, task.reason, task.exit_code) == (JobState.FAILED, Reason.EXIT_NONZERO, 3)


def test_ignored_failures_still_give_the_exit_code_of_the_first(node):
    policies = Policies(ignore_task_failures=True)
    assert node.run(sh("true"), sh("exit 4"), sh("echo ran; exit 5"), policies=policies)[:2] == (4, "ran\n")
    assert [task.exit_code for task in node.told()] == [0, 4, 5]


def test_signal_of_a_task_is_the_jobs(node):
    assert node.run(sh("kill -9 $$"))[0] == -9
    (task,) = node.told()
    assert (task.state, task.reason, task.signal, task.exit_code) == (JobState.FAILED, Reason.SIGNALED, 9, None)


def test_tries(node):
    count = "echo x >> n; [ $(wc -l < n) -ge 3 ]"
    assert node.run(sh(count), policies=Policies(max_task_retries=2))[0] == 0
    assert json.loads((node.folder / "tasks.1").read_text())["tasks"][0]["tries"] == 3
    assert node.run(sh("echo y >> m; false"), policies=Policies(max_task_retries=2))[0] == 1
    assert (node.folder / "work/m").read_text() == "y\n" * 3


def test_folder_of_a_task_is_made(node):
    code, out, _ = node.run(sh("pwd", workdir="a b/c"), sh("pwd"))
    assert (code, out) == (0, f"{node.folder}/work/a b/c\n{node.folder}/work\n")
    (node.folder / "work/file").touch()
    code, _, err = node.run(sh("true", workdir="file/x"))
    assert code == SETUP_EXIT
    assert "file/x cannot be made" in err


def test_program_that_is_not_there(node):
    assert node.run(TaskSpec(command="/no/such/program"))[0] == 127
    assert node.told()[0].exit_code == 127


def test_awkward_arguments_and_variables(node):
    texts = (*AWKWARD, "dos\r\nlines", "$work$")
    owners = {"OWN": {}, "JOB": {}, "TOKEN": {}}
    for owner, values in owners.items():
        values.update({f"{owner}{number}": text for number, text in enumerate(texts)})
    names = " ".join(f'"${name}"' for values in owners.values() for name in values)
    task = TaskSpec(
        command="/bin/sh",
        args=("-c", f'printf "[%s]" "$@" {names}', "sh", *texts),
        environment=owners["OWN"],
    )
    spec = {
        "environment": {**owners["JOB"], **dict.fromkeys(owners["OWN"], "no")},
        "secret_environment": dict.fromkeys(owners["TOKEN"], "***"),
    }
    code, out, _ = node.run(task, variables=owners["TOKEN"], **spec)
    assert (code, out.encode()) == (0, "".join(f"[{text}]" for text in texts * 4).encode())


def test_variables_that_the_driver_needs_are_the_tasks_alone(node):
    first = TaskSpec(command="/bin/sh", args=("-c", 'echo "$PATH"'), environment={"PATH": "/nowhere", "IFS": "/"})
    assert node.run(first, sh('[ "$PATH" = /nowhere ] || date +fine'))[:2] == (0, "/nowhere\nfine\n")


def test_stdin_is_empty_and_interrupts_work(node):
    assert node.run(sh("cat; trap 'echo caught' INT; kill -INT $$"))[1] == "caught\n"


def test_secrets_stand_in_no_text(node):
    script = node.script(sh("true"), secret_environment={"TOKEN": "s3cret"})
    assert "s3cret" not in script


# --- signals


def ready(node, running, script, *others, **more):
    process = node.start(sh(f"{script}\n: > up\nwhile :; do sleep 0.02; done"), *others, **more)
    running.append(process)
    eventually(lambda: (node.folder / "work/up").exists())
    return process


@pytest.mark.parametrize("name", ["INT", "QUIT", "HUP", "USR1", "USR2", "ALRM"])
def test_signals_are_handed_on(node, running, name):
    process = ready(node, running, f"trap 'echo caught; exit 5' {name}")
    assert [task.state for task in node.told()] == [JobState.RUNNING]
    os.kill(process.pid, signal.Signals[f"SIG{name}"])
    assert process.communicate(timeout=30)[0] == b"caught\n"
    assert process.returncode == 5


def test_term_ends_the_task_and_starts_no_other(node, running):
    policies = Policies(max_task_retries=3, ignore_task_failures=True)
    process = ready(node, running, "trap 'echo saved; exit 0' TERM", sh("echo ran"), policies=policies)
    os.kill(process.pid, signal.SIGTERM)
    assert process.communicate(timeout=30)[0] == b"saved\n"
    assert process.returncode == -15  # a task was left: that is no success
    (task,) = node.told()
    assert (task.state, task.exit_code) == (JobState.RUNNING, 0)  # what it means only the scheduler knows
    assert task.ended_at is not None


def test_term_after_which_the_last_task_succeeds(node, running):
    process = ready(node, running, "trap 'exit 0' TERM")
    os.kill(process.pid, signal.SIGTERM)
    assert process.wait(timeout=30) == 0


# --- containers, by stand-ins

IMAGE = {"image": "localhost/tiny:1"}


@pytest.mark.parametrize("engine", ["podman", "docker", "udocker"])
@pytest.mark.parametrize("text", ["".join(AWKWARD), "", "-n"], ids=["all", "empty", "option"])
def test_engines_get_variables_by_name(node, engine, text):
    node.stand_in(engine)
    task = TaskSpec(command=f"c{text}", args=(text,), environment={"OWN": text, "PATH": f"/x{text}"}, **IMAGE)
    spec = {"environment": {"JOB": "j"}, "secret_environment": {"TOKEN": "***"}}
    assert node.run(task, runtimes={engine: engine}, variables={"TOKEN": f"s3cret{text}"}, **spec)[0] == 0
    words, environment = node.recorded(engine)
    assert (environment["OWN"], environment["JOB"], environment["TOKEN"]) == (text, "j", f"s3cret{text}")
    assert {"--env=OWN", "--env=JOB", "--env=TOKEN", "--env=HPCGATE_TASK", f"--env=PATH=/x{text}"} <= set(words)
    assert not [word for word in words if "s3cret" in word]
    assert environment["PATH"].startswith(str(node.tools))
    assert f"--volume={node.folder}/work:{node.folder}/work" in words
    assert words[-1] == text
    assert f"c{text}" in words or f"--entrypoint=c{text}" in words


@pytest.mark.parametrize(("name", "prefix"), [("apptainer", "APPTAINERENV_"), ("singularity", "SINGULARITYENV_")])
def test_singularity_gets_variables_by_prefix(node, name, prefix):
    node.stand_in(name)
    task = TaskSpec(command="prog", environment={"PATH": "/x", "A": "l1\nl2"}, **IMAGE)
    spec = {"secret_environment": {"TOKEN": "***"}, "runtimes": {name: name}}
    assert node.run(task, variables={"TOKEN": "s3cret"}, **spec)[0] == 0
    words, environment = node.recorded(name, "exec")
    given = {key.removeprefix(prefix): value for key, value in environment.items() if key.startswith(prefix)}
    assert (given["PATH"], given["A"], given["TOKEN"], given["HPCGATE_TASK"]) == ("/x", "l1\nl2", "s3cret", "0")
    assert not [word for word in words if "s3cret" in word]
    assert f"--pwd={node.folder}/work" in words


def test_charliecloud_gets_the_environment(node):
    node.stand_in("ch-run")
    task = TaskSpec(command="prog", environment={"A": "l1\nl2", "PATH": "/x:/bin:/usr/bin"}, **IMAGE)
    assert node.run(task, runtimes={"charliecloud": "charliecloud"})[0] == 0
    words, environment = node.recorded("ch-run", "--private-tmp")
    assert environment["A"] == "l1\nl2"
    assert words[1] == f"--bind={node.folder}/work:/mnt"


def test_runtime_that_is_not_on_the_node(node):
    code, _, err = node.run(TaskSpec(command="x", **IMAGE), runtimes={"udocker": "udocker"})
    assert code == SETUP_EXIT
    assert "task 0: there is no udocker on" in err


def test_term_stops_the_container(node, running):
    """Its engine does: the first process of a container ignores a TERM that it does not handle."""
    (node.tools / "podman").write_text(
        '#!/bin/sh\ncase $1 in\nrun) trap "" TERM; : > up; while [ ! -e stopped ]; do sleep 0.02; done; exit 143 ;;\n'
        'stop) [ "$2 $3" = "-t 8" ] && echo "$4" > stopped ;;\nesac\n'
    )
    (node.tools / "podman").chmod(0o755)
    process = node.start(TaskSpec(command="x", **IMAGE), runtimes={"podman": "podman"})
    running.append(process)
    eventually(lambda: (node.folder / "work/up").exists())
    os.kill(process.pid, signal.SIGTERM)
    assert process.wait(timeout=30) == -15
    assert (node.folder / "work/stopped").read_text() == f"hpcgate-{KEY}-1-0-1\n"


# --- what is refused

ONE = {"singularity": "podman"}
TWO = {"singularity": "podman", "docker": "podman"}
REFUSED = {
    "no runtime here": ({}, {"image": "i"}, {}, "tasks.0.image", "no container runtime is configured"),
    "which of two": (TWO, {"image": "i"}, {}, "tasks.0.runtime", "must be named; site 'a' has: docker, singularity"),
    "not offered": (ONE, {"image": "i", "runtime": "docker"}, {}, "tasks.0.runtime", "it has: singularity"),
    "no image": (ONE, {"command": "x", "runtime": "docker"}, {}, "tasks.0.runtime", "needs an image"),
    "host": ({"docker": "host"}, {"image": "i"}, {}, "tasks.0.command", "without their image"),
    "charliecloud": ({"docker": "charliecloud"}, {"image": "i"}, {}, "tasks.0.command", "does not know"),
    "image file": (ONE, {"image": "/a.sif"}, {}, "tasks.0.image", "which podman needs"),
    "folder": (ONE, {"command": "x"}, {"working_directory": "/x"}, "working_directory", "each task's workdir"),
    "own names": (
        ONE, {"command": "x", "environment": {"HPCGATE_x": "1"}}, {}, "tasks.0.environment.HPCGATE_x", "own",
    ),
    "secret twice": (
        ONE, {"command": "x", "environment": {"T": "1"}}, {"secret_environment": {"T": "2"}},
        "tasks.0.environment.T", "name it once",
    ),
    "secret for podman": (
        ONE, {"image": "i"}, {"secret_environment": {"DOCKER_HOST": "2"}}, "secret_environment.DOCKER_HOST", "podman",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refused(tmp_path, case):
    runtimes, task, spec, field, words = REFUSED[case]
    with pytest.raises(InvalidSpec) as caught:
        Node(tmp_path / "node", []).script(TaskSpec(**task), runtimes=runtimes, **spec)
    assert [each.field for each in caught.value.errors] == [field]
    assert words in caught.value.errors[0].message


def test_only_runtime_of_a_site_needs_no_name(tmp_path):
    node = Node(tmp_path / "node", [])
    assert "podman" in node.script(TaskSpec(image="i"), runtimes=ONE)
    assert "podman" not in node.script(TaskSpec(command="x", image="i"), runtimes={"docker": "host"})


@pytest.mark.parametrize(
    ("task", "field"),
    [
        ({}, "command"),
        ({"command": " "}, "command"),
        ({"command": "a\0"}, "command"),
        ({"image": "--privileged"}, "image"),
        ({"image": "a b"}, "image"),
        ({"image": "a\nb"}, "image"),
        ({"image": "i", "runtime": "-x"}, "runtime"),
        ({"command": "x", "workdir": "/etc"}, "workdir"),
        ({"command": "x", "workdir": "a/../../b"}, "workdir"),
        ({"command": "x", "environment": {"A B": "1"}}, "environment"),
    ],
)
def test_task_that_is_none(task, field):
    with pytest.raises(InvalidSpec) as caught:
        TaskSpec(**task)
    assert [each.field for each in caught.value.errors] == [field]


def test_arrays_have_no_tasks():
    from hpcgate.model.spec import ArraySpec

    with pytest.raises(InvalidSpec, match="together with tasks"):
        JobSpec(tasks=(TaskSpec(command="x"),), array=ArraySpec(start=0, stop=1))
