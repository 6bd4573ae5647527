"""What jobs cost: pure arithmetic in whole numbers, so that a balance is exact at any moment.

Time is counted in weighted seconds: seconds of the clock, times the nodes or the cores of the job where its project
counts so. At submit the most that a job can take is reserved; at its end what it took is used.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from hpcgate.model.allocation import MOST, Weighting
from hpcgate.model.spec import JobSpec, Resources


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """What a job costs a user of a project.

    Args:
        project: its name.
        principal: whose quota.
        weighting: what the project counted when the job came.
        units: nodes, cores, or 1: what one second of the job (of one array task) weighs, as it was asked for.
        width: array tasks that may run at the same time; 1 for all other jobs.
        time_s: weighted seconds that are reserved.
        space_kb: KiB that the gateway stores for it.
    """

    project: str
    principal: str
    weighting: Weighting
    units: int
    width: int
    time_s: int
    space_kb: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run of a job, or of one task of an array.

    Args:
        started_at, ended_at: epoch seconds.
        nodes: how many it had, as far as is known.
        cpus: how many cores, as far as is known.
    """

    started_at: float
    ended_at: float
    nodes: int = 0
    cpus: int = 0


@dataclass(frozen=True, slots=True)
class Figures:
    """What became of a grant; ``granted - used - reserved == left``, always.

    Args:
        granted: ``None`` = without limit.
    """

    granted: int | None
    used: int = 0
    reserved: int = 0

    @property
    def left(self) -> int | None:
        """What may still be reserved; less than 0 where a job took more than it had reserved."""
        return None if self.granted is None else self.granted - self.used - self.reserved


@dataclass(frozen=True, slots=True)
class Balance:
    """What a user, or all users together, have of a project: weighted seconds, and KiB."""

    time: Figures
    space: Figures


@dataclass(frozen=True, slots=True)
class Spent:
    """What is used and reserved, whatever was granted."""

    used_s: int = 0
    reserved_s: int = 0
    used_kb: int = 0
    reserved_kb: int = 0

    def of(self, time_s: int | None, space_kb: int | None) -> Balance:
        """The balance of a grant."""
        return Balance(Figures(time_s, self.used_s, self.reserved_s), Figures(space_kb, self.used_kb, self.reserved_kb))

    def __add__(self, other: Spent) -> Spent:
        return Spent(
            self.used_s + other.used_s,
            self.reserved_s + other.reserved_s,
            self.used_kb + other.used_kb,
            self.reserved_kb + other.reserved_kb,
        )


def units_of(spec: JobSpec, weighting: Weighting) -> int:
    """What one second of a job (of one of its array tasks) weighs."""
    if weighting is Weighting.WALL:
        return 1
    weigh = _nodes if weighting is Weighting.NODE else cores_of
    return sum(role.count * weigh(role.resources) for role in spec.roles) or weigh(spec.resources)


def _nodes(resources: Resources) -> int:
    return resources.nodes


def cores_of(resources: Resources) -> int:
    """The most cores that a job can get of what it asks for."""
    if resources.total_cpus_range is not None:
        return resources.total_cpus_range[1]
    if resources.cpus_range is not None:
        return resources.nodes * resources.cpus_range[1]
    if resources.cpus_options:
        return resources.nodes * max(resources.cpus_options)
    if resources.cpus_per_node is not None:
        return resources.nodes * resources.cpus_per_node
    tasks = resources.tasks or resources.nodes * (resources.tasks_per_node or 1)
    return max(tasks * (resources.cpus_per_task or 1), resources.nodes)


def tasks_of(spec: JobSpec) -> int:
    """How often its script runs."""
    return 1 if spec.array is None else len(spec.array.indices())


def width_of(spec: JobSpec) -> int:
    """How many array tasks may run at the same time."""
    return 1 if spec.array is None else min(spec.array.limit or MOST, tasks_of(spec))


def stored_kb(spec: JobSpec) -> int:
    """What the gateway stores for a job: its script and the input files that come with it, KiB, rounded up."""
    size = len((spec.script or "").encode("utf-8", "surrogatepass"))
    size += sum(len(item.content) for item in spec.staging.inputs)
    return -(-size // 1024)


def used_s(weighting: Weighting, units: int, runs: Sequence[Run]) -> int:
    """The weighted seconds that runs took. Each that began a second has used it.

    A run weighs at least what was asked for: what is known of its nodes and cores may be a part of them.
    """
    return min(sum(_weight(weighting, units, run) * _elapsed_s(run) for run in runs), MOST)


def _elapsed_s(run: Run) -> int:
    return max(0, math.ceil(run.ended_at - run.started_at))


def _weight(weighting: Weighting, units: int, run: Run) -> int:
    if weighting is Weighting.WALL:
        return units
    return max(units, run.nodes if weighting is Weighting.NODE else run.cpus)


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What an active job takes of its share, as it was asked for.

    Args:
        cpus, memory_mib, gpus: over all nodes and, for an array, over all tasks that may run at the same time.
        passed: whether there was room for it in its share, so that it may go to its scheduler.
    """

    share: str
    cpus: int
    memory_mib: int = 0
    gpus: int = 0
    passed: bool = False


def load_of(share: str, spec: JobSpec) -> Load:
    """What a job takes of a share."""
    parts = [(role.count, role.resources) for role in spec.roles] or [(width_of(spec), spec.resources)]
    return Load(
        share=share,
        cpus=min(sum(count * cores_of(part) for count, part in parts), MOST),
        memory_mib=min(sum(count * _memory_mib(part) for count, part in parts), MOST),
        gpus=min(sum(count * part.nodes * part.gpus_per_node for count, part in parts), MOST),
    )


def _memory_mib(resources: Resources) -> int:
    if resources.memory_per_cpu_mib is not None:
        return resources.memory_per_cpu_mib * cores_of(resources)
    return resources.nodes * (resources.memory_mib or 0)
