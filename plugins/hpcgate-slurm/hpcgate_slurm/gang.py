"""A gang: roles whose tasks all start together, as one heterogeneous job with a component for each role."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from hpcgate.errors import FieldError
from hpcgate.model.spec import JobSpec, Resources, TaskRole
from hpcgate_slurm.mark import MAX_CHARS, ROLE_NAME, Mark

#: Slurm's own limit on components.
MAX_ROLES: Final = 128
MAX_TASKS: Final = 10_000

#: What a role cannot say: it is the whole job's, or has no meaning for one task.
_NOT_IN_ROLES: Final = ("walltime_s", "disk_mib", "tasks_per_node", "total_cpus_range")


def roles_of(spec: JobSpec) -> tuple[tuple[str, int], ...]:
    """Name and number of tasks of each role."""
    return tuple((role.name, role.count) for role in spec.roles)


def cores(role: TaskRole) -> int:
    """How many cores each task of a role gets."""
    return role.resources.least_cpus_per_node()


def words(role: TaskRole) -> list[str]:
    """What one component asks for: ``count`` times what one task needs, on any nodes."""
    resources = role.resources
    found = [f"--ntasks={role.count}", f"--cpus-per-task={cores(role)}"]
    if resources.memory_mib is not None:
        # Tasks may share a node, and --mem would be for all of them there.
        found.append(f"--mem-per-cpu={-(-resources.memory_mib // cores(role))}M")
    elif resources.memory_per_cpu_mib is not None:
        found.append(f"--mem-per-cpu={resources.memory_per_cpu_mib}M")
    if resources.gpus_per_node:
        found.append(f"--gpus-per-task={gpus(role)}")
    if resources.exclusive:
        found.append("--exclusive")
    return found


def gpus(role: TaskRole) -> str:
    """Accelerators of each task, as an option's value."""
    kind = f"{role.resources.gpu_type}:" if role.resources.gpu_type else ""
    return f"{kind}{role.resources.gpus_per_node}"


def check(spec: JobSpec) -> list[FieldError]:
    """What is wrong with the roles of a job."""
    if not spec.roles:
        return []
    errors = [FieldError(f"roles.{name}", message) for name, message in _in_roles(spec)]
    for name, given in (("array", spec.array is not None), ("native", bool(spec.native))):
        if given:
            errors.append(FieldError(name, "cannot be given together with roles"))
    own = Resources(walltime_s=spec.resources.walltime_s, exclusive=spec.resources.exclusive)
    if spec.resources != own:
        errors.append(FieldError("resources", "a job with roles has only walltime_s and exclusive; the rest is theirs"))
    return errors


def _in_roles(spec: JobSpec) -> Iterator[tuple[str, str]]:
    names = [role.name for role in spec.roles]
    if len(names) > MAX_ROLES:
        yield "name", f"there are {len(names)} roles; at most {MAX_ROLES} are allowed"
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield "name", f"{name!r} is given twice"
    if sum(role.count for role in spec.roles) > MAX_TASKS:
        yield "count", f"at most {MAX_TASKS} tasks together are allowed"
    for role in spec.roles:
        yield from _in_role(role)
    if len(str(Mark("0" * 26, roles=roles_of(spec)))) > MAX_CHARS:
        yield "name", f"names and counts together are too long; at most {MAX_CHARS - 40} characters are allowed"


def _in_role(role: TaskRole) -> Iterator[tuple[str, str]]:
    if not ROLE_NAME.fullmatch(role.name):
        yield "name", f"{role.name!r} is no name of a role; letters, digits and _ . -, beginning with none of these"
    if role.count < 1:
        yield "count", f"{role.count} is too few; at least 1"
    for name in ("min_failed", "min_succeeded"):
        least = getattr(role, name)
        if least is not None and not 1 <= least <= role.count:
            yield name, f"{least} is out of range; it must be from 1 to {role.count}, the role's count"
    if role.task.image is not None or role.task.runtime is not None:
        yield "task.image", "tasks of roles run on the host; containers are not supported here"
    yield from _resources(role.resources)


def _resources(resources: Resources) -> Iterator[tuple[str, str]]:
    if resources.nodes != 1 or resources.tasks not in (None, 1):
        yield "resources.nodes", "a role's resources are those of one task, which is one process on one node"
    for name in _NOT_IN_ROLES:
        if getattr(resources, name) is not None:
            yield f"resources.{name}", "cannot be given for a role; give it for the job"
