"""What of a job's spec an engine is told, and what is refused because no engine could honour it here."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final

from hpcgate.errors import FieldError, InvalidSpec
from hpcgate.model.files import JobFolder
from hpcgate.model.job import Job
from hpcgate.model.scheduler import HONOURED, Approximated, FieldSupport
from hpcgate.model.site import Site
from hpcgate.model.spec import JobSpec
from hpcgate_container.images import is_reference
from hpcgate_container.settings import ContainerSettings

_NO_NETWORK: Final = "none"
_NATIVE: Final = ("image", "network")
_CPUS: Final = Approximated("as the time that so many cores give; no core is the job's own")
_LEAST_CPUS: Final = Approximated("as the time that the least number of cores gives")

FIELDS: Final[Mapping[str, FieldSupport]] = {
    # The gateway sees to these.
    **dict.fromkeys(("name", "project", "share", "labels", "tags", "staging.inputs"), HONOURED),
    **dict.fromkeys(("script", "command", "args", "hold", "environment", "secret_environment"), HONOURED),
    "tasks": Approximated("one task; its image is the job's. More than one is refused"),
    "native": Approximated("`image` and `network`, as far as the site allows them; other names are refused"),
    "array": Approximated("a container for each index, all at once; a limit below their number is refused"),
    "working_directory": Approximated("relative paths are below the job's work folder, absolute ones in the container"),
    **dict.fromkeys(
        ("stdout_path", "stderr_path"), Approximated("files below the job's work folder; others are refused")
    ),
    **dict.fromkeys(
        (f"resources.{name}" for name in ("cpus_per_node", "cpus_per_task", "tasks", "tasks_per_node")), _CPUS
    ),
    **dict.fromkeys(("resources.cpus_range", "resources.cpus_options"), _LEAST_CPUS),
    "resources.memory_mib": HONOURED,
    "resources.memory_per_cpu_mib": Approximated("the limit of the container is this times its cores"),
    "resources.walltime_s": HONOURED,
    "resources.gpus_per_node": Approximated("the first ones of the host; jobs share them"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A job as it is run here.

    Args:
        script: the user's script, or else
        argv: program and arguments.
        environment: its variables.
        image: its image.
        network: of the engine; ``none`` = no network.
        working_directory: as in the spec.
        stdout, stderr: where its streams go; of an array without the ``.INDEX`` that each task appends.
        cpus, memory_mib, walltime_s, gpus: its limits; 0 = none.
        indices: of its array; ``(None,)`` = it is none.
    """

    script: str | None
    argv: tuple[str, ...]
    environment: Mapping[str, str]
    image: str
    network: str
    working_directory: str | None
    stdout: str
    stderr: str
    cpus: int
    memory_mib: int
    walltime_s: int
    gpus: int
    indices: tuple[int | None, ...]


def plan(site: Site, job: Job) -> Plan:
    """What a job needs of the engine.

    Args:
        site: where it runs.
        job: with its folder.

    Raises:
        InvalidSpec: it can never run here, with one entry per field.
    """
    spec, settings, folder = job.spec, ContainerSettings.of(site), JobFolder(job.folder or "")
    errors = list(_wrong(site, settings, spec))
    if errors:
        raise InvalidSpec(errors)
    task = spec.tasks[0] if spec.tasks else None
    command, args = (task.command, task.args) if task else (spec.command, spec.args)
    resources = spec.resources
    cpus = resources.least_cpus_per_node()
    working_directory = (task.workdir if task else None) or spec.working_directory
    start = posixpath.join(folder.work, working_directory or "")
    return Plan(
        script=spec.script,
        argv=() if command is None else (command, *args),
        environment={**spec.environment, **(task.environment if task else {})},
        image=_image(settings, spec),
        network=str(spec.native.get("network", settings.networks[0] if task and task.network else _NO_NETWORK)),
        working_directory=working_directory,
        stdout=_stream("stdout_path", spec.stdout_path, start, folder, folder.stdout()),
        stderr=_stream("stderr_path", spec.stderr_path, start, folder, folder.stderr()),
        cpus=cpus,
        memory_mib=resources.memory_mib or (resources.memory_per_cpu_mib or 0) * cpus,
        walltime_s=resources.walltime_s or 0,
        gpus=resources.gpus_per_node,
        indices=tuple(spec.array.indices()) if spec.array else (None,),
    )


