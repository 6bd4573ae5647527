"""What a job is asked to be: ``JobSpec`` and its parts, validated as they are made.

Every field is either honoured or refused by the scheduler that gets it, never dropped; see
``model.scheduler.SchedulerInfo.fields``. A wrong value raises ``InvalidSpec`` with one entry per wrong field.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Any, Final

from hpcgate.errors import FieldError, InvalidSpec

MAX_SCRIPT_BYTES: Final = 1 << 20
MAX_NAME_CHARS: Final = 512
MAX_ARRAY_TASKS: Final = 100_000
#: Steps of a job; an array has many more. Their record is one small file.
MAX_TASKS: Final = 256
MAX_ENVIRONMENT_BYTES: Final = 1 << 18
MAX_INPUT_BYTES: Final = 8 << 20
#: What file systems take.
MAX_FILE_NAME_BYTES: Final = 255
MAX_LABELS: Final = 64
MAX_DEPENDENCIES: Final = 1000
#: Over all nodes: more than any machine has.
MAX_CPUS: Final = 100_000_000
#: Ten years: longer than any batch system allows.
MAX_WALLTIME_S: Final = 10 * 366 * 86_400

_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_LABEL_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_./-]{0,62}\Z")
_WORD = re.compile(r"[^\s\x00-\x1f\x7f-\x9f\ud800-\udfff]{1,255}\Z")
#: Halves of a character: JSON can carry them, but no database, file or process takes them.
_SURROGATE = re.compile("[\ud800-\udfff]")
#: ASCII and C1 control characters and the Unicode line separators: none may get into a name or a directive.
_CONTROL = re.compile("[\x00-\x1f\x7f\x80-\x9f\u2028\u2029]")


class _Checks:
    """Collects what is wrong, so that a user sees all of it at once."""

    def __init__(self) -> None:
        self.errors: list[FieldError] = []

    def fail(self, name: str, message: str) -> None:
        self.errors.append(FieldError(name, message))

    def integer(self, name: str, value: object, low: int, high: int) -> None:
        if value is None:
            return
        if isinstance(value, bool) or not isinstance(value, int):
            self.fail(name, f"{value!r} is not a whole number")
        elif not low <= value <= high:
            self.fail(name, f"{value} is out of range; it must be from {low} to {high}")

    def line(self, name: str, value: str | None, most: int = 4096) -> None:
        """One line of text: no control character, not empty."""
        if value is None:
            return
        if not value:
            self.fail(name, "is empty; leave it out instead")
        elif len(value) > most:
            self.fail(name, f"has {len(value)} characters; at most {most} are allowed")
        elif match := _CONTROL.search(value):
            self.fail(name, f"holds the control character {match.group()!r} at position {match.start()}")
        else:
            self.text(name, value)

    def text(self, name: str, value: str) -> None:
        """Any text that a file or a process can take."""
        if "\0" in value:
            self.fail(name, "holds a NUL character")
        elif _SURROGATE.search(value):
            self.fail(name, "is not valid Unicode text")

    def word(self, name: str, value: str | None) -> None:
        """A name that becomes part of a directive: no white space, no control character, no leading dash."""
        if value is not None and (not _WORD.match(value) or value.startswith("-")):
            self.fail(name, f"{value!r} is not a name; no spaces, control characters or leading '-', 1 to 255 long")

    def finish(self) -> None:
        if self.errors:
            raise InvalidSpec(self.errors)


def _frozen(mapping: Mapping[str, Any]) -> Mapping[str, Any]:
    return MappingProxyType(dict(mapping))


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """What one job needs. Everything is per job unless its name says otherwise.

    Args:
        nodes: how many nodes.
        tasks: processes (MPI ranks) over all nodes; the scheduler's default when not given.
        tasks_per_node: processes on each node.
        cpus_per_task: cores for each process.
        cpus_per_node: cores on each node, for those who count in nodes; not together with ``cpus_per_task``.
        memory_mib: memory on each node, MiB.
        memory_per_cpu_mib: memory for each core, MiB; not together with ``memory_mib``.
        gpus_per_node: accelerators on each node.
        gpu_type: the kind of accelerator, in the site's words.
        disk_mib: scratch space on each node, MiB.
        walltime_s: longest run, seconds.
        cpus_range: (least, most) cores per node; the site may give any number in it.
        cpus_options: numbers of cores per node that would do, larger preferred.
        total_cpus_range: (least, most) cores over all nodes, however they are spread.
        exclusive: whether no other job may share the nodes.
    """

    nodes: int = 1
    tasks: int | None = None
    tasks_per_node: int | None = None
    cpus_per_task: int | None = None
    cpus_per_node: int | None = None
    memory_mib: int | None = None
    memory_per_cpu_mib: int | None = None
    gpus_per_node: int = 0
    gpu_type: str | None = None
    disk_mib: int | None = None
    walltime_s: int | None = None
    cpus_range: tuple[int, int] | None = None
    cpus_options: tuple[int, ...] = ()
    total_cpus_range: tuple[int, int] | None = None
    exclusive: bool = False

    def __post_init__(self) -> None:
        checks = _Checks()
        at = "resources"
        checks.integer(f"{at}.nodes", self.nodes, 1, 1_000_000)
        checks.integer(f"{at}.tasks", self.tasks, 1, MAX_CPUS)
        for name in ("tasks_per_node", "cpus_per_task", "cpus_per_node"):
            checks.integer(f"{at}.{name}", getattr(self, name), 1, 65_536)
        for name in ("memory_mib", "memory_per_cpu_mib", "disk_mib"):
            checks.integer(f"{at}.{name}", getattr(self, name), 1, 1 << 40)
        checks.integer(f"{at}.gpus_per_node", self.gpus_per_node, 0, 1024)
        checks.integer(f"{at}.walltime_s", self.walltime_s, 1, MAX_WALLTIME_S)
        checks.word(f"{at}.gpu_type", self.gpu_type)
        for name in ("cpus_range", "total_cpus_range"):
            pair = getattr(self, name)
            if pair is not None and (len(pair) != 2 or not 1 <= pair[0] <= pair[1] <= MAX_CPUS):
                checks.fail(f"{at}.{name}", f"{list(pair)} is not [least, most] with 1 <= least <= most <= {MAX_CPUS}")
        for option in self.cpus_options:
            checks.integer(f"{at}.cpus_options", option, 1, 65_536)
        if self.cpus_per_node is not None and self.cpus_per_task is not None:
            checks.fail(f"{at}.cpus_per_node", "cannot be given together with cpus_per_task")
        if self.memory_mib is not None and self.memory_per_cpu_mib is not None:
            checks.fail(f"{at}.memory_per_cpu_mib", "cannot be given together with memory_mib")
        if self.gpu_type is not None and not self.gpus_per_node:
            checks.fail(f"{at}.gpu_type", "needs gpus_per_node of at least 1")
        checks.finish()

    def least_cpus_per_node(self) -> int:
        """The fewest cores that each node must have for the job to start."""
        if self.cpus_per_node is not None:
            return self.cpus_per_node
        if self.cpus_range is not None:
            return self.cpus_range[0]
        if self.cpus_options:
            return min(self.cpus_options)
        per_node = self.tasks_per_node or -(-(self.tasks or 1) // self.nodes)
        return per_node * (self.cpus_per_task or 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class ArraySpec:
    """A job array: the same script once per index.

    Args:
        start: first index, at least 0.
        stop: last index, included.
        step: distance between indices.
        limit: how many may run at the same time; all when not given.
    """

    start: int
    stop: int
    step: int = 1
    limit: int | None = None

    def __post_init__(self) -> None:
        checks = _Checks()
        checks.integer("array.start", self.start, 0, 2**31 - 1)
        checks.integer("array.stop", self.stop, 0, 2**31 - 1)
        checks.integer("array.step", self.step, 1, 2**31 - 1)
        checks.integer("array.limit", self.limit, 1, 2**31 - 1)
        if not checks.errors:
            if self.stop < self.start:
                checks.fail("array", f"{self.start}-{self.stop} holds no index; the last must not be below the first")
            elif len(self.indices()) > MAX_ARRAY_TASKS:
                checks.fail("array", f"has {len(self.indices())} tasks; at most {MAX_ARRAY_TASKS} are allowed")
        checks.finish()

    def indices(self) -> range:
        """All indices, in order."""
        return range(self.start, self.stop + 1, self.step)

    @classmethod
    def parse(cls, text: str) -> ArraySpec:
        """Reads ``"0-9"``, ``"1-99:2"``, ``"0-9%4"``, ``"7"``.

        Raises:
            InvalidSpec: the text has another form, or holds no index or too many.
        """
        match = re.fullmatch(r"(\d{1,10})(?:-(\d{1,10})(?::(\d{1,10}))?)?(?:%(\d{1,10}))?", text.strip(), re.ASCII)
        if not match:
            raise InvalidSpec.of("array", f"{text!r} is not of the form START-STOP, START-STOP:STEP or with %LIMIT")
        start, stop, step, limit = match.groups()
        return cls(
            start=int(start),
            stop=int(stop or start),
            step=int(step or 1),
            limit=None if limit is None else int(limit),
        )

    def __str__(self) -> str:
        step = f":{self.step}" if self.step != 1 else ""
        limit = f"%{self.limit}" if self.limit is not None else ""
        return f"{self.start}-{self.stop}{step}{limit}"


def indices_of(text: str) -> tuple[int, ...]:
    """Reads indices of an array as people write them: ``"3,5-7,10-20:2"``; in order, each once.

    Raises:
        InvalidSpec: the text has another form, or holds too many.
    """
    found: set[int] = set()
    for part in text.split(","):
        if "%" in part:
            raise InvalidSpec.of("indices", f"{part!r} has a limit, which goes with a whole array only")
        found.update(ArraySpec.parse(part).indices())
    return tuple(sorted(found))


def arrays_of(indices: Iterable[int]) -> list[ArraySpec]:
    """Arrays that hold exactly these indices, each evenly spaced, for no scheduler takes just any list of them."""
    left, arrays = sorted(set(indices)), list[ArraySpec]()
    while left:
        step = left[1] - left[0] if len(left) > 1 else 1
        count = 1
        while count < len(left) and left[count] == left[0] + count * step:
            count += 1
        arrays.append(ArraySpec(start=left[0], stop=left[count - 1], step=step))
        left = left[count:]
    return arrays


@dataclass(frozen=True, slots=True, kw_only=True)
class Dependency:
    """Another job that must have come to a point first.

    Args:
        job: its gateway id.
        kind: ``after`` (started), ``afterok``, ``afternotok`` or ``afterany`` (ended).
    """

    job: int
    kind: str = "afterok"

    def __post_init__(self) -> None:
        checks = _Checks()
        checks.integer("dependencies.job", self.job, 1, 2**63 - 1)
        if self.kind not in ("after", "afterok", "afternotok", "afterany"):
            checks.fail("dependencies.kind", f"{self.kind!r} is none of after, afterok, afternotok, afterany")
        checks.finish()


@dataclass(frozen=True, slots=True, kw_only=True)
class InputFile:
    """A small file that comes with the request and stands in the work folder before the job starts.

    Args:
        path: relative path below the work folder.
        content: its bytes.
        executable: whether it gets the x bits.
    """

    path: str
    content: bytes = field(repr=False)
    executable: bool = False

    def __post_init__(self) -> None:
        checks = _Checks()
        checks.line("staging.inputs.path", self.path, 1024)
        steps = self.path.split("/")
        if self.path and not {"", ".", ".."}.isdisjoint(steps):
            checks.fail("staging.inputs.path", f"{self.path!r} must be a relative file path without '.', '..' and '//'")
        elif any(len(step.encode("utf-8", "surrogatepass")) > MAX_FILE_NAME_BYTES for step in steps):
            checks.fail("staging.inputs.path", f"has a name of more than {MAX_FILE_NAME_BYTES} bytes")
        checks.finish()


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """A file that is fetched for the job.

    Args:
        url: http(s) URL, or name of a stored object.
        path: where it goes below the work folder; the URL's last part when not given.
        mountpoint: absolute path at which a container sees it.
        executable: whether it gets the x bits.
    """

    url: str
    path: str | None = None
    mountpoint: str | None = None
    executable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Staging:
    """What is brought to the job and what is kept of it."""

    inputs: tuple[InputFile, ...] = ()
    artifacts: tuple[Artifact, ...] = ()
    output_files: tuple[str, ...] = ()
    output_dirs: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        checks = _Checks()
        size = sum(len(item.content) for item in self.inputs)
        if size > MAX_INPUT_BYTES:
            checks.fail("staging.inputs", f"hold {size} bytes together; at most {MAX_INPUT_BYTES} are allowed")
        if len({item.path for item in self.inputs}) != len(self.inputs):
            checks.fail("staging.inputs", "name the same path twice")
        folders = {str(folder) for item in self.inputs for folder in PurePosixPath(item.path).parents}
        if both := sorted(folders & {item.path for item in self.inputs}):
            checks.fail("staging.inputs", f"need {both[0]!r} both as a file and as a folder")
        checks.finish()


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where a job may run (``sites``, ``regions``) and where it would rather (``prefer_...``, best first)."""

    sites: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()
    prefer_sites: tuple[str, ...] = ()
    prefer_regions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Policies:
    """How the gateway and the scheduler treat the job.

    Args:
        max_retries: how often the whole job is run again after a failure.
        max_task_retries: how often a task is run again.
        retry_on: reasons for which it is; those that are retryable when empty.
        max_queue_s: longest wait in the queue, seconds.
        leave_in_queue: keep the finished job listed among the active ones until it is removed.
        priority: larger first, among the owner's own jobs.
        ignore_task_failures: go on with the next task after one failed.
        placement: on which sites.
    """

    max_retries: int = 0
    max_task_retries: int = 0
    retry_on: tuple[str, ...] = ()
    max_queue_s: int | None = None
    leave_in_queue: bool = False
    priority: int = 0
    ignore_task_failures: bool = False
    placement: Placement | None = None

    def __post_init__(self) -> None:
        checks = _Checks()
        checks.integer("policies.max_retries", self.max_retries, 0, 100)
        checks.integer("policies.max_task_retries", self.max_task_retries, 0, 100)
        checks.integer("policies.max_queue_s", self.max_queue_s, 1, MAX_WALLTIME_S)
        checks.integer("policies.priority", self.priority, -(2**31), 2**31 - 1)
        checks.finish()


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSpec:
    """One step of a job, with its own command and maybe its own container.

    Args:
        command: the program; the image's own when not given.
        args: its arguments.
        image: container image.
        runtime: what runs the image; the site's choice when not given.
        network: whether its container needs the network. An engine that can keep it away does so when not.
        environment: added to the job's.
        workdir: below the job's work folder; made where it is not there.
    """

    command: str | None = None
    args: tuple[str, ...] = ()
    image: str | None = None
    runtime: str | None = None
    network: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)
    workdir: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "environment", _frozen(self.environment))
        checks = _Checks()
        if self.command is None and self.image is None:
            checks.fail("command", "is required: a task needs a command or an image")
        if self.command is not None and not self.command.strip():
            checks.fail("command", "is empty")
        for name, text in (("command", self.command or ""), *(("args", arg) for arg in self.args)):
            checks.text(name, text)
        for name in ("image", "runtime"):
            checks.word(name, getattr(self, name))
        _check_environment(checks, "environment", self.environment)
        checks.line("workdir", self.workdir)
        if self.workdir and (self.workdir.startswith("/") or ".." in self.workdir.split("/")):
            checks.fail("workdir", f"{self.workdir!r} must be a path below the job's work folder, without '..'")
        checks.finish()


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRole:
    """One role of a gang of tasks that start together, ``count`` times."""

    name: str
    count: int
    task: TaskSpec
    resources: Resources = field(default_factory=Resources)
    min_failed: int | None = None
    min_succeeded: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Notification:
    """A message on an event, e.g. ``job.finished`` by ``email``."""

    event: str
    channel: str = "email"


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSpec:
    """A job as its owner describes it.

    Exactly one of ``script``, ``command``, ``tasks`` and ``roles`` says what runs.

    Args:
        name: any one line of text.
        script: a whole batch script, with ``#!`` and directives, run verbatim.
        command: a program, with ``args``; no shell looks at it.
        args: arguments of ``command``.
        tasks: steps that run one after the other.
        roles: a gang of tasks.
        resources: what it needs.
        queue, account, qos, reservation, constraint: in the site's words.
        environment: variables of the job.
        secret_environment: variables that reach the job alone; never a script, event, log or answer.
        working_directory: where it starts; the job's own work folder when not given.
        stdout_path, stderr_path: where its streams go; files in the job's folder when not given.
        array: run once per index.
        dependencies: jobs to wait for.
        hold: submit held; ``release`` lets it start.
        project, share: whose allocation, which slice of the site.
        labels: key=value pairs to find it by.
        tags: words to find it by.
        staging, policies, notifications: see there.
        native: options of the scheduler itself, allow-listed by the site.
        callback: URL to call on changes.
    """

    name: str = "job"
    script: str | None = None
    command: str | None = None
    args: tuple[str, ...] = ()
    tasks: tuple[TaskSpec, ...] = ()
    roles: tuple[TaskRole, ...] = ()
    resources: Resources = field(default_factory=Resources)
    queue: str | None = None
    account: str | None = None
    qos: str | None = None
    reservation: str | None = None
    constraint: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    secret_environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    working_directory: str | None = None
    stdout_path: str | None = None
    stderr_path: str | None = None
    array: ArraySpec | None = None
    dependencies: tuple[Dependency, ...] = ()
    hold: bool = False
    project: str | None = None
    share: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    staging: Staging = field(default_factory=Staging)
    policies: Policies = field(default_factory=Policies)
    notifications: tuple[Notification, ...] = ()
    native: Mapping[str, Any] = field(default_factory=dict)
    callback: str | None = None

    def __post_init__(self) -> None:
        for name in ("environment", "secret_environment", "labels", "native"):
            object.__setattr__(self, name, _frozen(getattr(self, name)))
        checks = _Checks()
        self._check_what_runs(checks)
        checks.line("name", self.name, MAX_NAME_CHARS)
        for name in ("queue", "account", "qos", "reservation", "constraint", "project", "share"):
            checks.word(name, getattr(self, name))
        for name in ("working_directory", "stdout_path", "stderr_path", "callback"):
            checks.line(name, getattr(self, name))
        _check_environment(checks, "environment", self.environment)
        _check_environment(checks, "secret_environment", self.secret_environment)
        if both := self.environment.keys() & self.secret_environment.keys():
            checks.fail("secret_environment", f"{sorted(both)[0]!r} stands in environment too; name it once")
        self._check_labels(checks)
        if len(self.dependencies) > MAX_DEPENDENCIES:
            checks.fail("dependencies", f"are {len(self.dependencies)}; at most {MAX_DEPENDENCIES} are allowed")
        checks.finish()

    def _check_what_runs(self, checks: _Checks) -> None:
        given = [name for name in ("script", "command", "tasks", "roles") if getattr(self, name) not in (None, ())]
        if len(given) != 1:
            found = f"{' and '.join(given)} are given" if given else "nothing is given"
            checks.fail("script", f"exactly one of script, command, tasks, roles says what runs; {found}")
        if self.args and self.command is None:
            checks.fail("args", "need a command")
        if len(self.tasks) > MAX_TASKS:
            checks.fail("tasks", f"are {len(self.tasks)}; at most {MAX_TASKS} are allowed")
        if self.tasks and self.array is not None:
            checks.fail("array", "cannot be given together with tasks; an array runs one script or command")
        if self.script is not None:
            _check_script(checks, self.script)
        if self.command is not None:
            if not self.command.strip():
                checks.fail("command", "is empty")
            for name, text in (("command", self.command), *(("args", arg) for arg in self.args)):
                checks.text(name, text)

    def _check_labels(self, checks: _Checks) -> None:
        if len(self.labels) > MAX_LABELS:
            checks.fail("labels", f"are {len(self.labels)}; at most {MAX_LABELS} are allowed")
        for key, value in self.labels.items():
            if not _LABEL_KEY.match(key):
                checks.fail("labels", f"{key!r} is no label key; letters, digits and _ . / -, at most 63")
            if len(value) > MAX_NAME_CHARS or _CONTROL.search(value):
                checks.fail(f"labels.{key}", f"must be one line of at most {MAX_NAME_CHARS} characters")
            else:
                checks.text(f"labels.{key}", value)
        if len(self.tags) > MAX_LABELS:
            checks.fail("tags", f"are {len(self.tags)}; at most {MAX_LABELS} are allowed")
        for tag in self.tags:
            checks.line("tags", tag, MAX_NAME_CHARS)

    def used_fields(self) -> Iterator[str]:
        """The dotted names of the fields that differ from their default, e.g. ``resources.walltime_s``."""
        yield from _used(self, "")


