"""PBS's ways to write times, sizes, hosts and ids."""

from __future__ import annotations

import re
import time
from calendar import timegm
from functools import lru_cache
from typing import Final

_KIB: Final = {"b": 1 / 1024, "kb": 1, "mb": 1 << 10, "gb": 1 << 20, "tb": 1 << 30, "pb": 1 << 40}
_SIZE = re.compile(r"(\d+)\s*([kmgtp]?)([bw]?)\Z", re.IGNORECASE)
_TASK = re.compile(r"(\d+)\[(\d+)\](.*)\Z", re.DOTALL)
_ARRAY = re.compile(r"\d+\[\]")
_RANGE = re.compile(r"(\d+)(?:-(\d+)(?::(\d+))?)?\Z")
_WORD_BYTES: Final = 8


@lru_cache(maxsize=8192)  # the jobs of a listing share most of their moments, from one listing to the next
def epoch(text: str | None) -> float | None:
    """A moment: ``Sun Nov 22 00:54:32 2026`` in UTC (the commands are run with ``TZ=UTC``), or epoch seconds.

    Returns:
        Epoch seconds; ``None`` where there is no time or one of another form.
    """
    if not text:
        return None
    if text.isdigit():
        return float(text)
    try:
        return float(timegm(time.strptime(text, "%a %b %d %H:%M:%S %Y")))
    except ValueError:
        return None


def seconds(text: str | None) -> float | None:
    """A duration: ``[[HH:]MM:]SS``, in which the hours may have more than two digits."""
    parts = (text or "").split(":")
    if len(parts) > 3 or not all(part.isdigit() for part in parts):
        return None
    total = 0
    for part in parts:
        total = 60 * total + int(part)
    return float(total)


def kib(text: str | None) -> int | None:
    """A size: ``7076kb``, ``2gb``; without a unit, bytes; ``w`` counts in words of 8 bytes."""
    match = _SIZE.match(text or "")
    if not match:
        return None
    number, prefix, unit = match.groups()
    factor = _KIB[prefix.lower() + "b"] * (_WORD_BYTES if unit.lower() == "w" else 1)
    return int(int(number) * factor)


def hosts(exec_host: str | None) -> tuple[str, ...]:
    """The hosts of ``n1/0*4+n2/1``, each once, in order."""
    names = (part.partition("/")[0] for part in (exec_host or "").split("+"))
    return tuple(dict.fromkeys(name for name in names if name))


def integer(text: str | None) -> int | None:
    """A whole number; ``None`` where there is none."""
    try:
        return int(text) if text is not None else None
    except ValueError:
        return None


def is_array(native_id: str) -> bool:
    """Whether an id is that of a whole array: ``123[].server``."""
    return bool(_ARRAY.match(native_id))


def task_id(native_id: str, index: int) -> str:
    """The id of a task of the array ``123[].server``."""
    return native_id.replace("[]", f"[{index}]", 1)


def split_task(native_id: str) -> tuple[str, int] | None:
    """The id of the whole array and the index of ``123[4].server``; ``None`` where it is no task of an array."""
    match = _TASK.match(native_id)
    return (f"{match[1]}[]{match[3]}", int(match[2])) if match else None


def indices(text: str | None) -> tuple[int, ...]:
    """The indices of ``1-3``, ``2-6:2``, ``1,4-5``; those behind a ``%`` limit are no indices.

    Raises:
        ValueError: the text has another form.
    """
    found: list[int] = []
    for part in (text or "").partition("%")[0].split(","):
        match = _RANGE.match(part.strip())
        if not match:
            raise ValueError(f"{text!r} is no range of indices")
        start, stop, step = match.groups()
        found.extend(range(int(start), int(stop or start) + 1, int(step or 1)))
    return tuple(found)