def _wrong(site: Site, settings: ContainerSettings, spec: JobSpec) -> Iterator[FieldError]:
    resources, array = spec.resources, spec.array
    if resources.nodes != 1:
        yield FieldError("resources.nodes", f"is {resources.nodes}; the site is one host")
    if resources.gpus_per_node > settings.gpus:
        yield FieldError(
            "resources.gpus_per_node",
            f"is {resources.gpus_per_node}; jobs may use {settings.gpus} here (`settings.gpus`)",
        )
    if array is not None:
        total = len(array.indices())
        if array.limit is not None and array.limit < total:
            yield FieldError(
                "array.limit", f"is {array.limit}; all {total} tasks start at once here, for there is no queue"
            )
        if total > settings.max_array_tasks:
            yield FieldError("array", f"has {total} tasks; at most {settings.max_array_tasks} may start at once here")
    if spec.roles:
        yield FieldError("roles", "are not supported; give a script, a command or one task")
    yield from _wrong_task(site, settings, spec)
    yield from _wrong_native(settings, spec)


def _wrong_task(site: Site, settings: ContainerSettings, spec: JobSpec) -> Iterator[FieldError]:
    if len(spec.tasks) > 1:
        yield FieldError("tasks", f"are {len(spec.tasks)}; a job is one container here, so that one is the most")
    for task in spec.tasks[:1]:
        if task.command is None:
            yield FieldError("tasks[0].command", "is missing; the image's own command is not run")
        if task.runtime is not None and site.runtimes.get(task.runtime, task.runtime) != settings.engine:
            yield FieldError("tasks[0].runtime", f"is {task.runtime!r}; it is {settings.engine!r} here")
        if task.network and "network" not in spec.native and not settings.networks:
            yield FieldError("tasks[0].network", "is not allowed: the site lists no network (`settings.networks`)")
        if task.workdir is not None and spec.working_directory is not None:
            yield FieldError("tasks[0].workdir", "stands beside working_directory; name it once")
        if hidden := task.environment.keys() & spec.secret_environment.keys():
            yield FieldError("tasks[0].environment", f"{min(hidden)!r} stands in secret_environment too; name it once")


def _wrong_native(settings: ContainerSettings, spec: JobSpec) -> Iterator[FieldError]:
    for name in spec.native:
        if name not in _NATIVE:
            yield FieldError(f"native.{name}", f"is not allowed; allowed are: {', '.join(_NATIVE)}")
    network = spec.native.get("network", _NO_NETWORK)
    if network != _NO_NETWORK and network not in settings.networks:
        allowed = ", ".join((_NO_NETWORK, *settings.networks))
        yield FieldError("native.network", f"{network!r} is not allowed here; allowed are: {allowed}")


def _image(settings: ContainerSettings, spec: JobSpec) -> str:
    """The image that a job runs in: that of its one task, or ``native.image``, or the site's."""
    of_task = spec.tasks[0].image if spec.tasks else None
    of_native = spec.native.get("image")
    if of_task is not None and of_native is not None:
        raise InvalidSpec.of("native.image", "stands beside tasks[0].image; name the image once")
    field, asked = ("tasks[0].image", of_task) if of_task is not None else ("native.image", of_native)
    if asked is None:
        if settings.image is None:
            raise InvalidSpec.of(field, "is missing: the site has no image of its own (`settings.image`)")
        return settings.image
    if not isinstance(asked, str) or not is_reference(asked):
        raise InvalidSpec.of(field, f"{asked!r} is not the name of an image; it must look like HOST/NAME:TAG")
    if asked != settings.image and not any(fnmatchcase(asked, pattern) for pattern in settings.images):
        allowed = [*([settings.image] if settings.image else []), *settings.images]
        raise InvalidSpec.of(field, f"{asked!r} is not allowed here; allowed are: {', '.join(allowed) or 'none'}")
    return asked


def _stream(field: str, given: str | None, start: str, folder: JobFolder, default: str) -> str:
    """Where a stream goes. What is outside of the work folder is the container's own, and is gone with it."""
    if given is None:
        return default
    path = posixpath.normpath(posixpath.join(start, given))
    if given.startswith("~") or not path.startswith(f"{posixpath.normpath(folder.work)}/"):
        raise InvalidSpec.of(
            field, f"{given!r} is not below the job's work folder, the only one that outlives a container"
        )
    return path
