"""Option values as people write them: ``1:30:00``, ``4G``, ``30d``, ``key=value``."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any, Final

import click

_UNIT_S: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_MIB: Final = {"K": 1 / 1024, "M": 1, "G": 1024, "T": 1024**2, "P": 1024**3}
_CLOCK = re.compile(r"(?:(?P<days>\d+)-)?(?P<clock>\d+(?::\d{1,2}){0,2})\Z")
_UNITS = re.compile(r"(?:(\d+)([smhdw]))", re.IGNORECASE)
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGTP]?)(?:i?B)?\Z", re.IGNORECASE)


def parse_duration(text: str) -> int:
    """Seconds in ``90``, ``90s``, ``15m``, ``1h30m``, ``1d``, ``MM:SS``, ``H:MM:SS`` or ``D-HH:MM:SS``.

    Raises:
        ValueError: it has no such form, or is zero.
    """
    text = text.strip()
    if text and _UNITS.sub("", text) == "":
        seconds = sum(int(number) * _UNIT_S[unit.lower()] for number, unit in _UNITS.findall(text))
    elif match := _CLOCK.match(text):
        seconds = _clock_s(match["days"], match["clock"])
    else:
        raise ValueError(f"{text!r} is no time; write seconds (90), 90s, 15m, 1h30m, 1d, 1:30:00 or 2-00:00:00")
    if seconds < 1:
        raise ValueError(f"{text!r} is no time that anything could take; it must be at least 1 s")
    return seconds


def _clock_s(days: str | None, clock: str) -> int:
    parts = [int(part) for part in clock.split(":")]
    if days is not None:  # D-HH[:MM[:SS]], as batch systems read it
        hours, minutes, seconds = (*parts, 0, 0)[:3]
        return int(days) * 86_400 + hours * 3600 + minutes * 60 + seconds
    total = 0
    for part in parts:
        total = total * 60 + part
    return total


def parse_memory(text: str) -> int:
    """MiB in ``512M``, ``4G``, ``1.5GiB``; a bare number is MiB. Units are powers of 1024.

    Raises:
        ValueError: it has no such form, or is less than 1 MiB.
    """
    match = _SIZE.match(text.strip())
    if not match:
        raise ValueError(f"{text!r} is no size; write MiB (512), 512M, 4G or 1.5G (powers of 1024)")
    mebibytes = float(match[1]) * _MIB[match[2].upper() or "M"]
    if mebibytes < 1:
        raise ValueError(f"{text!r} is less than 1 MiB")
    return int(mebibytes)


def parse_moment(text: str) -> float:
    """Epoch seconds of RFC 3339 text, of a local date or time, or of how long ago (``2h``, ``1d``).

    Raises:
        ValueError: it has no such form.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        try:
            return datetime.now(UTC).timestamp() - parse_duration(text)
        except ValueError:
            raise ValueError(f"{text!r} is no time; write 2026-01-31, 2026-01-31T12:00Z, or how long ago: 2h") from None
    return moment.astimezone().timestamp()


def parse_pair(text: str) -> tuple[str, str]:
    """``KEY=VALUE`` in two.

    Raises:
        ValueError: there is no ``=``, or nothing before it.
    """
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise ValueError(f"{text!r} is not of the form KEY=VALUE")
    return key, value


class _Parsed(click.ParamType[Any]):
    """A click type that is a name and a parser that raises ``ValueError``."""

    def __init__(self, name: str, parse: Any) -> None:
        self.name = name
        self._parse = parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return self._parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


DURATION = _Parsed("time", parse_duration)
MEMORY = _Parsed("size", parse_memory)
MOMENT = _Parsed("when", parse_moment)
PAIR = _Parsed("key=value", parse_pair)
