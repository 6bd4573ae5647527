"""What the caller of the bench wants."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Options:
    """The command line.

    Args:
        full: lists of 10^6 jobs too; takes minutes more.
        strict: exit with 1 when a target is missed.
        only: names of the groups to run; empty = all.
        json: where to write the lines as JSON as well.
    """

    full: bool
    strict: bool
    only: tuple[str, ...]
    json: Path | None
