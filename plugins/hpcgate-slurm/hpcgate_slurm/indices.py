"""The indices of an array's tasks as Slurm writes those that wait together: ``3-10%2``, ``1,5-9:2``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

_MOST_TASKS: Final = 200_000


def indices(text: str) -> Iterator[int]:
    """Folds a list open.

    Raises:
        ValueError: it is no such list, or holds too many.
    """
    count = 0
    for part in text.strip("[]").partition("%")[0].split(","):
        span, _, step = part.partition(":")
        first, _, last = span.partition("-")
        for index in range(int(first), int(last or first) + 1, int(step or 1)):
            count += 1
            if count > _MOST_TASKS:
                raise ValueError(f"{text[:80]!r} holds too many tasks")
            yield index
