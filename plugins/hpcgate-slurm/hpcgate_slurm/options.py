"""From a spec to sbatch's options, by one table; and what a script's own ``#SBATCH`` lines add to the spec.

Every field of the spec stands in ``RULES`` or is refused. An option has one home: where a spec's field says it, a
directive that says otherwise is a conflict, and one that says what the spec leaves open is taken into the spec.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from hpcgate.errors import FieldError, InvalidSpec
from hpcgate.model.scheduler import HONOURED, Approximated, FieldSupport
from hpcgate.model.spec import ArraySpec, JobSpec, Resources
from hpcgate_slurm import gang
from hpcgate_slurm.directives import OPTIONS, Directive, read_directives
from hpcgate_slurm.settings import NEVER, SlurmSettings
from hpcgate_slurm.values import memory_limit_mib, print_time, time_limit_s

_CONTROL: Final = re.compile("[\x00-\x1f\x7f\x80-\x9f\u2028\u2029]")
_DEFAULTS: Final = JobSpec(command="true")


@dataclass(frozen=True, slots=True)
class Rule:
    """How one field of the spec becomes options.

    Args:
        field: dotted name.
        words: the options for a spec; ``None`` = the wrapper or the gateway sees to it.
        support: as ``SchedulerInfo.fields`` tells it.
        option: the option of sbatch that means the same, for directives.
        read: what a directive's value is in the spec.
    """

    field: str
    words: Callable[[JobSpec], list[str]] | None = None
    support: FieldSupport = HONOURED
    option: str | None = None
    read: Callable[[str], Any] = str


def _value(option: str, get: Callable[[JobSpec], object]) -> Callable[[JobSpec], list[str]]:
    def words(spec: JobSpec) -> list[str]:
        value = get(spec)
        return [] if value in (None, False) else [f"--{option}" if value is True else f"--{option}={value}"]

    return words


def _of_resources(option: str, name: str, unit: str = "") -> Callable[[JobSpec], list[str]]:
    def words(spec: JobSpec) -> list[str]:
        value = getattr(spec.resources, name)
        return [] if value is None else [f"--{option}={value}{unit}"]

    return words


def _cpus_per_node(spec: JobSpec) -> list[str]:
    resources = spec.resources
    wanted = resources.cpus_per_node
    if wanted is None and (resources.cpus_range or resources.cpus_options):
        wanted = resources.least_cpus_per_node()
    if wanted is None:
        return []
    if resources.tasks is None and resources.tasks_per_node is None:
        return ["--ntasks-per-node=1", f"--cpus-per-task={wanted}"]
    return [f"--mincpus={wanted}"]


def _gpus(spec: JobSpec) -> list[str]:
    resources = spec.resources
    if not resources.gpus_per_node:
        return []
    kind = f"{resources.gpu_type}:" if resources.gpu_type else ""
    return [f"--gpus-per-node={kind}{resources.gpus_per_node}"]


def _time(spec: JobSpec) -> list[str]:
    walltime_s = spec.resources.walltime_s
    return [] if walltime_s is None else [f"--time={print_time(walltime_s)}"]


def _whole(text: str) -> int:
    if not text.isdecimal():
        raise ValueError(f"{text!r} is not a whole number")
    return int(text)


def _limited(text: str) -> int:
    seconds = time_limit_s(text)
    if not seconds:
        raise ValueError(f"{text!r} is no limit; give a time, or leave it out")
    return seconds


def _on(text: str) -> bool:
    if text:
        raise ValueError(f"{text!r} is not supported; give it without a value")
    return True


_LEAST: Final = Approximated("the least number is asked for")

RULES: Final = (
    Rule("name", _value("job-name", lambda spec: spec.name), option="job-name"),
    Rule("queue", _value("partition", lambda spec: spec.queue), option="partition"),
    Rule("account", _value("account", lambda spec: spec.account), option="account"),
    Rule("qos", _value("qos", lambda spec: spec.qos), option="qos"),
    Rule("reservation", _value("reservation", lambda spec: spec.reservation), option="reservation"),
    Rule("constraint", _value("constraint", lambda spec: spec.constraint), option="constraint"),
    Rule(
        "resources.walltime_s", _time, Approximated("Slurm rounds it up to whole minutes"), option="time", read=_limited
    ),
    Rule("resources.nodes", _of_resources("nodes", "nodes"), option="nodes", read=_whole),
    Rule("resources.tasks", _of_resources("ntasks", "tasks"), option="ntasks", read=_whole),
    Rule(
        "resources.tasks_per_node",
        _of_resources("ntasks-per-node", "tasks_per_node"),
        option="ntasks-per-node",
        read=_whole,
    ),
    Rule(
        "resources.cpus_per_task", _of_resources("cpus-per-task", "cpus_per_task"), option="cpus-per-task", read=_whole
    ),
    Rule("resources.cpus_per_node", _cpus_per_node),
    Rule("resources.cpus_range", None, _LEAST),
    Rule("resources.cpus_options", None, _LEAST),
    Rule("resources.memory_mib", _of_resources("mem", "memory_mib", "M"), option="mem", read=memory_limit_mib),
    Rule(
        "resources.memory_per_cpu_mib",
        _of_resources("mem-per-cpu", "memory_per_cpu_mib", "M"),
        option="mem-per-cpu",
        read=memory_limit_mib,
    ),
    Rule("resources.gpus_per_node", _gpus),
    Rule("resources.gpu_type"),
    Rule("resources.disk_mib", _of_resources("tmp", "disk_mib", "M"), option="tmp", read=memory_limit_mib),
    Rule(
        "resources.exclusive",
        _value("exclusive", lambda spec: spec.resources.exclusive),
        option="exclusive",
        read=_on,
    ),
    Rule("array", _value("array", lambda spec: spec.array), option="array", read=ArraySpec.parse),
    Rule("hold", _value("hold", lambda spec: spec.hold), option="hold", read=_on),
    Rule("working_directory", option="chdir"),
    Rule("stdout_path"),
    Rule("stderr_path"),
    Rule("script"),
    Rule("command"),
    Rule("args"),
    Rule("environment"),
    Rule("secret_environment"),
    Rule("dependencies"),
    Rule(
        "roles",
        support=Approximated(
            "as a heterogeneous job, one component a role; a role's resources are for each of its tasks, on the host"
        ),
    ),
    Rule("native", support=Approximated("the options of sbatch that the site allows")),
    Rule("project"),
    Rule("share"),
    Rule("labels"),
    Rule("tags"),
    Rule("staging.inputs"),
    Rule("tasks"),
    Rule("policies.max_task_retries"),
    Rule("policies.ignore_task_failures"),
)

FIELDS: Final[Mapping[str, FieldSupport]] = {rule.field: rule.support for rule in RULES}
#: Of a heterogeneous job: what is said once, and what of each component.
_OF_ALL: Final = frozenset({"name", "hold"})
_OF_COMPONENTS: Final = frozenset(
    {"queue", "account", "qos", "reservation", "constraint", "resources.walltime_s", "resources.exclusive"}
)
_BY_OPTION: Final = {rule.option: rule for rule in RULES if rule.option}


@dataclass(frozen=True, slots=True)
class Request:
    """A spec with what its script's directives add.

    Args:
        spec: the spec, completed.
        stdout, stderr: file name patterns of the script's ``-o`` and ``-e``, in Slurm's own form.
        extra: options that are no field of the spec, as words.
    """

    spec: JobSpec
    stdout: str | None = None
    stderr: str | None = None
    extra: tuple[str, ...] = ()

    def words(self) -> list[str]:
        """The options for sbatch, without the key, the output and the environment."""
        if self.spec.roles:
            return self._components()
        return [word for rule in RULES if rule.words for word in rule.words(self.spec)] + list(self.extra)

    def _components(self) -> list[str]:
        """One component a role. Options of the first alone hold for the whole job; the others are said of each."""
        found: list[str] = []
        for number, role in enumerate(self.spec.roles):
            names = _OF_COMPONENTS if number else _OF_COMPONENTS | _OF_ALL
            shared = [word for rule in RULES if rule.words and rule.field in names for word in rule.words(self.spec)]
            found += [*([":"] if number else []), *dict.fromkeys((*shared, *gang.words(role)))]
        return found


def read_request(spec: JobSpec, settings: SlurmSettings) -> Request:
    """Completes a spec by its script's directives and checks its native options.

    Raises:
        InvalidSpec: a directive or option is not known, not allowed, wrong, or says otherwise than the spec.
    """
    reader = _Reader(spec, settings)
    for directive in read_directives(spec.script) if spec.script is not None else ():
        reader.take(directive)
    reader.take_native(spec.native)
    reader.take_errors(gang.check(spec))
    return reader.finish()


class _Reader:
    def __init__(self, spec: JobSpec, settings: SlurmSettings) -> None:
        self._spec = spec
        self._allowed = frozenset(settings.allow)
        self._errors: list[FieldError] = []
        self._patterns: dict[str, str] = {}
        self._extra: dict[str, str] = {}
        self._changes: dict[str, Any] = {}

    def take(self, directive: Directive) -> None:
        where = f"line {directive.line}, #SBATCH --{directive.name}"
        if _CONTROL.search(directive.value):
            self._fail("script", f"{where}: the value holds a control character")
        elif directive.name in ("output", "error"):
            self._output(directive, where)
        elif rule := _BY_OPTION.get(directive.name):
            self._field(rule, directive, where)
        else:
            self._option("script", where, directive.name, directive.value)

    def take_native(self, native: Mapping[str, Any]) -> None:
        for name, value in native.items():
            where = f"native.{name}"
            if rule := _BY_OPTION.get(name):
                self._fail(where, f"is a field of its own: give {rule.field}")
            elif name in ("output", "error"):
                self._fail(where, "is a field of its own: give stdout_path or stderr_path")
            elif name not in OPTIONS:
                self._fail(where, "is no option of sbatch; give its long name without the dashes")
            elif isinstance(value, bool):
                if value:
                    self._option(where, "it", name, "")
            elif not isinstance(value, str | int) or _CONTROL.search(str(value)):
                self._fail(where, f"{value!r} is neither a line of text, a whole number nor true")
            elif OPTIONS[name].value == "no":
                self._fail(where, "takes no value; give true")
            else:
                self._option(where, "it", name, str(value))

    def take_errors(self, errors: Sequence[FieldError]) -> None:
        self._errors += errors

    def finish(self) -> Request:
        if self._errors:
            raise InvalidSpec(self._errors)
        resources = {name[10:]: value for name, value in self._changes.items() if name.startswith("resources.")}
        others = {name: value for name, value in self._changes.items() if not name.startswith("resources.")}
        spec = replace(self._spec, **others)
        stdout = self._patterns.get("output")
        if resources:
            spec = replace(spec, resources=replace(spec.resources, **resources))
        return Request(
            spec,
            stdout=stdout,
            # As sbatch does: without -e both go to the same file.
            stderr=self._patterns.get("error", stdout if spec.stderr_path is None else None),
            extra=tuple(self._extra.values()),
        )

    def _output(self, directive: Directive, where: str) -> None:
        name = "stdout_path" if directive.name == "output" else "stderr_path"
        if getattr(self._spec, name) is not None:
            self._fail(name, f"is given twice: here and in the script ({where}); give it once")
        elif not directive.value:
            self._fail("script", f"{where}: the path is empty")
        else:
            self._patterns[directive.name] = directive.value

    def _field(self, rule: Rule, directive: Directive, where: str) -> None:
        try:
            value = rule.read(directive.value)
        except InvalidSpec as error:
            self._fail("script", f"{where}: {error.errors[0].message}")
            return
        except ValueError as error:
            if rule.field == "resources.nodes" and re.fullmatch(r"\d+-\d+", directive.value):
                self._fail("script", f"{where}: a range of nodes is not supported; give one number")
            else:
                self._fail("script", f"{where}: {error}")
            return
        given, default = _get(self._spec, rule.field), _get(_DEFAULTS, rule.field)
        if given == default:
            self._changes[rule.field] = value
        elif given != value and rule.field != "name":
            # A name changes nothing, and clients call a job as its file when its owner gives none: theirs stands.
            self._fail(rule.field, f"is {given!r} in the request and {directive.value!r} in the script ({where})")

    def _option(self, field: str, where: str, name: str, value: str) -> None:
        if name in NEVER:
            self._fail(field, f"{where} cannot be used: {NEVER[name]}")
        elif name not in self._allowed:
            allowed = ", ".join(sorted(self._allowed)) or "none"
            self._fail(field, f"{where}: this site does not allow the option {name!r}; allowed are: {allowed}")
        else:
            self._extra[name] = f"--{name}={value}" if value else f"--{name}"

    def _fail(self, field: str, message: str) -> None:
        self._errors.append(FieldError(field, message))


def _get(spec: JobSpec, field: str) -> Any:
    part: JobSpec | Resources = spec
    for name in field.split("."):
        part = getattr(part, name)
    return part
