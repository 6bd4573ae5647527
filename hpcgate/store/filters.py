"""Which jobs a filter means, as SQL that an index answers newest first, however many jobs there are.

Every index that lists use is ``(columns with one value, state, id)``. A filter becomes one ordered range of such an
index per state (and per site); ``UNION ALL .. ORDER BY id`` merges the ranges lazily, so that a page costs what it
shows and no more. A time window becomes a window of ids, since ids and ``created_at`` grow together (see ``adding``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any, Final

from hpcgate.model.query import JobFilter
from hpcgate.model.state import ACTIVE, FINAL, JobState
from hpcgate.store.session import Session, chunks, placeholders

#: More ranges than this are not merged: the newest jobs are walked instead until the page is full.
_MOST_ARMS: Final = 99
#: A label that so many jobs have is common.
_COMMON: Final = 2000
#: How long a list may take, seconds: there are combinations that no index answers.
TIME_LIMIT_S: Final = 5.0
_TOO_LONG: Final = f"took more than {TIME_LIMIT_S:g} s together; narrow them by owner, state or a time window"
#: The key under which tags stand among the labels.
TAG_KEY: Final = ""


@dataclass(slots=True)
class _Where:
    """Conditions that must all hold, with their parameters."""

    parts: list[str] = field(default_factory=list)
    params: list[Any] = field(default_factory=list)

    def add(self, sql: str, *params: Any) -> None:
        self.parts.append(sql)
        self.params += params

    def one_of(self, column: str, values: Sequence[Any]) -> None:
        if values:
            self.add(f"{column} IN ({placeholders(values)})", *values)

    def __str__(self) -> str:
        return " AND ".join(self.parts) or "1 = 1"


@dataclass(slots=True)
class _Search:
    """A filter made ready.

    Args:
        table: what is walked (as ``t``): ``job``, or ``job_mark`` where labels or tags are asked for.
        id: its column with the job's id.
        where: what must hold, but for state and site.
        states: the states asked for; empty = any.
        sites: the sites asked for, as far as ``table`` knows them; empty = any.
        merged: whether the index that answers has the state, or the site, before the id.
    """

    table: str
    id: str
    where: _Where
    states: tuple[str, ...] = ()
    sites: tuple[str, ...] = ()
    merged: bool = True

    def select(self, what: str) -> str:
        return f"SELECT {what} FROM {self.table} t WHERE {self.where}"  # noqa: S608

    def narrow(self) -> None:
        """Makes state and site conditions like any other."""
        self.where.one_of("t.state", self.states)
        self.where.one_of("t.site", self.sites)


def find_ids(session: Session, filter_: JobFilter, *, below: int | None, limit: int) -> list[int]:
    """The ids of the newest jobs that a filter lets through.

    Args:
        session: the database.
        filter_: what must hold.
        below: only ids below this one.
        limit: at most so many.

    Raises:
        InvalidSpec: no index answers this combination, and it took too long.
    """
    with session.filtering(TIME_LIMIT_S, _TOO_LONG):
        return _find_ids(session, filter_, below, limit)


def _find_ids(session: Session, filter_: JobFilter, below: int | None, limit: int) -> list[int]:
    search = _search(session, filter_)
    if search is None:
        return []
    if below is not None:
        search.where.add(f"t.{search.id} < ?", below)
    if filter_.ids is not None:
        return _among(session, search, filter_.ids, limit)
    states, sites = search.states or tuple(JobState), search.sites or (None,)
    if not search.merged or len(states) * len(sites) > _MOST_ARMS:
        search.narrow()
        arms, params = [search.select(f"t.{search.id} AS id")], list(search.where.params)
    else:
        arms, params = [], []
        common = search.select(f"t.{search.id} AS id")
        for state, site in product(states, sites):
            arms.append(f"{common} AND t.state = ?" + ("" if site is None else " AND t.site = ?"))
            params += [*search.where.params, state, *(() if site is None else (site,))]
    return [row[0] for row in session.rows(session.db.newest(arms, limit), params)]


def count(session: Session, filter_: JobFilter) -> int:
    """How many jobs a filter lets through; raises ``InvalidSpec`` where that takes too long."""
    with session.filtering(TIME_LIMIT_S, _TOO_LONG):
        search = _search(session, filter_)
        if search is None:
            return 0
        if filter_.ids is not None:
            return len(_among(session, search, filter_.ids, len(filter_.ids)))
        search.narrow()
        row = session.one(search.select("count(*)"), search.where.params)
        assert row is not None
        return int(row[0])


def _among(session: Session, search: _Search, ids: frozenset[int], limit: int) -> list[int]:
    search.narrow()
    sql = search.select(f"t.{search.id}")
    found: list[int] = []
    for chunk in chunks(sorted(ids, reverse=True)):
        if len(found) >= limit:
            break
        sql_of_chunk = f"{sql} AND t.{search.id} IN ({placeholders(chunk)}) ORDER BY t.{search.id} DESC"
        found += [row[0] for row in session.rows(sql_of_chunk, [*search.where.params, *chunk])]
    return found[:limit]


# --- from filter to search ------------------------------------------------------------------------------------------


def _search(session: Session, filter_: JobFilter) -> _Search | None:
    """``None`` = no job can be meant."""
    states = _states(filter_)
    if not states:
        return None
    search = _of_marks(session, filter_) if filter_.labels or filter_.tags else _of_jobs(filter_)
    if len(states) < len(JobState):
        search.states = tuple(state.value for state in JobState if state in states)
        search.merged = search.merged or filter_.workflow_id is None
    return search if _within_time(session, filter_, search) else None


def _states(filter_: JobFilter) -> frozenset[JobState]:
    states = filter_.states or frozenset(JobState)
    if filter_.active is None:
        return states
    return states & (ACTIVE if filter_.active else FINAL)


def _of_jobs(filter_: JobFilter) -> _Search:
    where = _Where()
    for column in ("owner", "name", "project", "workflow_id"):
        if (value := getattr(filter_, column)) is not None:
            where.add(f"t.{column} = ?", value)
    by_column = bool(filter_.sites or where.parts) and filter_.workflow_id is None
    return _Search("job", "id", where, sites=filter_.sites, merged=by_column)


def _of_marks(session: Session, filter_: JobFilter) -> _Search:
    asked = [*filter_.labels.items(), *((TAG_KEY, tag) for tag in dict.fromkeys(filter_.tags))]
    if len(asked) > 1:
        asked.sort(key=lambda mark: _how_common(session, mark))
    first, others = asked[0], asked[1:]
    where = _Where()
    where.add("t.key = ? AND t.value = ?", *first)
    if filter_.owner is not None:
        where.add("t.owner = ?", filter_.owner)
    for other in others:
        where.add("EXISTS (SELECT 1 FROM job_mark m WHERE m.job_id = t.job_id AND m.key = ? AND m.value = ?)", *other)
    of_job = _Where()
    of_job.one_of("j.site", filter_.sites)
    for column in ("name", "project", "workflow_id"):
        if (value := getattr(filter_, column)) is not None:
            of_job.add(f"j.{column} = ?", value)
    if of_job.parts:
        where.add(f"EXISTS (SELECT 1 FROM job j WHERE j.id = t.job_id AND {of_job})", *of_job.params)  # noqa: S608
    return _Search("job_mark", "job_id", where)


def _how_common(session: Session, mark: tuple[str, str]) -> int:
    """How many jobs have a label or tag, counted no further than it matters: the rarest one is walked."""
    sql = "SELECT count(*) FROM (SELECT 1 FROM job_mark WHERE key = ? AND value = ? LIMIT ?) AS found"
    row = session.one(sql, (*mark, _COMMON))
    assert row is not None
    return int(row[0])


def _within_time(session: Session, filter_: JobFilter, search: _Search) -> bool:
    """Narrows a search to the time window; False = nothing was created then."""
    bounds = [
        (filter_.since, ">=", "ORDER BY created_at, id"),
        (filter_.until, "<=", "ORDER BY created_at DESC, id DESC"),
    ]
    ids_grow_with_time = not _clock_steps(session)
    for at, sign, order in bounds:
        if at is None:
            continue
        if ids_grow_with_time:
            row = session.one(f"SELECT id FROM job WHERE created_at {sign} ? {order} LIMIT 1", (at,))  # noqa: S608
            if row is None:
                return False
            search.where.add(f"t.{search.id} {sign} ?", row[0])
        elif search.table == "job":
            search.where.add(f"t.created_at {sign} ?", at)
        else:
            search.where.add(
                f"EXISTS (SELECT 1 FROM job j WHERE j.id = t.job_id AND j.created_at {sign} ?)",  # noqa: S608
                at,
            )
    return True


def _clock_steps(session: Session) -> int:
    row = session.one("SELECT value FROM counter WHERE name = 'clock_steps'")
    assert row is not None
    return int(row[0])
