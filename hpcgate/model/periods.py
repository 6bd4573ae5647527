"""Time as roll-ups have it: days, months and years (UTC) and all time, and which of them make up a window.

A period is a number: all time is 0, the year 2026 is 2026, its November 202611, and a day of that 20261122. So periods
of one kind are in order, and no two kinds mix.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

DAY_S: Final = 86_400
#: The period that is all time.
EVER: Final = 0
_EPOCH: Final = date(1970, 1, 1)
_LAST: Final = date(9999, 12, 31)
#: The last day that has a date, counted from 1970-01-01.
LAST_DAY: Final = (_LAST - _EPOCH).days


@dataclass(frozen=True, slots=True)
class Span:
    """Periods of one kind, the first and the last."""

    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Cover:
    """What a window is made of.

    Args:
        spans: whole periods.
        edges: the rest: from a second on, and up to before another one.
    """

    spans: tuple[Span, ...]
    edges: tuple[tuple[int, int], ...]


def day_of(moment: int) -> int:
    """The day of an epoch second, counted from 1970-01-01."""
    return min(max(0, moment // DAY_S), LAST_DAY)


def date_of(day: int) -> date:
    """The date of a day that is counted from 1970-01-01."""
    return _EPOCH + timedelta(days=day)


def moment_of(day: date) -> int:
    """The first second of a date."""
    return (day - _EPOCH).days * DAY_S


def periods_of(moment: int) -> tuple[int, int, int, int]:
    """All time, and the year, the month and the day of an epoch second."""
    at = date_of(day_of(moment))
    return EVER, at.year, _month(at), _day(at)


def day_of_period(period: int) -> int:
    """A period that is a day, counted from 1970-01-01."""
    return (date(period // 10_000, period // 100 % 100, period % 100) - _EPOCH).days


def cover(since: int | None, until: int | None, *, by_day: bool = False) -> Cover:
    """Makes a window up of as few periods as there can be.

    Args:
        since: its first second; ``None`` = ever since.
        until: the first second after it; ``None`` = for ever.
        by_day: of days alone.
    """
    first = None if since is None else -(-max(0, since) // DAY_S)
    end = None if until is None or until >= moment_of(_LAST) else max(0, until) // DAY_S
    if first is not None and end is not None and first >= end:
        assert since is not None
        assert until is not None
        return Cover((), ((since, until),) if since < until else ())
    edges = []
    if first is not None and since is not None and since < first * DAY_S:
        edges.append((since, first * DAY_S))
    if end is not None and until is not None and end * DAY_S < until:
        edges.append((end * DAY_S, until))
    if first is None and end is None and not by_day:
        return Cover((Span(EVER, EVER),), tuple(edges))
    days = (None if first is None else date_of(first), None if end is None else date_of(end))
    spans = [_days(*days)] if by_day else _whole_days(*days)
    return Cover(tuple(spans), tuple(edges))


def _whole_days(first: date | None, end: date | None) -> list[Span]:
    """Days from one on up to before another one, with whole months and years where they fit in."""
    month = None if first is None else _ceil(first, first.replace(day=1), 31)
    last_month = None if end is None else end.replace(day=1)
    if _empty(month, last_month):
        return [_days(first, end)]
    spans = _whole_months(month, last_month)
    if first is not None and month is not None and first < month:
        spans.append(_days(first, month))
    if end is not None and last_month is not None and last_month < end:
        spans.append(_days(last_month, end))
    return spans


def _whole_months(first: date | None, end: date | None) -> list[Span]:
    year = None if first is None else _ceil(first, first.replace(month=1), 366)
    last_year = None if end is None else end.replace(month=1)
    if _empty(year, last_year):
        return [_months(first, end)]
    spans = [Span(_EPOCH.year if year is None else year.year, _LAST.year if last_year is None else last_year.year - 1)]
    if first is not None and year is not None and first < year:
        spans.append(_months(first, year))
    if end is not None and last_year is not None and last_year < end:
        spans.append(_months(last_year, end))
    return spans


def _ceil(at: date, begin: date, longest: int) -> date:
    """Where the next period begins: ``at`` itself if one begins there."""
    if at == begin:
        return at
    later = begin + timedelta(days=longest)
    return later.replace(day=1) if longest == 31 else later.replace(month=1, day=1)


def _empty(first: date | None, end: date | None) -> bool:
    return first is not None and end is not None and first >= end


def _days(first: date | None, end: date | None) -> Span:
    return Span(_day(first or _EPOCH), _day(_LAST if end is None else end - timedelta(days=1)))


def _months(first: date | None, end: date | None) -> Span:
    return Span(_month(first or _EPOCH), _month(_LAST if end is None else end - timedelta(days=1)))


def _month(at: date) -> int:
    return at.year * 100 + at.month


def _day(at: date) -> int:
    return _month(at) * 100 + at.day
