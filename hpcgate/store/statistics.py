"""Answers what records add up to: from roll-ups as far as there are some, else from the records.

One statement, so that all of it is of one moment: a job that ends meanwhile is counted once. Its arms are

- the cells of whole periods (of jobs that have ended), of the smallest shape that tells apart what is asked for;
- the records at the edges of the window, where that does not begin or end with a day;
- the records of jobs that have not ended, which are few, and use more every second.

Where no shape has all that is asked for, one arm over the records of the window stands for the first two.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from operator import add
from typing import Any, Final

from hpcgate.model.periods import Span, cover, day_of_period
from hpcgate.model.record import Visibility
from hpcgate.model.statistics import (
    HISTOGRAMS,
    SUMS,
    GroupBy,
    Key,
    StatisticsQuery,
    Sums,
)
from hpcgate.store import record_sums
from hpcgate.store.recount import Recounted, recount
from hpcgate.store.rollups import DIMENSIONS, SHAPES, Shape
from hpcgate.store.session import Session, placeholders

#: How long an answer may take, seconds.
TIME_LIMIT_S: Final = 20.0
_TOO_LONG: Final = f"takes more than {TIME_LIMIT_S:g} s; ask for a shorter window, or filter by less at once"

_COLUMNS: Final[Mapping[GroupBy, tuple[str, ...]]] = {
    GroupBy.USER: ("owner",),
    GroupBy.PROJECT: ("project",),
    GroupBy.CLUSTER: ("cluster",),
    GroupBy.SUBCLUSTER: ("cluster", "subcluster"),
    GroupBy.STATE: ("state",),
    GroupBy.DAY: (),
}


_FIRST_DAY: Final = 1970_01_01


@dataclass(slots=True)
class _Where:
    """Conditions, and the values in them."""

    terms: list[str] = field(default_factory=list)
    params: list[Any] = field(default_factory=list)

    def add(self, term: str, *params: Any) -> None:
        self.terms.append(term)
        self.params += params

    def plus(self, term: str, *params: Any) -> _Where:
        return _Where([term, *self.terms], [*params, *self.params])

    def __str__(self) -> str:
        return " AND ".join(self.terms) or "1 = 1"


@dataclass(frozen=True, slots=True)
class _Arm:
    """A part of the statement: which kind of rows, and what they add up to."""

    sql: str
    params: Sequence[Any]


class StatisticsStore:
    """Sums over records."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def recount(self, *, write: bool) -> Iterator[Recounted]:
        """Counts the roll-ups anew, see ``recount``."""
        return recount(self._session, write=write)

    def sums(self, query: StatisticsQuery, visible: Visibility, now: int) -> Sums:
        """What the records of each group add up to.

        Args:
            query: which records, and how they are grouped.
            visible: whose records may be counted.
            now: epoch seconds, up to which jobs count that have not ended.

        Raises:
            InvalidSpec: there is no roll-up for it, and so many records that it takes too long.
        """
        arms = list(_arms(query, visible, now))
        if not arms:
            return Sums({}, query.histograms)
        statement = " UNION ALL ".join(arm.sql for arm in arms)
        params = [value for arm in arms for value in arm.params]
        with self._session.filtering(TIME_LIMIT_S, _TOO_LONG):
            rows = self._session.rows(statement, params)
        by_day, width = query.group_by is GroupBy.DAY, max(1, len(_COLUMNS[query.group_by]))
        sums: dict[Key, Sequence[int]] = {}
        for row in rows:
            key = _day(row[0]) if by_day else row[:width]
            before = sums.get(key)
            sums[key] = row[width:] if before is None else [*map(add, before, row[width:])]
        return Sums(sums, query.histograms)


def _arms(query: StatisticsQuery, visible: Visibility, now: int) -> Iterator[_Arm]:
    where = _filters(query, visible)
    if _asks(query, final=True):
        shape, by_day = _shape(query, visible), query.group_by is GroupBy.DAY
        parts = cover(query.since, query.until, by_day=by_day)
        if shape is None:
            yield _records(query, _within(where, query.since, query.until))
        else:
            yield from (_cells(query, shape, span, where) for span in parts.spans)
            yield from (_records(query, _within(where, *edge)) for edge in parts.edges)
    if _asks(query, final=False):
        # The few that go on have an index of their own.
        where = _filters(query, visible, hidden=True)
        yield _going_on(query, _within(where, query.since, query.until, "(started_at + 0)"), now)


def _asks(query: StatisticsQuery, *, final: bool) -> bool:
    """Whether jobs that have ended (or have not) can be meant at all."""
    if query.since is not None and query.until is not None and query.since >= query.until:
        return False
    return not query.states or any(state.final is final for state in query.states)