def _used(part: Any, prefix: str) -> Iterator[str]:
    defaults = _DEFAULTS.get(type(part))
    for item in fields(part):
        value = getattr(part, item.name)
        if type(value) in _DEFAULTS:
            yield from _used(value, f"{prefix}{item.name}.")
        elif defaults is None or value != getattr(defaults, item.name):
            yield prefix + item.name


def _check_environment(checks: _Checks, name: str, environment: Mapping[str, str]) -> None:
    size = 0
    for key, value in environment.items():
        if not _ENV_NAME.match(key):
            checks.fail(name, f"{key!r} is no variable name; letters, digits and _, not starting with a digit")
        else:
            checks.text(f"{name}.{key}", value)
        size += len(key) + len(value)
    if size > MAX_ENVIRONMENT_BYTES:
        checks.fail(name, f"has {size} characters; at most {MAX_ENVIRONMENT_BYTES} are allowed")


def _check_script(checks: _Checks, script: str) -> None:
    # The same refusals that sbatch gives, before the round trip.
    size = len(script.encode("utf-8", "surrogatepass"))
    if not script.strip():
        checks.fail("script", "is empty")
    elif size > MAX_SCRIPT_BYTES:
        checks.fail("script", f"has {size} bytes; at most {MAX_SCRIPT_BYTES} are allowed")
    elif "\0" in script or _SURROGATE.search(script):
        checks.text("script", script)
    elif not script.startswith("#!") or not script.splitlines()[0][2:].strip():
        checks.fail("script", "must start with '#!' and the path of an interpreter, e.g. #!/bin/sh")
    elif "\r\n" in script:
        checks.fail("script", "has DOS line breaks (CR LF); convert it to Unix ones (LF)")
    elif "\r" in script.partition("\n")[0]:
        checks.fail("script", "has a carriage return (CR) in its first line; lines must end with LF")


_DEFAULTS: dict[type, Any] = {Resources: Resources(), Staging: Staging(), Policies: Policies()}
_DEFAULTS[JobSpec] = JobSpec(command="true")
# A spec needs something that runs, its defaults do not have it.
object.__setattr__(_DEFAULTS[JobSpec], "command", None)
