"""What is granted at a site: projects, which have quota, and shares, which are slices of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, Final

from hpcgate.errors import FieldError, InvalidSpec
from hpcgate.model.spec import MAX_WALLTIME_S

#: More seconds, or KiB, than anybody has; sums of many of them still fit into the database.
MOST: Final = 2**53

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}\Z")
_WORD: Final = re.compile(r"[^\s\x00-\x1f\x7f-\x9f\ud800-\udfff-][^\s\x00-\x1f\x7f-\x9f\ud800-\udfff]{0,254}\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What one user may use of a project.

    Args:
        time_s: weighted seconds; ``None`` = what the project says of each user.
        space_kb: KiB; ``None`` likewise.
    """

    time_s: int | None = None
    space_kb: int | None = None

    def __post_init__(self) -> None:
        _finish([*_bounded("hours", self.time_s, 0), *_bounded("space_kb", self.space_kb, 0)])


@dataclass(frozen=True, slots=True, kw_only=True)
class Allocation:
    """What projects and shares have in common.

    Args:
        name: unique among projects, or among shares.
        site: where it is.
        groups: whose members may use it too.
        managed_by_config: whether it stands in the config file, so that the API may not change it.
    """

    kind: ClassVar[str]
    #: Fields that go to the scheduler with each job, so that it must honour them.
    passed_on: ClassVar[tuple[str, ...]]

    name: str
    site: str
    groups: tuple[str, ...] = ()
    managed_by_config: bool = False

    def __post_init__(self) -> None:
        _finish(self.errors())

    @property
    def everybody(self) -> bool:
        """Whether every user may use it."""
        return False

    @property
    def default_at(self) -> str | None:
        """The site for whose jobs it is meant where they name none."""
        return None

    def errors(self) -> list[FieldError]:
        """What is wrong with it."""
        if _NAME.match(self.name):
            return []
        return [FieldError("name", f"{self.name!r} is no name; letters, digits and _ . -, at most 128")]


class Weighting(StrEnum):
    """What an hour is: of the clock, of a node, or of a core."""

    WALL = "wall"
    NODE = "node"
    CORE = "core"


@dataclass(frozen=True, slots=True, kw_only=True)
class Project(Allocation):
    """An allocation with a quota for each user.

    Times are weighted seconds: seconds of the clock times nodes or cores, as ``weighting`` says.

    Args:
        account, qos: what its jobs run under at the scheduler.
        weighting: what its hours are.
        time_s, space_kb: what each user has; ``None`` = no limit.
        total_time_s, total_space_kb: what all users have together; ``None`` = no limit.
        default: every user has it, and a job at its site that names no project is of this one.
        default_walltime_s: walltime of jobs that name none, seconds.
    """

    kind: ClassVar[str] = "project"
    passed_on: ClassVar[tuple[str, ...]] = ("account", "qos")

    account: str | None = None
    qos: str | None = None
    weighting: Weighting = Weighting.WALL
    time_s: int | None = None
    space_kb: int | None = None
    total_time_s: int | None = None
    total_space_kb: int | None = None
    default: bool = False
    default_walltime_s: int | None = None

    @property
    def everybody(self) -> bool:
        """Whether every user may use it."""
        return self.default

    @property
    def default_at(self) -> str | None:
        """The site for whose jobs it is meant where they name none."""
        return self.site if self.default else None

    def errors(self) -> list[FieldError]:
        """What is wrong with it."""
        # Not super(): dataclasses with slots are made twice, and it would know only the first of them.
        return [
            *Allocation.errors(self),
            *_words(account=self.account, qos=self.qos),
            *_bounded("hours", self.time_s, 0),
            *_bounded("space_kb", self.space_kb, 0),
            *_bounded("total_hours", self.total_time_s, 0),
            *_bounded("total_space_kb", self.total_space_kb, 0),
            *_bounded("default_walltime_s", self.default_walltime_s, 1, MAX_WALLTIME_S),
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Share(Allocation):
    """A slice of a site.

    Args:
        queue: where its jobs go.
        capacity: what it is meant to have of its site's cores, percent.
        max_capacity: what its jobs may have together when the others leave room, percent.
        cpus: cores of the site, of which the percentages are taken; ``None`` = as its scheduler tells, which is good
            enough to show what is used, but not to limit it.
        open: every user may use it.
    """

    kind: ClassVar[str] = "share"
    passed_on: ClassVar[tuple[str, ...]] = ("queue",)

    queue: str | None = None
    capacity: float = 100.0
    max_capacity: float = 100.0
    cpus: int | None = None
    open: bool = True

    @property
    def everybody(self) -> bool:
        """Whether every user may use it."""
        return self.open

    @property
    def most_cpus(self) -> int | None:
        """Cores that its jobs may have together; ``None`` = no limit."""
        if self.max_capacity >= 100 or self.cpus is None:
            return None
        return max(1, int(self.cpus * self.max_capacity / 100))

    def errors(self) -> list[FieldError]:
        """What is wrong with it."""
        found = [*Allocation.errors(self), *_words(queue=self.queue), *_bounded("cpus", self.cpus, 1)]
        if not 0 <= self.capacity <= 100:
            found.append(FieldError("capacity", f"{self.capacity:g} is out of range; it must be from 0 to 100 percent"))
        if not (0 < self.max_capacity <= 100 and self.capacity <= self.max_capacity):
            wanted = f"it must be from capacity ({self.capacity:g}) to 100 percent, and more than 0"
            found.append(FieldError("max_capacity", f"{self.max_capacity:g} is out of range; {wanted}"))
        elif self.max_capacity < 100 and self.cpus is None:
            found.append(FieldError("cpus", "is required where max_capacity is below 100 percent: of how many cores"))
        return found


def seconds(hours: float | None) -> int | None:
    """Hours as whole seconds."""
    return None if hours is None else round(hours * 3600)


def _words(**values: str | None) -> list[FieldError]:
    return [
        FieldError(name, f"{value!r} is not a name; no spaces, control characters or leading '-', 1 to 255 long")
        for name, value in values.items()
        if value is not None and not _WORD.match(value)
    ]


def _bounded(name: str, value: int | None, least: int, most: int = MOST) -> list[FieldError]:
    if value is None or least <= value <= most:
        return []
    wanted = f"at least {least}, and not absurdly much" if most == MOST else f"from {least} to {most}"
    return [FieldError(name, f"is out of range; it must be {wanted}")]


def _finish(errors: list[FieldError]) -> None:
    if errors:
        raise InvalidSpec(errors)
