"""Counts the roll-ups anew, and says where they were wrong: for repair, and for rows that came another way."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from hpcgate.model.periods import DAY_S, Span, day_of_period, periods_of
from hpcgate.model.record import Record, RecordState
from hpcgate.model.statistics import VALUES
from hpcgate.store.rollups import DIMENSIONS, INSERT, KEY, SHAPES, Cells, count
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
#: The cells of one shape and period.
_STORED: Final = f"SELECT {_COLUMNS} FROM record_count WHERE shape = ? AND period = ?"  # noqa: S608
_DELETE: Final = "DELETE FROM record_count WHERE shape = ? AND period = ?"
#: What they should be: the sums of those of smaller periods.
_RIGHT: Final = (
    f"SELECT shape, CAST(? AS INTEGER), {', '.join(DIMENSIONS)}, {', '.join(f'SUM({name})' for name in VALUES)} "  # noqa: S608
    f"FROM record_count WHERE shape = ? AND period BETWEEN ? AND ? GROUP BY shape, {', '.join(DIMENSIONS)}"
)
_MISSING: Final = f"SELECT count(*) FROM ({_RIGHT} EXCEPT {_STORED}) AS missing"  # noqa: S608
_TOLD_APART: Final = f"SELECT {', '.join(DIMENSIONS)} FROM record_count WHERE shape = ?"  # noqa: S608
_TOO_MANY: Final = (
    f"SELECT count(*) FROM ({_TOLD_APART} AND period = ? EXCEPT {_TOLD_APART} AND period BETWEEN ? AND ?) AS more"  # noqa: S608
)


@dataclass(frozen=True, slots=True)
class Recounted:
    """A period that was counted anew.

    Args:
        period: which, see ``model.periods``.
        wrong: how many of its cells were not right.
    """

    period: int
    wrong: int


#: What of a record is counted, and by which name it has it.
_FIELDS: Final = {
    "user": "owner",
    **{name: name for name in ("project", "cluster", "subcluster", "started_at", "submitted_at", "duration_s")},
    **{name: name for name in ("num_nodes", "num_hwthreads", "num_accelerators")},
}
_TOLD: Final = (
    f"SELECT state, {', '.join(_FIELDS.values())} FROM record "  # noqa: S608
    "WHERE ended_at IS NOT NULL AND started_at >= ? AND started_at < ?"
)


def recount(session: Session, *, write: bool) -> Iterator[Recounted]:
    """Counts all records that have ended, a period after the other, each in a transaction of its own.

    First the days, by their records; then the months, by their days; then the years. A record that is written
    meanwhile is in the day that was counted, or is added to all that were.

    Args:
        session: outside a transaction.
        write: whether cells that are wrong are put right.
    """
    days = sorted(set(_days_of_records(session)) | set(_periods(session, _DAYS)))
    months = sorted({day // 100 for day in days} | set(_periods(session, _MONTHS)))
    years = sorted({month // 100 for month in months} | set(_periods(session, _YEARS)))
    for day in days:
        with session.transaction():
            done = _count_day(session, day, write=write)
        yield done
    for period in (*months, *years):
        wrong = 0
        for shape in SHAPES:
            with session.transaction():
                wrong += _sum_up(session, shape.number, period, write=write)
        yield Recounted(period, wrong)


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


def _count_day(session: Session, day: int, *, write: bool) -> Recounted:
    found: Cells = {}
    for shape in SHAPES:
        rows = session.rows(_STORED, (shape.number, day))
        found |= {row[: len(KEY)]: tuple(row[len(KEY) :]) for row in rows}
    right = _right(session, day)
    wrong = sum(found.get(key) != right.get(key) for key in found.keys() | right.keys())
    if wrong and write:
        for shape in SHAPES:
            session.execute(_DELETE, (shape.number, day))
        session.execute_many(INSERT, sorted((*key, *values) for key, values in right.items()))
    return Recounted(day, wrong)


def _right(session: Session, day: int) -> Cells:
    """The cells of a day by its records."""
    begin = day_of_period(day) * DAY_S
    # What is said to have begun before the first day, or after the last one, is of these.
    within = (begin if day > _DAYS.first else _EVER[0], begin + DAY_S if day < _DAYS.last else _EVER[1])
    cells: Cells = {}
    for state, *told in session.rows(_TOLD, within):
        fields = dict(zip(_FIELDS, told, strict=True))
        count(cells, Record(number=0, state=RecordState(state), **fields), (day,))
    return cells


def _sum_up(session: Session, shape: int, period: int, *, write: bool) -> int:
    """Looks at the cells of a month by those of its days, or of a year by those of its months; how many were wrong."""
    parts = (period * 100, period * 100 + 99)
    right = (period, shape, *parts)
    wrong = _number(session, _MISSING, (*right, shape, period)) + _number(
        session, _TOO_MANY, (shape, period, shape, *parts)
    )
    if wrong and write:
        session.execute(_DELETE, (shape, period))
        session.execute(f"INSERT INTO record_count ({_COLUMNS}) {_RIGHT}", right)
    return wrong


def _number(session: Session, sql: str, params: Sequence[int]) -> int:
    row = session.one(sql, params)
    assert row is not None
    return int(row[0])
