"""Which of the jobs that a job waits for are still to be waited for, and whether it can ever start.

What the gateway knows already is decided here, since a scheduler forgets a finished job within minutes; for the others
the scheduler itself waits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from hpcgate.model.job import Job, JobDependency
from hpcgate.model.spec import Dependency
from hpcgate.model.state import FINAL, JobState

#: Whether an end satisfies a dependency.
_SATISFIED_BY: Final[Mapping[str, Callable[[JobState], bool]]] = {
    "after": lambda state: True,
    "afterany": lambda state: True,
    "afterok": lambda state: state is JobState.COMPLETED,
    "afternotok": lambda state: state is not JobState.COMPLETED,
}


@dataclass(frozen=True, slots=True)
class Outlook:
    """What a job's dependencies mean for it now.

    Args:
        waits_for: those that its scheduler has to wait for.
        never: why it can never start; ``None`` = it can.
        not_yet: why its scheduler cannot be told of it yet; ``None`` = it can.
    """

    waits_for: tuple[JobDependency, ...] = ()
    never: str | None = None
    not_yet: str | None = None


def outlook(job: Job, known: Mapping[int, Job]) -> Outlook:
    """Judges the dependencies of a job.

    Args:
        job: has them in its spec.
        known: the jobs that they name, by id; one that is missing was deleted.
    """
    waits_for: list[JobDependency] = []
    not_yet: str | None = None
    for dependency in job.spec.dependencies:
        other = known.get(dependency.job)
        if other is None:
            return Outlook(never=f"job {dependency.job}, which it depends on, was deleted")
        if other.state in FINAL:
            if not _SATISFIED_BY[dependency.kind](other.state):
                return Outlook(never=f"it needs job {other.id} to end otherwise ({_told(dependency, other)})")
        elif dependency.kind != "after" or other.started_at is None:
            if other.native_id is None:
                not_yet = f"waits until job {other.id}, which it depends on, is submitted"
            waits_for.append(JobDependency(job=other.ref, kind=dependency.kind))
    return Outlook(waits_for=tuple(waits_for), not_yet=not_yet)


def _told(dependency: Dependency, other: Job) -> str:
    return f"{dependency.kind}, but it is {other.state.value}"
