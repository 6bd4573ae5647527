"""A job as the spooler takes it."""

from __future__ import annotations

import shlex
from typing import Any

from hpcgate.errors import FieldError, InvalidSpec
from hpcgate.model.job import Job
from hpcgate.model.site import Site
from hpcgate.model.spec import JobSpec
from hpcgate_local.settings import LocalSettings
from hpcgate_local.spooler import machine_cpus, machine_memory_mib


def site_limits(site: Site) -> tuple[int | None, int | None]:
    """Cores and MiB that the jobs of a site share; ``None`` = all of its machine, which is not this one."""
    settings = LocalSettings.of(site)
    if site.transport == "local":
        return settings.cpus or machine_cpus(), settings.memory_mib or machine_memory_mib()
    return settings.cpus, settings.memory_mib


def needed_memory_mib(spec: JobSpec) -> int:
    """What a job asks for, MiB; 0 = it does not say."""
    resources = spec.resources
    if resources.memory_per_cpu_mib is not None:
        return resources.memory_per_cpu_mib * resources.least_cpus_per_node()
    return resources.memory_mib or 0


def check(site: Site, spec: JobSpec) -> None:
    """Refuses what can never run here.

    Raises:
        InvalidSpec: with one entry per field.
    """
    cpus, memory_mib = site_limits(site)
    resources, errors = spec.resources, []
    if resources.nodes != 1:
        errors.append(FieldError("resources.nodes", f"is {resources.nodes}; site {site.name!r} is one machine"))
    if cpus is not None and (needed := resources.least_cpus_per_node()) > cpus:
        name = "cpus_per_node" if resources.cpus_per_node else "cpus_per_task" if resources.cpus_per_task else "tasks"
        errors.append(FieldError(f"resources.{name}", f"needs {needed} cores; site {site.name!r} has {cpus}"))
    if memory_mib is not None and (needed := needed_memory_mib(spec)) > memory_mib:
        name = "memory_mib" if resources.memory_mib else "memory_per_cpu_mib"
        errors.append(FieldError(f"resources.{name}", f"needs {needed} MiB; site {site.name!r} has {memory_mib}"))
    if spec.roles:
        errors.append(FieldError("roles", "are not supported; give a script, a command or tasks"))
    if errors:
        raise InvalidSpec(errors)


def spool_job(site: Site, job: Job) -> dict[str, Any]:
    """What ``Spool.submit`` takes for one job."""
    spec, settings = job.spec, LocalSettings.of(site)
    array = spec.array
    return {
        "id": job.id,
        "key": job.key,
        "attempt": job.attempt,
        "folder": job.folder,
        "cpus": spec.resources.least_cpus_per_node(),
        "memory_mib": needed_memory_mib(spec),
        "walltime_s": spec.resources.walltime_s,
        "kill_grace_s": settings.kill_grace_s,
        "hold": spec.hold,
        "array": [array.start, array.stop, array.step, array.limit] if array else None,
        "script": spec.script,
        "argv": None if spec.command is None else [spec.command, *spec.args],
        "cwd": spec.working_directory,
        "stdout": spec.stdout_path,
        "stderr": spec.stderr_path,
        "environment": dict(spec.environment),
        "pass": list(settings.environment),
        "secrets": dict(spec.secret_environment),
    }


def spool_settings(site: Site) -> dict[str, Any]:
    """What a spooler goes by."""
    settings = LocalSettings.of(site)
    cpus, memory_mib = site_limits(site)
    return {
        "cpus": cpus,
        "memory_mib": memory_mib,
        "linger_s": settings.linger_s,
        "history_s": settings.history_days * 86_400,
        "event_spool": site.event_spool,
    }


def readable(spec: JobSpec) -> str:
    """What runs, for people: the script, or the command line as a shell would be given it."""
    return spec.script if spec.script is not None else shlex.join([spec.command or "", *spec.args]) + "\n"
