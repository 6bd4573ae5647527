"""Slurm's ways to write times, durations, sizes and node lists."""

from __future__ import annotations

import re
from typing import Final

from ClusterShell.NodeSet import NodeSet, NodeSetException

_NOTHING: Final = frozenset({"", "N/A", "NONE", "NONE ASSIGNED", "UNKNOWN", "(NULL)", "INVALID", "UNLIMITED"})
_FACTORS: Final = {"": 1 / 1024, "K": 1, "M": 1024, "G": 1024**2, "T": 1024**3, "P": 1024**4}
_MOST_NODES: Final = 10_000


def epoch(text: str) -> float | None:
    """A time with ``SLURM_TIME_FORMAT=%s``; ``None`` = not known."""
    return float(text) if text.isdigit() and text != "0" else None


def number(text: str) -> int | None:
    """A whole number; ``None`` = not told."""
    return int(text) if text.isdigit() else None


def duration_s(text: str) -> float | None:
    """``[DD-[HH:]]MM:SS[.mmm]``, as accounting prints times used, in seconds."""
    match = re.fullmatch(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+(?:\.\d+)?)", text)
    if not match:
        return None
    days, hours, minutes, seconds = match.groups()
    return int(days or 0) * 86_400 + int(hours or 0) * 3600 + int(minutes) * 60 + float(seconds)


def time_limit_s(text: str) -> int | None:
    """A time limit as users and ``sinfo`` write it, in seconds; ``None`` = no limit.

    ``M``, ``M:S``, ``H:M:S``, ``D-H``, ``D-H:M``, ``D-H:M:S``.

    Raises:
        ValueError: the text has none of these forms.
    """
    if text.lower() in ("infinite", "unlimited", "-1"):
        return None
    match = re.fullmatch(r"(?:(\d{1,6})-)?(\d{1,9})(?::(\d{1,9}))?(?::(\d{1,9}))?", text, re.ASCII)
    if not match:
        raise ValueError(f"{text!r} is no time; it must be M, M:S, H:M:S, D-H, D-H:M or D-H:M:S")
    days, first, second, third = (None if part is None else int(part) for part in match.groups())
    assert first is not None, "the pattern has it in every form"
    if days is not None:
        return days * 86_400 + first * 3600 + (second or 0) * 60 + (third or 0)
    if third is not None:
        return first * 3600 + (second or 0) * 60 + third
    return first * 60 + (second or 0)


def print_time(seconds: int) -> str:
    """A duration as ``--time`` takes it. Slurm itself rounds it up to whole minutes."""
    minutes, rest = divmod(seconds, 60)
    return f"{minutes}:{rest:02}"


def memory_kib(text: str) -> int | None:
    """A size such as ``4660K``, ``1.50G`` or ``512`` (bytes), in KiB."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([KMGTP]?)", text)
    return round(float(match[1]) * _FACTORS[match[2]]) if match else None


def memory_limit_mib(text: str) -> int:
    """A size as ``--mem`` takes it (MiB where no unit is given), in MiB.

    Raises:
        ValueError: the text is no size, or the special 0.
    """
    match = re.fullmatch(r"(\d{1,12})([KMGT]?)B?", text.upper(), re.ASCII)
    if not match or int(match[1]) == 0:
        raise ValueError(f"{text!r} is no size; it must be a number with K, M, G or T")
    return max(1, round(int(match[1]) * _FACTORS[match[2] or "M"] / 1024))


def nodes(text: str) -> tuple[str, ...]:
    """The names in a node list such as ``c[1-2,5]``, folded open."""
    if text.upper() in _NOTHING:
        return ()
    try:
        found = NodeSet(text)
        return tuple(found) if len(found) <= _MOST_NODES else ()
    except NodeSetException:
        return ()  # cut off by the width of its column
