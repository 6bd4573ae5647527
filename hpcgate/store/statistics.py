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
from typing import Any, Final

from hpcgate.errors import InvalidSpec
from hpcgate.model.periods import Span, cover, day_of_period
from hpcgate.model.record import RecordState, Visibility
from hpcgate.model.statistics import (
    CORES,
    DURATION,
    HISTOGRAMS,
    MOST_S,
    NODES,
    SHORT_S,
    SUMS,
    WAIT,
    Counted,
    GroupBy,
    Histogram,
    Key,
    StatisticsQuery,
)
from hpcgate.store.dialect import Row, StatementTimeout
from hpcgate.store.rollups import SHAPES, Shape
from hpcgate.store.session import Session, placeholders

#: How long an answer may take, seconds.
TIME_LIMIT_S: Final = 20.0

_COLUMNS: Final[Mapping[GroupBy, tuple[str, ...]]] = {
    GroupBy.USER: ("owner",),
    GroupBy.PROJECT: ("project",),
    GroupBy.CLUSTER: ("cluster",),
    GroupBy.SUBCLUSTER: ("cluster", "subcluster"),
    GroupBy.STATE: ("state",),
    GroupBy.DAY: (),
}

#: What of a record is counted. An index has all of it for those that have not ended.
_TOLD: Final = (
    "owner, project, cluster, subcluster, state, submitted_at, started_at, ended_at, num_nodes, num_hwthreads, "
    "num_accelerators"
)
_BEGAN: Final = f"state <> '{RecordState.PENDING}'"
#: How long a job has run that has not ended; ``?`` is now.
_SO_FAR: Final = f"CASE WHEN {_BEGAN} AND started_at < ? THEN ? - started_at ELSE 0 END"
_WAIT: Final = "started_at - submitted_at"
#: What each histogram is of, and for which records that is known.
_BINNED: Final[Mapping[str, tuple[str, str]]] = {
    DURATION.name: ("ran", "{ended}"),
    NODES.name: ("num_nodes", "1 = 1"),
    CORES.name: ("num_hwthreads", "1 = 1"),
    WAIT.name: (_WAIT, "{waited}"),
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
        return " AND ".join(self.terms)


@dataclass(frozen=True, slots=True)
class _Arm:
    """A part of the statement: which kind of rows, and what they add up to."""

    sql: str
    params: Sequence[Any]


class StatisticsStore:
    """Sums over records."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def counted(self, query: StatisticsQuery, visible: Visibility, now: int) -> dict[Key, Counted]:
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
            return {}
        statement = " UNION ALL ".join(arm.sql for arm in arms)
        params = [value for arm in arms for value in arm.params]
        found: dict[Key, Counted] = {}
        for row in self._rows(statement, params):
            key, counted = _read(query, row)
            if key in found:
                found[key].add(counted)
            elif counted.jobs:
                found[key] = counted
        return found

    def _rows(self, statement: str, params: Sequence[Any]) -> list[Row]:
        try:
            with self._session.db.time_limit(TIME_LIMIT_S):
                return self._session.rows(statement, params)
        except UnicodeEncodeError as error:
            raise InvalidSpec.of("filter", "holds text that is not valid Unicode") from error
        except StatementTimeout as error:
            message = f"takes more than {TIME_LIMIT_S:g} s; ask for a shorter window, or filter by less at once"
            raise InvalidSpec.of("filter", message) from error


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
        yield _going_on(query, _within(where, query.since, query.until), now)


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


def _filters(query: StatisticsQuery, visible: Visibility) -> _Where:
    """What holds for cells and for records, which have columns of the same names."""
    where = _Where()
    for column, values in _wanted(query):
        if values:
            where.add(f"{column} IN ({placeholders(values)})", *map(str, values))
    if visible.user is not None and visible.projects:
        own = f"(owner = ? OR project IN ({placeholders(visible.projects)}))"
        where.add(own, visible.user, *visible.projects)
    elif visible.user is not None:
        where.add("owner = ?", visible.user)
    return where


def _within(where: _Where, since: int | None, until: int | None) -> _Where:
    if since is not None:
        where = where.plus("started_at >= ?", since)
    if until is not None:
        where = where.plus("started_at < ?", until)
    return where


# --- arms -----------------------------------------------------------------------------------------------------------


def _cells(query: StatisticsQuery, shape: Shape, span: Span, where: _Where) -> _Arm:
    where = where.plus("shape = ? AND period BETWEEN ? AND ?", shape.number, span.first, span.last)
    keys = ("period",) if query.group_by is GroupBy.DAY else _COLUMNS[query.group_by]
    names = (*SUMS, *(column for name in query.histograms for column in HISTOGRAMS[name].columns))
    sums = ", ".join(f"SUM({name})" for name in names)
    sql = f"SELECT {', '.join(keys)}, 0, {sums} FROM record_count WHERE {where} GROUP BY {', '.join(keys)}"  # noqa: S608
    return _Arm(sql, where.params)


def _records(query: StatisticsQuery, where: _Where) -> _Arm:
    """Records of jobs that have ended."""
    where = where.plus("ended_at IS NOT NULL")
    rows = f"SELECT {_TOLD}, duration_s AS ran FROM record WHERE {where}"  # noqa: S608
    return _Arm(_summed(query, rows, "0", f"SUM(CASE WHEN ran < {SHORT_S} THEN 1 ELSE 0 END)"), where.params)


def _going_on(query: StatisticsQuery, where: _Where, now: int) -> _Arm:
    """Records of jobs that have not ended."""
    where = where.plus("ended_at IS NULL")
    rows = f"SELECT {_TOLD}, {_SO_FAR} AS ran FROM record WHERE {where}"  # noqa: S608
    return _Arm(_summed(query, rows, f"SUM(CASE WHEN {_BEGAN} THEN 1 ELSE 0 END)", "0"), [now, now, *where.params])


def _summed(query: StatisticsQuery, rows: str, running: str, short: str) -> str:
    """The sums over records, as roll-ups have them."""
    keys = ("started_at / 86400",) if query.group_by is GroupBy.DAY else _COLUMNS[query.group_by]
    waited = f"submitted_at IS NOT NULL AND {_BEGAN}"
    sums = [
        "COUNT(*)",
        short,
        f"SUM({_at_most('ran')})",
        f"SUM(CASE WHEN {waited} THEN {_at_most(_WAIT)} ELSE 0 END)",
        f"SUM(CASE WHEN {waited} THEN 1 ELSE 0 END)",
        *(f"SUM({_times(column)})" for column in ("num_nodes", "num_hwthreads", "num_accelerators")),
    ]
    for name in query.histograms:
        value, known = _BINNED[name]
        sums += _bins(HISTOGRAMS[name], value, known.format(waited=waited, ended="ended_at IS NOT NULL"))
    return f"SELECT {', '.join(keys)}, {running}, {', '.join(sums)} FROM ({rows}) AS r GROUP BY {', '.join(keys)}"  # noqa: S608


def _bins(histogram: Histogram, value: str, known: str) -> Iterator[str]:
    ends = (*histogram.bounds[1:], None)
    for number, (begin, end) in enumerate(zip(histogram.bounds, ends, strict=True)):
        # What is below all of them is in the first one.
        terms = [known, *([f"{value} >= {begin}"] if number else []), *([f"{value} < {end}"] if end is not None else [])]
        yield f"SUM(CASE WHEN {' AND '.join(terms)} THEN 1 ELSE 0 END)"


def _at_most(value: str) -> str:
    return f"CASE WHEN {value} > {MOST_S} THEN {MOST_S} WHEN {value} < 0 THEN 0 ELSE {value} END"


def _times(column: str) -> str:
    # Compared as a floating-point number, which does not overflow.
    return f"CASE WHEN CAST(ran AS DOUBLE PRECISION) * {column} > {MOST_S} THEN {MOST_S} ELSE ran * {column} END"


def _read(query: StatisticsQuery, row: Row) -> tuple[Key, Counted]:
    width = max(1, len(_COLUMNS[query.group_by]))
    key, (running, *values) = row[:width], map(int, row[width:])
    if query.group_by is GroupBy.DAY and key[0] >= _FIRST_DAY:  # of a cell; those of records are counted from 1970 on
        key = (day_of_period(key[0]),)
    counted = Counted(**dict(zip(SUMS, values, strict=False)), running=running)
    at = len(SUMS)
    for name in query.histograms:
        counted.histograms[name] = values[at : at + len(HISTOGRAMS[name].bounds)]
        at += len(HISTOGRAMS[name].bounds)
    return key, counted
