"""Counts the roll-ups anew, and says where they were wrong: for repair, and for rows that came another way."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from hpcgate.model.periods import DAY_S, Span, day_of_period, periods_of
from hpcgate.model.record import Record, RecordState
from hpcgate.model.statistics import VALUES
from hpcgate.store.rollups import INSERT, KEY, SHAPES, Cells, count, plus
from hpcgate.store.session import Session

_YEARS: Final = Span(1970, 9999)
_MONTHS: Final = Span(1970_01, 9999_12)
_DAYS: Final = Span(1970_01_01, 9999_12_31)
#: All that the database takes for a second.
_EVER: Final = (-(2**63), 2**63 - 1)

#: Of all shapes, since that is how the table is ordered.
_AMONG: Final = f"shape IN ({', '.join(str(shape.number) for shape in SHAPES)}) AND period BETWEEN ? AND ?"
_CELLS: Final = f"SELECT {', '.join((*KEY, *VALUES))} FROM record_count WHERE {_AMONG}"  # noqa: S608
_PERIODS: Final = f"SELECT DISTINCT period FROM record_count WHERE {_AMONG}"  # noqa: S608
_DELETE: Final = f"DELETE FROM record_count WHERE {_AMONG}"  # noqa: S608


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
    for period in (*days, *months, *years):
        with session.transaction():
            right = _counted(session, period) if period >= _DAYS.first else _summed(session, period)
            done = _replace(session, period, right, write=write)
        yield done


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


def _counted(session: Session, day: int) -> Cells:
    begin = day_of_period(day) * DAY_S
    # What is said to have begun before the first day, or after the last one, is of these.
    within = (begin if day > _DAYS.first else _EVER[0], begin + DAY_S if day < _DAYS.last else _EVER[1])
    cells: Cells = {}
    for state, *told in session.rows(_TOLD, within):
        fields = dict(zip(_FIELDS, told, strict=True))
        count(cells, Record(number=0, state=RecordState(state), **fields), (day,))
    return cells


def _summed(session: Session, period: int) -> Cells:
    """The cells of a month by those of its days, or of a year by those of its months."""
    cells: Cells = {}
    for (shape, _, *told), values in _stored(session, Span(period * 100, period * 100 + 99)).items():
        owner, project, cluster, subcluster, state = told
        key = (shape, period, owner, project, cluster, subcluster, state)
        cells[key] = plus(cells[key], values) if key in cells else values
    return {key: values for key, values in cells.items() if any(values)}


def _replace(session: Session, period: int, right: Cells, *, write: bool) -> Recounted:
    found = _stored(session, Span(period, period))
    wrong = sum(found.get(key) != right.get(key) for key in found.keys() | right.keys())
    if wrong and write:
        session.execute(_DELETE, (period, period))
        session.execute_many(INSERT, [(*key, *values) for key, values in right.items()])
    return Recounted(period, wrong)


def _stored(session: Session, among: Span) -> Cells:
    rows = session.rows(_CELLS, (among.first, among.last))
    return {row[: len(KEY)]: tuple(row[len(KEY) :]) for row in rows}
