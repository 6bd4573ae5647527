"""Roles and dependencies: command lines, refusals, the mark, and what the records of tasks mean."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace

import pytest
from hpcgate_slurm import components, launcher
from hpcgate_slurm.dependencies import options, still_open
from hpcgate_slurm.mark import MAX_CHARS, Mark
from hpcgate_slurm.rows import Row
from hpcgate_slurm.settings import SlurmSettings
from hpcgate_slurm.submit import prepare

from hpcgate.errors import InvalidSpec, SchedulerError
from hpcgate.model.files import FileChunk, JobFolder
from hpcgate.model.job import Job, JobDependency, JobRef, Observation
from hpcgate.model.site import Site
from hpcgate.model.spec import ArraySpec, JobSpec, Resources, TaskRole, TaskSpec
from hpcgate.model.state import Evidence, JobState, Reason

S, R = JobState, Reason
SITE = Site(name="s", scheduler="slurm", transport="local", work_root="/jobs", settings=SlurmSettings())
EVIL = "x'; touch /tmp/evil; '$(reboot)`reboot`\n#SBATCH --uid=0\n"


def role(name="a", count=1, *, command="true", args=(), environment=None, workdir=None, image=None, **more) -> TaskRole:
    task = TaskSpec(command=command, args=args, environment=environment or {}, workdir=workdir, image=image)
    return TaskRole(name=name, count=count, task=task, **more)


def job(*roles: TaskRole, **fields) -> Job:
    spec = JobSpec(roles=roles, **fields) if roles else JobSpec(command="true", **fields)
    return Job(
        id=5, key="01KEY", owner="ann", site="s", spec=spec, state=S.SUBMITTING, folder="/jobs/01KEY", created_at=0,
        updated_at=0,
    )  # fmt: skip


def components_of(*roles: TaskRole, **fields) -> list[list[str]]:
    words, found = prepare(SITE, job(*roles, **fields))[0].words(), [[]]
    for word in words:
        found.append([]) if word == ":" else found[-1].append(word)
    return found


# --- the command line


def test_each_role_is_a_component():
    first, second = components_of(
        role("ps", 1, resources=Resources(cpus_per_task=2, memory_mib=101)),
        role("worker", 3, resources=Resources(gpus_per_node=2, gpu_type="a100", memory_per_cpu_mib=7)),
        queue="main", name="both", hold=True, resources=Resources(walltime_s=60),
    )  # fmt: skip
    assert {"--job-name=both", "--hold", "--comment=hpcgate:01KEY:ps=1,worker=3", "--time=1:00"} <= set(first)
    assert {"--ntasks=1", "--cpus-per-task=2", "--mem-per-cpu=51M", "--partition=main"} <= set(first)
    assert second == [
        "--partition=main", "--time=1:00", "--ntasks=3", "--cpus-per-task=1", "--mem-per-cpu=7M",
        "--gpus-per-task=a100:2",
    ]  # fmt: skip


def test_one_role_needs_no_components():
    (only,) = components_of(role("a", 4))
    assert "--ntasks=4" in only
    assert "--het-group" not in launcher.render(job(role("a", 4)).spec, JobFolder("/jobs/01KEY"))


@pytest.mark.parametrize(
    ("roles", "fields", "field"),
    [
        ([role(""), role("b")], {}, "roles.name"), ([role("a b")], {}, "roles.name"),
        ([role("a\n#SBATCH --uid=0")], {}, "roles.name"), ([role("-x")], {}, "roles.name"),
        ([role("a,b=9")], {}, "roles.name"), ([role("a"), role("a")], {}, "roles.name"),
        ([role("x" * 63 + str(each)) for each in range(9)], {}, "roles.name"),
        ([role(f"n{each}" + "x" * 60) for each in range(9)], {}, "roles.name"),
        ([role(count=0)], {}, "roles.count"), ([role(count=10_001)], {}, "roles.count"),
        ([role(command=None, image="x")], {}, "roles.task.image"), ([role(image="x")], {}, "roles.task.image"),
        ([role(min_failed=2)], {}, "roles.min_failed"), ([role(min_succeeded=0)], {}, "roles.min_succeeded"),
        ([role(resources=Resources(nodes=2))], {}, "roles.resources.nodes"),
        ([role(resources=Resources(tasks=2))], {}, "roles.resources.nodes"),
        ([role(resources=Resources(walltime_s=9))], {}, "roles.resources.walltime_s"),
        ([role(resources=Resources(disk_mib=9))], {}, "roles.resources.disk_mib"),
        ([role()], {"array": ArraySpec.parse("0-1")}, "array"), ([role()], {"native": {"nice": 1}}, "native"),
        ([role()], {"resources": Resources(nodes=2)}, "resources"),
    ],
)  # fmt: skip
def test_what_roles_cannot_be(roles, fields, field):
    with pytest.raises(InvalidSpec) as caught:
        prepare(SITE, job(*roles, **fields))
    assert field in {error.field for error in caught.value.errors}


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"command": ""}, "command"), ({"command": None}, "command"), ({"args": ("a\0b",)}, "args"),
        ({"environment": {"A;reboot": "1"}}, "environment"), ({"environment": {"A B": "1"}}, "environment"),
        ({"workdir": "../x"}, "workdir"), ({"workdir": "/etc"}, "workdir"), ({"workdir": "a\nb"}, "workdir"),
    ],
)  # fmt: skip
def test_what_a_task_of_a_role_cannot_be(more, field):
    """The model sees to it, and the launcher relies on it."""
    with pytest.raises(InvalidSpec) as caught:
        role(**more)
    assert field in {error.field for error in caught.value.errors}


def test_no_text_of_a_role_is_taken_for_shell(tmp_path):
    """The script that starts the gang, as one of its tasks."""
    print_all = 'printf "%s|" "$@" "$WORD" "$HPCGATE_ROLE" "$HPCGATE_ROLE_INDEX"'
    spec = job(
        role("a", 2),
        role("b", 2, command="/bin/sh", args=("-c", print_all, "sh", EVIL, ""), environment={"WORD": EVIL}),
    ).spec
    script = tmp_path / "script"
    script.write_text(launcher.render(spec, JobFolder(f"{tmp_path}/it's")))
    records = tmp_path / "it's" / ".gang.1"
    records.mkdir(parents=True)
    environment = {"PATH": "/usr/bin:/bin", "SLURM_PROCID": "3", "HPCGATE_ATTEMPT": "1", "SLURMD_NODENAME": "n7"}
    said = subprocess.run(["/bin/sh", script, "1"], env=environment, capture_output=True, text=True, timeout=20)
    assert (said.returncode, said.stderr, said.stdout) == (0, "", f"{EVIL}||{EVIL}|b|1|")
    (record,) = records.iterdir()
    assert record.name == "ok.1.1.0"
    told = json.loads(record.read_text())
    assert (told["role"], told["index"], told["status"], told["node"]) == ("b", 1, 0, "n7")


# --- the mark


@pytest.mark.parametrize("mark", [Mark("01K"), Mark("01K", 5), Mark("01K", roles=(("a", 1), ("b.c-d_", 20)))])
def test_a_mark_is_read_as_it_was_written(mark):
    assert Mark.read(str(mark)) == mark
    assert Mark.read(f"{mark} and more") == mark


@pytest.mark.parametrize("text", ["", "(null)", "other", "hpcgate:", "hpcgate:a b:1"[:8], "xhpcgate:01K"])
def test_what_is_no_mark(text):
    assert Mark.read(text) is None


def test_a_long_mark_fits_the_listing():
    from hpcgate_slurm.queue import COLUMNS

    assert COLUMNS["Comment"] > MAX_CHARS


# --- rows and records


def row(component: int | None = None, word: str = "RUNNING", **more) -> Row:
    mark = Mark("01KEY", roles=(("a", 1), ("b", 2)))
    return Row(native_id="9", component=component, word=word, mark=mark, **more)


def observed(*rows: Row) -> Observation:
    return components.observe(rows, Evidence.QUEUE)


def test_components_are_one_job_with_a_task_for_each_role_and_index():
    seen = observed(row(1, nodes=("n2", "n3"), started_at=5.0), row(0, nodes=("n1",), started_at=5.0))
    assert (seen.state, seen.nodes) == (S.RUNNING, ("n1", "n2", "n3"))
    assert [(task.role, task.index, task.nodes) for task in seen.tasks] == [
        ("a", 0, ("n1",)),
        ("b", 0, ()),
        ("b", 1, ()),
    ]


def test_a_gang_has_not_ended_before_all_of_it_has():
    seen = observed(row(0, "COMPLETED", exit_code=0), row(1, "COMPLETING"))
    assert (seen.state, str(seen.phase), seen.exit_code) == (S.RUNNING, "completing", None)


class Folder:
    """Reads one file."""

    def __init__(self, *lines: object) -> None:
        self.data = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines).encode()

    def read(self, path: str, *, length: int) -> FileChunk:
        assert path == "/jobs/01KEY/gang.2"
        return FileChunk(data=self.data[:length], offset=0, size=len(self.data))


REF = JobRef(id=5, key="01KEY", native_id="9", folder="/jobs/01KEY")


def told(role: str, index: int, status: int) -> dict[str, object]:
    return {"role": role, "index": index, "status": status, "started_at": 1, "ended_at": 2, "node": "n1"}


def test_records_tell_how_each_task_ended():
    rows = (row(0, "FAILED", exit_code=3, nodes=("n1",), started_at=1.0, restarts=1), row(1, "COMPLETED"))
    lines = (told("a", 0, 3), told("b", 0, 139), "no record", '{"role": 1}', told("b", 7, 0), told("b", 1, 999), "[]")
    lines = (*lines, json.dumps(told("b", 1, 0) | {"ended_at": float("nan")}))
    tasks = components.with_records(observed(*rows), rows, REF, Folder(*lines)).tasks
    assert [(task.state, task.reason, task.exit_code, task.signal) for task in tasks] == [
        (S.FAILED, R.EXIT_NONZERO, 3, None),
        (S.FAILED, R.SIGNALED, None, 11),
        (S.CANCELED, R.CANCELED_BY_GATEWAY, None, None),
    ]


@pytest.mark.parametrize(
    ("word", "more", "state", "reason"),
    [
        ("TIMEOUT", {}, S.FAILED, R.TIMEOUT), ("NODE_FAIL", {}, S.FAILED, R.NODE_FAIL),
        ("CANCELLED", {"canceler": "7", "owner": "7"}, S.CANCELED, R.CANCELED_BY_USER),
        ("COMPLETED", {"exit_code": 0}, S.CANCELED, R.CANCELED_BY_GATEWAY),
    ],
)  # fmt: skip
def test_a_task_without_a_record_was_ended_by_what_ended_the_job(word, more, state, reason):
    rows = (row(0, word, nodes=("n1",), restarts=1, **more), row(1, word, **more))
    tasks = components.with_records(observed(*rows), rows, REF, Folder()).tasks
    assert {(task.state, task.reason) for task in tasks} == {(state, reason)}


# --- dependencies


def waiting_for(native_id: str, kind: str = "afterok") -> JobDependency:
    return JobDependency(job=replace(REF, native_id=native_id), kind=kind)


def test_all_dependencies_are_one_option():
    waits = [waiting_for("1"), waiting_for("2", "afterany"), waiting_for("3")]
    assert options(waits) == ["--dependency=afterok:1:3,afterany:2", "--kill-on-invalid-dep=yes"]
    assert options(()) == []
    sbatch, _ = prepare(SITE, replace(job(), depends_on=tuple(waits)))
    assert "--dependency=afterok:1:3,afterany:2" in sbatch.words()


@pytest.mark.parametrize(
    ("kind", "word", "open_"),
    [
        ("afterok", "RUNNING", True), ("afterok", "COMPLETING", True), ("afterok", "COMPLETED", False),
        ("afternotok", "FAILED", False), ("afterany", "CANCELLED", False), ("after", "TIMEOUT", False),
        ("afterok", "FAILED", None), ("afternotok", "COMPLETED", None), ("afterok", None, None),
    ],
)  # fmt: skip
def test_what_is_still_waited_for(kind, word, open_):
    rows = {"1": [Row(native_id="1", word=word, exit_code=0, nodes=("n1",))]} if word else {}
    waits = [waiting_for("1", kind)]
    if open_ is None:
        with pytest.raises(SchedulerError) as caught:
            still_open(waits, rows)
        assert caught.value.transient
    else:
        assert still_open(waits, rows) == (tuple(waits) if open_ else ())
