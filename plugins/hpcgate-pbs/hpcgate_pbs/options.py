"""From a spec to the command line of ``qsub``, by a table that says of every field what becomes of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from hpcgate.errors import InvalidSpec
from hpcgate.model.job import JobDependency
from hpcgate.model.scheduler import HONOURED, Approximated, FieldSupport
from hpcgate.model.spec import JobSpec, Resources
from hpcgate_pbs.directives import PREFIX, Directives
from hpcgate_pbs.values import integer, seconds

MOST_PRIORITY: Final = 1023
LEAST_PRIORITY: Final = -1024
#: Resources of ``-l`` that say what a chunk is, in any of PBS's generations.
CHUNK_RESOURCES: Final = frozenset({"select", "nodes", "ncpus", "mem", "mpiprocs", "ompthreads", "ngpus", "nodect"})

_NAME_CHARACTER = re.compile(r"[^A-Za-z0-9+._-]")
_CONSTRAINT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=[A-Za-z0-9_./-]+(?::[A-Za-z_][A-Za-z0-9_]*=[A-Za-z0-9_./-]+)*\Z")


@dataclass(frozen=True, slots=True)
class Rule:
    """What becomes of some fields.

    Args:
        fields: dotted names of the spec's fields.
        support: how they are honoured.
        argv: the words for ``qsub``, from a spec and the longest name that PBS takes; ``None`` = the wrapper or the
            gateway honours them.
    """

    fields: tuple[str, ...]
    support: FieldSupport
    argv: Callable[[JobSpec, int], Iterable[str]] | None = None


def job_name(name: str, most: int) -> str:
    """A name that PBS takes: it begins with a letter, and holds letters, digits and ``+ - . _`` alone."""
    plain = _NAME_CHARACTER.sub("_", name)
    if not plain[:1].isalpha():
        plain = f"j{plain}"
    return plain[:most]


def select(resources: Resources, constraint: str | None = None) -> str:
    """The value of ``-l select``: as many equal chunks as nodes; where ranks do not divide evenly, two kinds of chunk.

    Args:
        resources: what each node must have.
        constraint: further ``NAME=VALUE`` of each chunk.
    """
    nodes, tasks = resources.nodes, resources.tasks
    if resources.tasks_per_node is not None or tasks is None:
        return _chunk(nodes, resources, resources.tasks_per_node, constraint)
    each, more = divmod(tasks, nodes)
    chunks = []
    if more:
        chunks.append(_chunk(more, resources, each + 1, constraint))
    if each:
        chunks.append(_chunk(nodes - more, resources, each, constraint))
    return "+".join(chunks)


def _chunk(count: int, resources: Resources, ranks: int | None, constraint: str | None) -> str:
    cpus = _cpus(resources, ranks)
    parts = [f"{count}:ncpus={cpus}"]
    if ranks is not None:
        parts.append(f"mpiprocs={ranks}")
    if resources.cpus_per_task is not None:
        parts.append(f"ompthreads={resources.cpus_per_task}")
    if resources.memory_mib is not None:
        parts.append(f"mem={resources.memory_mib}mb")
    elif resources.memory_per_cpu_mib is not None:
        parts.append(f"mem={resources.memory_per_cpu_mib * cpus}mb")
    if resources.gpus_per_node:
        parts.append(f"ngpus={resources.gpus_per_node}")
    if constraint is not None:
        parts.append(constraint)
    return ":".join(parts)


def cores(resources: Resources) -> int:
    """Cores of the job on its first node."""
    ranks = resources.tasks_per_node
    if ranks is None and resources.tasks is not None:
        ranks = -(-resources.tasks // resources.nodes)
    return _cpus(resources, ranks)


def _cpus(resources: Resources, ranks: int | None) -> int:
    if resources.cpus_per_node is not None or resources.cpus_range is not None or resources.cpus_options:
        return resources.least_cpus_per_node()
    return (ranks or 1) * (resources.cpus_per_task or 1)


def place(resources: Resources) -> str:
    """The value of ``-l place``: chunks on nodes of their own where there are several, alone there if asked."""
    spread = "scatter" if resources.nodes > 1 else "pack"
    return f"{spread}:excl" if resources.exclusive else spread


def _name(spec: JobSpec, most: int) -> Iterable[str]:
    return "-N", job_name(spec.name, most)


def _queue(spec: JobSpec, _: int) -> Iterable[str]:
    queue = spec.reservation or spec.queue
    if queue is not None and "@" in queue:
        field = "queue" if spec.reservation is None else "reservation"
        raise InvalidSpec.of(field, f"{queue!r} names another server; the site is asked about its own alone")
    return ("-q", queue) if queue is not None else ()


def _account(spec: JobSpec, _: int) -> Iterable[str]:
    return ("-A", spec.account) if spec.account is not None else ()


def _hold(spec: JobSpec, _: int) -> Iterable[str]:
    return ("-h",) if spec.hold else ()


def _priority(spec: JobSpec, _: int) -> Iterable[str]:
    priority = max(LEAST_PRIORITY, min(spec.policies.priority, MOST_PRIORITY))
    return ("-p", str(priority)) if priority else ()


def _array(spec: JobSpec, _: int) -> Iterable[str]:
    if spec.array is None:
        return ()
    if len(spec.array.indices()) < 2:
        raise InvalidSpec.of("array", f"{spec.array} holds one index; an array of PBS has at least two")
    # The limit has an attribute of its own: not every PBS takes it behind a percent sign.
    indices, _, limit = str(spec.array).partition("%")
    return ("-J", indices, "-W", f"max_run_subjobs={limit}") if limit else ("-J", indices)


def depend(others: Sequence[JobDependency]) -> str:
    """The value of ``-W depend``: the ids of each kind together, for PBS takes a kind once.

    Args:
        others: the jobs to wait for; each has a native id.
    """
    ids: dict[str, list[str]] = {}
    for other in others:
        ids.setdefault(other.kind, []).append(other.job.native_id or "")
    return ",".join(":".join((kind, *named)) for kind, named in ids.items())


def _walltime(spec: JobSpec, _: int) -> Iterable[str]:
    total = spec.resources.walltime_s
    if total is None:
        return ()
    return "-l", f"walltime={total // 3600:02d}:{total // 60 % 60:02d}:{total % 60:02d}"


def _select(spec: JobSpec, _: int) -> Iterable[str]:
    if spec.constraint is not None and not _CONSTRAINT.match(spec.constraint):
        raise InvalidSpec.of(
            "constraint", f"{spec.constraint!r} is not of the form NAME=VALUE or NAME=VALUE:NAME=VALUE"
        )
    if spec.resources.tasks is not None and spec.resources.tasks < spec.resources.nodes:
        raise InvalidSpec.of("resources.tasks", f"{spec.resources.tasks} are fewer than the nodes; each needs one")
    return "-l", f"select={select(spec.resources, spec.constraint)}"


def _place(spec: JobSpec, _: int) -> Iterable[str]:
    return "-l", f"place={place(spec.resources)}"


CHUNK_FIELDS: Final = tuple(
    f"resources.{name}"
    for name in ("nodes", "tasks", "tasks_per_node", "cpus_per_task", "cpus_per_node", "memory_mib", "gpus_per_node")
)
_LEAST: Final = Approximated("the job gets the least number")

RULES: Final[Sequence[Rule]] = (
    Rule(
        ("name",),
        Approximated("the gateway keeps it as it is; PBS is given its letters, digits and + - . _, the rest as _"),
        _name,
    ),
    Rule(("queue",), HONOURED, _queue),
    Rule(("reservation",), Approximated("a reservation is a queue of its own in PBS; it takes the place of `queue`")),
    Rule(("account",), HONOURED, _account),
    Rule(("hold",), HONOURED, _hold),
    Rule(("array",), Approximated("as an array of PBS, which needs at least two indices"), _array),
    Rule(("policies.priority",), Approximated("PBS counts from -1024 to 1023; what is beyond is cut"), _priority),
    Rule(("resources.walltime_s",), HONOURED, _walltime),
    Rule(CHUNK_FIELDS, HONOURED, _select),
    Rule(
        ("resources.memory_per_cpu_mib",),
        Approximated("PBS counts by chunk: the memory of a chunk is this times its cores"),
    ),
    Rule(("resources.cpus_range", "resources.cpus_options"), _LEAST),
    Rule(("constraint",), Approximated("as further resources of each chunk: NAME=VALUE:NAME=VALUE")),
    Rule(("resources.exclusive",), HONOURED, _place),
    Rule(("script", "command", "args", "environment", "secret_environment"), HONOURED),
    Rule(("tasks", "policies.max_task_retries", "policies.ignore_task_failures"), HONOURED),
    Rule(("working_directory", "stdout_path", "stderr_path"), HONOURED),
    Rule(("project", "share", "labels", "tags", "staging.inputs", "dependencies"), HONOURED),
    Rule(("callback", "notifications"), HONOURED),
)

FIELDS: Final[Mapping[str, FieldSupport]] = {name: rule.support for rule in RULES for name in rule.fields}

#: The other fields of the spec, and why PBS cannot honour them.
UNSUPPORTED: Final[Mapping[str, str]] = {
    "roles": "PBS has no gang of unlike tasks with results of their own",
    "qos": "PBS has none; sites give priorities by queue",
    "resources.gpu_type": "its resource has another name at every site; give `constraint`",
    "resources.disk_mib": "its resource has another name at every site; give `constraint`",
    "resources.total_cpus_range": "PBS has no range of cores",
    "staging.artifacts": "nothing fetches them yet",
    "staging.output_files": "nothing stores them yet",
    "staging.output_dirs": "nothing stores them yet",
    "policies.max_retries": "nothing runs a job again by itself yet",
    "policies.retry_on": "nothing runs a job again by itself yet",
    "policies.max_queue_s": "PBS knows no longest wait",
    "policies.leave_in_queue": "PBS decides how long its history is",
    "policies.placement": "it chooses among sites",
    "native": "give #PBS lines in the script",
}


_CHUNK_USED: Final = frozenset(
    {
        *CHUNK_FIELDS,
        "resources.memory_per_cpu_mib",
        "resources.cpus_range",
        "resources.cpus_options",
        "constraint",
    }
)


def merged(spec: JobSpec, own: Directives, default_queue: str | None) -> JobSpec:
    """The spec, with what the script's directives say in the fields that the spec leaves alone.

    Args:
        spec: the job.
        own: the directives of its script.
        default_queue: the site's, which stands in a spec that names none; a directive stands before it.

    Raises:
        InvalidSpec: a directive has a value that the field cannot have.
    """
    used = frozenset(spec.used_fields())
    changes: dict[str, Any] = {}
    for letter, (name, read) in _MERGED.items():
        if letter in own.options and name not in used:
            changes[name] = read(own.options[letter])
    if "q" in own.options and spec.queue == default_queue:
        changes["queue"] = own.options["q"]
    if "p" in own.options and not spec.policies.priority:
        changes["policies"] = replace(spec.policies, priority=_whole("p", own.options["p"]))
    if "walltime" in own.resources and spec.resources.walltime_s is None:
        total = seconds(own.resources["walltime"])
        if total is None:
            raise _wrong("l walltime", own.resources["walltime"], "HH:MM:SS or seconds")
        changes["resources"] = replace(spec.resources, walltime_s=int(total))
    join = own.options.get("j", "n")
    if join not in ("oe", "eo", "n"):
        raise _wrong("j", join, "oe, eo or n")
    if own.environment:
        changes["environment"] = {**own.environment, **spec.environment}
    return replace(spec, **changes) if changes else spec


def _path(text: str) -> str:
    """The path of ``-o`` or ``-e``, which may name a host; the job writes it where it runs."""
    host, found, path = text.partition(":")
    path = path if found and "/" not in host else text
    if path.endswith("/") or "$" in path or "^" in path:
        raise _wrong("o and -e", text, "the path of a file, without variables")
    return path


def _whole(letter: str, text: str) -> int:
    number = integer(text)
    if number is None:
        raise _wrong(letter, text, "a whole number")
    return number


def _wrong(option: str, value: str, right: str) -> InvalidSpec:
    return InvalidSpec.of("script", f"{PREFIX} -{option}: {value!r} is not {right}")


_MERGED: Final[Mapping[str, tuple[str, Callable[[str], Any]]]] = {
    "N": ("name", str),
    "A": ("account", str),
    "h": ("hold", lambda _: True),
    "o": ("stdout_path", _path),
    "e": ("stderr_path", _path),
}
#: Options that have become fields of the spec; the others go on to ``qsub`` as they are.
_BECAME_FIELDS: Final = frozenset({*_MERGED, "q", "p", "j"})


def keeps_own_chunks(spec: JobSpec, own: Directives) -> bool:
    """Whether the script says what a chunk is, and the spec does not."""
    return bool(CHUNK_RESOURCES & own.resources.keys()) and not _CHUNK_USED & frozenset(spec.used_fields())


def options(spec: JobSpec, own: Directives, name_chars: int, others: Sequence[JobDependency] = ()) -> list[str]:
    """The words for ``qsub`` that a spec and the script's own directives ask for.

    Once the spec says what a chunk is, all of the script's words about chunks are left out: they would contradict it.

    Args:
        spec: the job, merged with its directives.
        own: the directives of its script.
        name_chars: the longest name that PBS takes.
        others: the jobs to wait for.

    Raises:
        InvalidSpec: a field cannot be put into PBS's words.
    """
    own_chunks = keeps_own_chunks(spec, own)
    own_place = ("place" in own.resources or own_chunks) and not spec.resources.exclusive
    skipped = ({_select} if own_chunks else set()) | ({_place} if own_place else set())
    words: list[str] = []
    for rule in RULES:
        if rule.argv is not None and rule.argv not in skipped:
            words += rule.argv(spec, name_chars)
    for letter, value in own.options.items():
        if letter not in _BECAME_FIELDS:
            words += [f"-{letter}", value]
    covered = {"walltime"} | (set() if own_chunks else CHUNK_RESOURCES) | (set() if own_place else {"place"})
    for name, value in own.resources.items():
        if name not in covered:
            words += ["-l", f"{name}={value}"]
    return words + _attributes(spec, own, others)


def _attributes(spec: JobSpec, own: Directives, others: Sequence[JobDependency]) -> list[str]:
    """The ``-W`` words of the script, and what the job has to wait for: PBS takes one ``depend`` alone."""
    attributes = dict(own.attributes)
    if spec.dependencies and "depend" in attributes:
        raise InvalidSpec.of("dependencies", f"{PREFIX} -W depend stands in the script too; name them in one place")
    if others:
        attributes["depend"] = depend(others)
    if spec.array is not None and spec.array.limit is not None:
        attributes.pop("max_run_subjobs", None)
    return [word for name, value in attributes.items() for word in ("-W", f"{name}={value}")]