def _shape(query: StatisticsQuery, visible: Visibility) -> Shape | None:
    """The smallest that has what is asked for."""
    needed = set(_COLUMNS[query.group_by])
    needed |= {column for column, values in _wanted(query) if values}
    if visible.user is not None:
        needed |= {"owner", "project"} if visible.projects else {"owner"}
    return next((shape for shape in SHAPES if needed <= shape.columns), None)


def _wanted(query: StatisticsQuery) -> tuple[tuple[str, Sequence[str]], ...]:
    return (
        ("owner", query.users),
        ("project", query.projects),
        ("cluster", query.clusters),
        ("subcluster", query.subclusters),
        ("state", query.states),
    )


def _filters(query: StatisticsQuery, visible: Visibility, *, hidden: bool = False) -> _Where:
    """What holds for cells and for records, which have columns of the same names. ``hidden``: from any index."""
    where = _Where()
    for column, values in _wanted(query):
        if values:
            where.add(f"{_hidden(column, hidden)} IN ({placeholders(values)})", *map(str, values))
    owner, project = _hidden("owner", hidden), _hidden("project", hidden)
    if visible.user is not None and visible.projects:
        own = f"({owner} = ? OR {project} IN ({placeholders(visible.projects)}))"
        where.add(own, visible.user, *visible.projects)
    elif visible.user is not None:
        where.add(f"{owner} = ?", visible.user)
    return where


def _hidden(column: str, hidden: bool) -> str:
    return f"({column} || '')" if hidden else column


def _within(where: _Where, since: int | None, until: int | None, moment: str = "started_at") -> _Where:
    if since is not None:
        where = where.plus(f"{moment} >= ?", since)
    if until is not None:
        where = where.plus(f"{moment} < ?", until)
    return where


# --- arms -----------------------------------------------------------------------------------------------------------


def _cells(query: StatisticsQuery, shape: Shape, span: Span, where: _Where) -> _Arm:
    keys = ("period",) if query.group_by is GroupBy.DAY else _COLUMNS[query.group_by]
    told = tuple(name for name in DIMENSIONS if name in shape.columns)
    if span.first == span.last and keys == told[: len(keys)]:
        # The cells of one period stand in the order of their groups. To show it, it is said what they have in common
        # before that; to say more would lead away from the primary key.
        before = DIMENSIONS[: DIMENSIONS.index(told[0])]
        empty = "".join(f" AND {name} = ''" for name in before)
        where = where.plus(f"shape = ? AND period = ?{empty}", shape.number, span.first)
    else:
        where = where.plus("shape = ? AND period BETWEEN ? AND ?", shape.number, span.first, span.last)
    names = (*SUMS, *(column for name in query.histograms for column in HISTOGRAMS[name].columns))
    if span.first == span.last and keys == told:  # each group is one cell
        return _Arm(f"SELECT {', '.join((*keys, *names))}, 0 FROM record_count WHERE {where}", where.params)  # noqa: S608
    sums = ", ".join(f"SUM({name})" for name in names)
    sql = f"SELECT {', '.join(keys)}, {sums}, 0 FROM record_count WHERE {where} GROUP BY {', '.join(keys)}"  # noqa: S608
    return _Arm(sql, where.params)


def _records(query: StatisticsQuery, where: _Where) -> _Arm:
    """Records of jobs that have ended."""
    keys, told = _told(query)
    return _Arm(record_sums.of_ended(keys, told, str(where), query.histograms, ["0"]), where.params)


def _going_on(query: StatisticsQuery, where: _Where, now: int) -> _Arm:
    """Records of jobs that have not ended."""
    keys, told = _told(query)
    sql = record_sums.of_going_on(keys, told, str(where), query.histograms)
    return _Arm(sql, [*[now] * record_sums.NOWS, *where.params])


def _told(query: StatisticsQuery) -> tuple[Sequence[str], Sequence[str]]:
    """The keys of groups, and what they are of records."""
    if query.group_by is GroupBy.DAY:
        return ("day",), (f"{record_sums.DAY} AS day",)
    columns = _COLUMNS[query.group_by]
    keys = tuple(f"of_{column}" for column in columns)
    # Else an index that has them in order, of all records, would seem better than one of those that are meant.
    return keys, tuple(f"{_hidden(column, True)} AS {key}" for column, key in zip(columns, keys, strict=True))


def _day(told: int) -> Key:
    """Cells have it as a period, records count it from 1970 on."""
    return (day_of_period(told) if told >= _FIRST_DAY else told,)
