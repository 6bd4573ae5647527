"""Counts the roll-ups anew, and says where they were wrong: for repair, and for rows that came another way."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from hpcgate.model.periods import DAY_S, EVER, Span, day_of_period, periods_of
from hpcgate.model.statistics import HISTOGRAMS, VALUES
from hpcgate.store import record_sums
from hpcgate.store.rollups import DIMENSIONS, KEY, SHAPES, Shape
from hpcgate.store.session import Session

_YEARS: Final = Span(1970, 9999)
_MONTHS: Final = Span(1970_01, 9999_12)
_DAYS: Final = Span(1970_01_01, 9999_12_31)
#: All that the database takes for a second.
_EVER: Final = (-(2**63), 2**63 - 1)

#: Of all shapes, since that is how the table is ordered.
_AMONG: Final = f"shape IN ({', '.join(str(shape.number) for shape in SHAPES)}) AND period BETWEEN ? AND ?"
_PERIODS: Final = f"SELECT DISTINCT period FROM record_count WHERE {_AMONG}"  # noqa: S608
_COLUMNS: Final = ", ".join((*KEY, *VALUES))
_STORED: Final = f"SELECT {_COLUMNS} FROM record_count WHERE shape = ? AND period = ?"  # noqa: S608


@dataclass(frozen=True, slots=True)
class Recounted:
    """A period that was counted anew.

    Args:
        period: which, see ``model.periods``.
        cells: how many of its cells were written, or are wrong where nothing was to be written.
    """

    period: int
    cells: int


def recount(session: Session, *, write: bool) -> Iterator[Recounted]:
    """Counts all records that have ended, a period after the other, each in a transaction of its own.

    First the days, by their records; then the months, by their days; then the years, and all time. A record that is
    written meanwhile is in the day that was counted, or is added to all that were.

    Args:
        session: outside a transaction.
        write: whether they are put in place of what is there; else it is only looked at.
    """
    days = sorted(set(_days_of_records(session)) | set(_periods(session, _DAYS)))
    months = sorted({day // 100 for day in days} | set(_periods(session, _MONTHS)))
    years = sorted({month // 100 for month in months} | set(_periods(session, _YEARS)))
    for day in days:
        with session.transaction():
            cells = sum(_count(session, shape, day, write=write) for shape in SHAPES)
        yield Recounted(day, cells)
    for larger in (*months, *years, EVER):
        cells = 0
        for shape in SHAPES:
            with session.transaction():
                cells += _count(session, shape, larger, write=write)
        yield Recounted(larger, cells)


def _days_of_records(session: Session) -> Iterator[int]:
    """Days on which one began, each found by a look into the index behind the day before."""
    at = _EVER[0]
    while True:
        row = session.one("SELECT min(started_at) FROM record WHERE started_at >= ?", (at,))
        if row is None or row[0] is None:
            return
        yield periods_of(row[0])[-1]
        at = max(0, row[0] // DAY_S + 1) * DAY_S


def _periods(session: Session, among: Span) -> list[int]:
    return [row[0] for row in session.rows(_PERIODS, (among.first, among.last))]


def _count(session: Session, shape: Shape, period: int, *, write: bool) -> int:
    right, params = _of_records(shape, period) if period >= _DAYS.first else _of_parts(shape, period)
    stored = (shape.number, period)
    if write:
        session.execute("DELETE FROM record_count WHERE shape = ? AND period = ?", stored)
        return session.execute(f"INSERT INTO record_count ({_COLUMNS}) {right}", params)
    apart = f"SELECT {', '.join(DIMENSIONS)} FROM"
    too_many = f"{apart} record_count WHERE shape = ? AND period = ? EXCEPT {apart} ({right}) AS r"
    missing = _number(session, f"{right} EXCEPT {_STORED}", (*params, *stored))
    return missing + _number(session, too_many, (*stored, *params))


def _of_records(shape: Shape, day: int) -> tuple[str, Sequence[int]]:
    """The cells of a day, by its records."""
    begin = day_of_period(day) * DAY_S
    # What is said to have begun before the first day, or after the last one, is of these.
    within = (begin if day > _DAYS.first else _EVER[0], begin + DAY_S if day < _DAYS.last else _EVER[1])
    told = [f"{_told(name, shape)} AS {name}" for name in DIMENSIONS]
    told += [f"{shape.number} AS shape", f"{day} AS period"]
    return record_sums.of_ended(KEY, told, "started_at >= ? AND started_at < ?", HISTOGRAMS), within


def _told(name: str, shape: Shape) -> str:
    # An expression: no index with the groups in order shall seem better than the one with the days.
    return f"({name} || '')" if name in shape.columns else "''"


def _of_parts(shape: Shape, period: int) -> tuple[str, Sequence[int]]:
    """The cells of a month by those of its days, of a year by those of its months, of all time by its years."""
    parts = _YEARS if period == EVER else Span(period * 100, period * 100 + 99)
    apart, sums = ", ".join(DIMENSIONS), ", ".join(f"SUM({name})" for name in VALUES)
    sql = (
        f"SELECT shape, {period}, {apart}, {sums} FROM record_count WHERE shape = ? AND period BETWEEN ? AND ? "  # noqa: S608
        f"GROUP BY shape, {apart}"
    )
    return sql, (shape.number, parts.first, parts.last)


def _number(session: Session, rows: str, params: Sequence[int]) -> int:
    row = session.one(f"SELECT count(*) FROM ({rows}) AS found", params)  # noqa: S608
    assert row is not None
    return int(row[0])
