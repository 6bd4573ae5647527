"""What lists ask for, and what they get."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

from hpcgate.model.state import JobState

T = TypeVar("T")

DEFAULT_LIMIT: Final = 25
MAX_LIMIT: Final = 1000


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """A part of a list.

    Args:
        items: at most as many as asked for, newest first for jobs.
        next_cursor: opaque text that gets the next part; ``None`` = this was the last.
    """

    items: tuple[T, ...]
    next_cursor: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFilter:
    """Which jobs; everything given must hold.

    Args:
        owner: exact name of the owner; ``None`` = all.
        sites: names (not aliases); empty = all.
        name: exact job name.
        labels: key -> value, all of them.
        tags: all of them.
        since, until: created at or after / before, epoch seconds.
        ids: restricts to these.
        active: ``True`` = not ended, ``False`` = ended.
    """

    states: frozenset[JobState] = frozenset()
    active: bool | None = None
    owner: str | None = None
    sites: tuple[str, ...] = ()
    name: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    project: str | None = None
    since: float | None = None
    until: float | None = None
    ids: frozenset[int] | None = None
    workflow_id: int | None = None
