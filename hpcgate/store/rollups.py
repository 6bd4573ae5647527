"""Roll-ups: what records that have ended add up to, kept up to date by whoever writes a record.

A cell is what the jobs of one period (see ``model.periods``) with one user, or one project, or ... amount to. Which of
these a cell tells apart is its shape; of the others it knows nothing, and its row has them empty. Each record is in a
day, a month, a year and all time of each shape.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from hpcgate.model.periods import periods_of
from hpcgate.model.record import Record
from hpcgate.model.statistics import VALUES, values_of
from hpcgate.store.session import Session

#: What a shape may tell apart, as columns of ``record`` and of ``record_count``.
DIMENSIONS: Final = ("owner", "project", "cluster", "subcluster", "state")


@dataclass(frozen=True, slots=True)
class Shape:
    """What a kind of cells tells apart.

    Args:
        number: as the table has it.
        columns: of ``DIMENSIONS``.
    """

    number: int
    columns: frozenset[str]


def _shape(number: int, *columns: str) -> Shape:
    return Shape(number, frozenset(columns))


#: Those with the fewest cells first. What needs more than any of them has (user and project and place) is answered from
#: the records: a shape of all would have nearly as many cells as there are records.
SHAPES: Final = (
    _shape(1, "project"),
    _shape(2, "cluster", "subcluster", "state"),
    _shape(3, "owner"),
    _shape(4, "owner", "project"),
    _shape(5, "project", "cluster", "subcluster", "state"),
    _shape(6, "owner", "cluster", "subcluster", "state"),
)

#: What tells a cell from all others: shape, period, and each of ``DIMENSIONS``.
CellKey = tuple[int, int, str, str, str, str, str]
Cells = dict[CellKey, tuple[int, ...]]

#: The columns of a cell's key.
KEY: Final = ("shape", "period", *DIMENSIONS)
INSERT: Final = (
    f"INSERT INTO record_count ({', '.join((*KEY, *VALUES))}) "  # noqa: S608
    f"VALUES ({', '.join('?' * (len(KEY) + len(VALUES)))})"
)
_ADD: Final = f"{INSERT} ON CONFLICT ({', '.join(KEY)}) DO UPDATE SET " + ", ".join(
    f"{name} = record_count.{name} + excluded.{name}" for name in VALUES
)
_DROP_EMPTY: Final = f"DELETE FROM record_count WHERE {' AND '.join(f'{name} = ?' for name in KEY)} AND jobs = 0"  # noqa: S608


def apply(session: Session, added: Iterable[Record], removed: Iterable[Record]) -> None:
    """Adds records to their cells and takes others away, within the transaction that writes them.

    Args:
        session: in that transaction.
        added: records as they are now; those that have not ended are passed over.
        removed: records as they were.
    """
    cells: Cells = {}
    for record in added:
        count(cells, record, periods_of(record.started_at), 1)
    for record in removed:
        count(cells, record, periods_of(record.started_at), -1)
    changes = sorted((key, values) for key, values in cells.items() if any(values))
    if changes:
        session.execute_many(_ADD, [(*key, *values) for key, values in changes])
        less = [key for key, values in changes if values[0] < 0]
        if less:
            session.execute_many(_DROP_EMPTY, less)


def count(cells: Cells, record: Record, periods: Iterable[int], sign: int = 1) -> None:
    """Adds a record to its cells of some periods, or takes it away; one that has not ended is in none."""
    if not record.state.final:
        return
    values = values_of(record) if sign > 0 else tuple(-value for value in values_of(record))
    told = (record.user, record.project, record.cluster, record.subcluster, record.state.value)
    for shape in SHAPES:
        parts = (value if name in shape.columns else "" for name, value in zip(DIMENSIONS, told, strict=True))
        owner, project, cluster, subcluster, state = parts
        for period in periods:
            key = (shape.number, period, owner, project, cluster, subcluster, state)
            before = cells.get(key)
            cells[key] = values if before is None else _plus(before, values)


def _plus(one: tuple[int, ...], other: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(a + b for a, b in zip(one, other, strict=True))
