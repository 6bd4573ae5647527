"""Which records a filter means, as SQL that an index answers in the order of lists, however many records there are.

Lists are by ``(started_at, id)``, the latest first. Every index that they use is ``(columns with one value,
started_at, id)``: a filter becomes one ordered range of it for each value asked for, merged lazily. What else must hold
is written so that no database takes another index for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any, Final

from hpcgate.model.record import RecordFilter, RecordTag, TagScope, Visibility
from hpcgate.store.session import Session, placeholders

#: More ranges than this are not merged.
_MOST_ARMS: Final = 99
#: What fewer records have is looked for by itself, and put in order afterwards.
_RARE: Final = 2000
#: How long a list may take, seconds: there are combinations that no index answers.
TIME_LIMIT_S: Final = 5.0
_TOO_LONG: Final = f"took more than {TIME_LIMIT_S:g} s together; narrow them by cluster, user or a time window"
_ORDER: Final = "started_at DESC, id DESC"

Place = tuple[int, int]


@dataclass(slots=True)
class _Search:
    """A filter made ready.

    Args:
        hide: makes of a column what no index is taken for.
        source: what is walked: ``record r``, or another table first, as ``t``.
        moment: its column with the beginning.
        id: and that with the record's id.
        equal: columns that begin the index -> the values asked for; one range each.
        parts, params: what else must hold.
        rare: whether ``parts`` has what few records have: they are looked up by that, and then put in order.
    """

    hide: Callable[[str], str]
    source: str = "record r"
    moment: str = "r.started_at"
    id: str = "r.id"
    equal: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    parts: list[str] = field(default_factory=list)
    params: list[Any] = field(default_factory=list)
    rare: bool = False

    def add(self, sql: str, *params: Any) -> None:
        self.parts.append(sql)
        self.params += params

    def one_of(self, column: str, values: Sequence[Any]) -> None:
        """Asks for one of some values of a column; no index is taken for that."""
        self.add(f"{self.hide(column)} IN ({placeholders(values)})", *values)

    def look_up(self, sql: str, *params: Any) -> None:
        """Asks for what few records have: the index of that is the one to take, not that of the order."""
        self.add(sql, *params)
        self.rare, self.moment = True, self.hide(self.moment)

    def arms(self) -> tuple[list[str], list[Any]]:
        """The ranges, and their parameters."""
        equal = dict(self.equal)
        while equal and (self.rare or _product(equal) > _MOST_ARMS):
            column = max(equal, key=lambda each: len(equal[each]))
            values = equal.pop(column)
            self.one_of(column, values)
        rest = " AND ".join(self.parts)
        arms, params = [], []
        for values in product(*equal.values()):
            parts = [f"{column} = ?" for column in equal]
            where = " AND ".join([*parts, *([rest] if rest else [])]) or "1 = 1"
            arms.append(f"SELECT {self.id} AS id, {self.moment} AS started_at FROM {self.source} WHERE {where}")  # noqa: S608
            params += [*values, *self.params]
        return arms, params


def _product(equal: dict[str, tuple[Any, ...]]) -> int:
    number = 1
    for values in equal.values():
        number *= len(values)
    return number


def find(
    session: Session,
    filter_: RecordFilter,
    sees: Visibility,
    *,
    now: int,
    below: Place | None = None,
    offset: int = 0,
    limit: int,
) -> list[Place]:
    """Where the latest records that a filter lets through stand: (started_at, id).

    Args:
        session: the database.
        filter_: what must hold.
        sees: whose records are seen.
        now: epoch seconds, for how long those last that have not ended.
        below: only those after this one in the list.
        offset: so many are left out first.
        limit: at most so many.

    Raises:
        InvalidSpec: no index answers this combination, and it took too long.
    """
    with session.filtering(TIME_LIMIT_S, _TOO_LONG):
        arms: list[str] = []
        params: list[Any] = []
        for search in _searches(session, filter_, sees, now):
            if below is not None:
                search.add(f"({search.moment}, {search.id}) < (?, ?)", *below)
            more, values = search.arms()
            arms += more
            params += values
        if not arms:
            return []
        sql = session.db.newest(arms, limit, order=_ORDER, offset=offset)
        return [(started_at, id_) for id_, started_at in session.rows(sql, params)]


def count(session: Session, filter_: RecordFilter, sees: Visibility, *, now: int) -> int:
    """How many records a filter lets through; raises ``InvalidSpec`` where that takes too long."""
    with session.filtering(TIME_LIMIT_S, _TOO_LONG):
        total = 0
        for search in _searches(session, filter_, sees, now):
            arms, params = search.arms()
            of_all = " UNION ALL ".join(arms)
            row = session.one(f"SELECT count(*) FROM ({of_all}) AS found", params)  # noqa: S608
            assert row is not None
            total += int(row[0])
        return total


# --- from filter to searches ----------------------------------------------------------------------------------------


def _searches(session: Session, filter_: RecordFilter, sees: Visibility, now: int) -> list[_Search]:
    """Searches that find no record twice; none = no record can be meant."""
    found = []
    for users, projects, but in _seen(filter_, sees):
        for search in _sources(session, filter_, sees, users, projects):
            if but is not None:
                search.add(f"{search.hide('r.owner')} <> ?", but)
            _narrow(session, search, filter_, now)
            found.append(search)
    return found


def _seen(filter_: RecordFilter, sees: Visibility) -> Iterator[tuple[tuple[str, ...], tuple[str, ...], str | None]]:
    """Of which users and projects (empty = any) records are wanted and seen, and of which user they are not."""
    users = filter_.users
    projects = () if filter_.project is None else (filter_.project,)
    if sees.user is None:
        yield users, projects, None
        return
    if not users or sees.user in users:
        yield (sees.user,), projects, None
    theirs = tuple(name for name in sees.projects if not projects or name in projects)
    others = tuple(name for name in users if name != sees.user)
    if theirs and (others or not users):
        yield others, theirs, sees.user


def _sources(
    session: Session, filter_: RecordFilter, sees: Visibility, users: tuple[str, ...], projects: tuple[str, ...]
) -> Iterator[_Search]:
    """What is walked: of what is asked for, what there is least of, as far as that can be known beforehand."""
    states = tuple(state.value for state in filter_.states)
    wanted: dict[str, tuple[Any, ...]] = {
        "r.job_id": () if filter_.job_id is None else (filter_.job_id,),
        "r.number": () if filter_.number is None else (filter_.number,),
        "r.array_number": (filter_.array_number,) if filter_.array_number else (),
        "r.owner": users,
        "r.project": projects,
        "r.subcluster": filter_.subclusters,
        "r.partition": () if filter_.partition is None else (filter_.partition,),
        "r.cluster": () if filter_.cluster is None else (filter_.cluster,),
        "r.state": states,
    }
    wanted = {column: tuple(dict.fromkeys(values)) for column, values in wanted.items() if values}
    for search in _beside(session, filter_, sees):
        rest = dict(wanted)
        if search.source == "record r":
            for column in _leading(wanted):
                search.equal[column] = rest.pop(column)
            if "r.array_number" in search.equal:
                search.add("r.array_number <> 0")  # as the index says it
        for column, values in rest.items():
            search.one_of(column, values)
        yield search


#: What begins an index together with the state.
_WITH_STATE: Final = frozenset({"r.owner", "r.project", "r.cluster"})


def _leading(wanted: dict[str, Any]) -> list[str]:
    first = next(iter(wanted), None)
    if first is None:
        return []
    if first == "r.number" and "r.cluster" in wanted:
        return [first, "r.cluster"]
    return [first, "r.state"] if first in _WITH_STATE and "r.state" in wanted else [first]


def _beside(session: Session, filter_: RecordFilter, sees: Visibility) -> Iterator[_Search]:
    """Searches that begin at a tag or a node; else the plain one."""
    hide = session.db.hidden
    if filter_.tag is not None:
        ids = _tags(session, filter_.tag, sees)
        for place, tag_id in enumerate(ids):
            search = _Search(hide, "record_tagged t JOIN record r ON r.id = t.record_id", "t.started_at", "t.record_id")
            search.equal["t.tag_id"] = (tag_id,)
            if ids[:place]:
                others = placeholders(ids[:place])
                search.add(
                    f"NOT EXISTS (SELECT 1 FROM record_tagged o WHERE o.record_id = t.record_id AND o.tag_id IN ({others}))",  # noqa: S608, E501
                    *ids[:place],
                )
            if filter_.node is not None:
                search.add(
                    "EXISTS (SELECT 1 FROM record_node n WHERE n.record_id = t.record_id AND n.hostname = ?)",
                    filter_.node,
                )
            yield search
    elif filter_.node is not None:
        search = _Search(hide, "record_node t JOIN record r ON r.id = t.record_id", "t.started_at", "t.record_id")
        search.equal["t.hostname"] = (filter_.node,)
        yield search
    else:
        yield _Search(hide)


def _tags(session: Session, tag: str, sees: Visibility) -> list[int]:
    """The tags that a filter means, as far as they are seen."""
    type_, _, name = tag.partition(":")
    sql = "SELECT id, type, name, scope, owner FROM record_tag WHERE name = ? OR (name = ? AND type = ?)"
    found = sorted(session.rows(sql, (tag, name, type_)))
    return [
        id_
        for id_, type_, name, scope, owner in found
        if sees.shows(RecordTag(type=type_, name=name, scope=TagScope(scope), owner=owner))
    ]


def _narrow(session: Session, search: _Search, filter_: RecordFilter, now: int) -> None:
    """Adds what is a range."""
    if filter_.name is not None:
        _range(session, search, "r.name", [(">=", filter_.name), ("<", _after(filter_.name))])
    _range(session, search, "r.num_nodes", [(">=", filter_.min_nodes), ("<=", filter_.max_nodes)])
    _range(session, search, "r.ended_at", [(">=", filter_.ended_from), ("<=", filter_.ended_to)])
    for value, sign in ((filter_.started_from, ">="), (filter_.started_to, "<=")):
        if value is not None:
            search.add(f"{search.moment} {sign} ?", value)
    if filter_.array_number == 0:  # those of no array: no index has them
        search.one_of("r.array_number", (0,))
    if filter_.source is not None:
        search.one_of("r.source", (filter_.source.value,))
    for bound, sign, other in ((filter_.min_duration_s, ">=", "<="), (filter_.max_duration_s, "<=", ">=")):
        if bound is not None:
            search.add(
                f"CASE WHEN r.ended_at IS NULL THEN r.started_at {other} ? ELSE r.duration_s {sign} ? END",
                now - bound,
                bound,
            )


def _after(prefix: str) -> str:
    """The first text behind all that begin with a prefix, letters being compared by their code."""
    return prefix + "\U0010ffff"


def _range(session: Session, search: _Search, column: str, bounds: Sequence[tuple[str, Any]]) -> None:
    """Narrows by a range. Where few records are in it, they are looked up first: they may all be old."""
    given = [(sign, value) for sign, value in bounds if value is not None]
    if not given:
        return
    params = [value for _, value in given]
    inside = " AND ".join(f"{column} {sign} ?" for sign, _ in given)
    sql = f"SELECT count(*) FROM (SELECT 1 FROM record r WHERE {inside} LIMIT {_RARE}) AS found"  # noqa: S608
    row = session.one(sql, params)
    assert row is not None
    if row[0] < _RARE and search.source == "record r" and not search.rare:
        search.look_up(inside, *params)
    else:
        search.add(" AND ".join(f"{search.hide(column)} {sign} ?" for sign, value in given), *params)
