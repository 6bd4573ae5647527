"""What roll-ups answer is what the records add up to, whatever was written."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import fields
from datetime import UTC, datetime
from functools import reduce
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcgate.model.record import Record, RecordState, Resource, Visibility
from hpcgate.model.statistics import HISTOGRAMS, MOST_S, SHORT_S, Counted, GroupBy, StatisticsQuery, names_of
from hpcgate.store import rollups, schema
from hpcgate.store.database import Store, open_store

DAY = 86_400
NOW = int(datetime(2026, 3, 2, 12, 30, tzinfo=UTC).timestamp())
EVERYBODY = Visibility()
USERS, PROJECTS, PLACES = ("ann", "bob", "eve"), ("", "p1", "p2"), (("c1", "a"), ("c1", "b"), ("c2", "a"))
OPEN = (RecordState.RUNNING, RecordState.SUSPENDED, RecordState.PENDING)
ENDED = (RecordState.COMPLETED, RecordState.FAILED, RecordState.TIMEOUT)


def made(**fields) -> Record:
    values = {"number": 1, "user": "ann", "cluster": "c1", "subcluster": "a", "started_at": NOW - DAY, **fields}
    return Record(**values, resources=(Resource(hostname="n1"),))


# --- by the definition, without any database


def expected(records, query: StatisticsQuery, sees: Visibility, now: int):
    found: dict[tuple, Counted] = {}
    for record in records:
        if matches(record, query, sees):
            key, one = key_of(record, query.group_by), alone(record, query, now)
            found[key] = plus(found[key], one) if key in found else one
    return found


def plus(one: Counted, other: Counted) -> Counted:
    names = [field.name for field in fields(Counted) if field.name != "histograms"]
    return Counted(
        **{name: getattr(one, name) + getattr(other, name) for name in names},
        histograms={
            name: [a + b for a, b in zip(bins, other.histograms[name], strict=True)]
            for name, bins in one.histograms.items()
        },
    )


def counted(store: Store, query: StatisticsQuery, sees: Visibility):
    """All groups; their total is what all of them have."""
    sums = store.statistics.sums(query, sees, NOW)
    found = {key: sums.of(key) for key in sums.rows}
    assert sums.total() == (reduce(plus, found.values()) if found else Counted())
    return found


def matches(record: Record, query: StatisticsQuery, sees: Visibility) -> bool:
    wanted = (
        (query.users, record.user),
        (query.projects, record.project),
        (query.clusters, record.cluster),
        (query.subclusters, record.subcluster),
        (query.states, record.state),
    )
    return (
        all(not values or value in values for values, value in wanted)
        and (query.since is None or record.started_at >= query.since)
        and (query.until is None or record.started_at < query.until)
        and (sees.user is None or record.user == sees.user or record.project in sees.projects)
    )


def key_of(record: Record, group_by: GroupBy):
    if group_by is GroupBy.DAY:
        return (record.started_at // DAY,)
    return tuple(str(getattr(record, name)) for name in names_of(group_by))


def alone(record: Record, query: StatisticsQuery, now: int) -> Counted:
    began = record.state is not RecordState.PENDING
    ran = record.lasting(now) if began else 0
    knows_wait = began and record.submitted_at is not None
    wait = max(0, record.started_at - record.submitted_at) if knows_wait else 0
    measured = {
        "duration": ran if record.state.final else None,
        "nodes": record.num_nodes,
        "cores": record.num_hwthreads,
        "wait": wait if knows_wait else None,
    }
    return Counted(
        jobs=1,
        running=int(began and not record.state.final),
        short_jobs=int(record.state.final and ran < SHORT_S),
        run_s=min(ran, MOST_S),
        wait_s=min(wait, MOST_S),
        waited=int(knows_wait),
        node_s=min(ran * record.num_nodes, MOST_S),
        core_s=min(ran * record.num_hwthreads, MOST_S),
        accelerator_s=min(ran * record.num_accelerators, MOST_S),
        histograms={name: binned(name, measured[name]) for name in query.histograms},
    )


def binned(name: str, value: int | None) -> list[int]:
    bounds = HISTOGRAMS[name].bounds
    ends = (*bounds[1:], float("inf"))
    return [int(value is not None and begin <= value < end) for begin, end in zip(bounds, ends, strict=True)]


# --- what is written, and what is asked

#: Around the ends of years, months and days, so that windows are made of all kinds of periods.
MOMENTS = st.one_of(
    st.integers(NOW - 900 * DAY, NOW + 2 * DAY),
    st.sampled_from([datetime(2025, 12, 31, 23, 59, 59, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC)]).map(
        lambda moment: int(moment.timestamp())
    ),
)
AMOUNTS = st.one_of(st.sampled_from([0, 1, 59, 60, 299, 300, 3600, 172_800]), st.integers(0, 10**6))


@st.composite
def drafts(draw):
    cluster, subcluster = draw(st.sampled_from(PLACES))
    started_at = draw(MOMENTS)
    state = draw(st.sampled_from((*OPEN, *ENDED, *ENDED)))
    waited = draw(st.none() | AMOUNTS | st.just(-5))
    return made(
        user=draw(st.sampled_from(USERS)),
        project=draw(st.sampled_from(PROJECTS)),
        cluster=cluster,
        subcluster=subcluster,
        started_at=started_at,
        submitted_at=None if waited is None else started_at - waited,
        state=state,
        duration_s=draw(AMOUNTS) if state.final else 0,
        num_nodes=draw(st.sampled_from([1, 2, 3, 256, 257])),
        num_hwthreads=draw(st.sampled_from([0, 1, 64, 65, 10_000])),
        num_accelerators=draw(st.sampled_from([0, 4])),
    )


def some(values):
    return st.lists(st.sampled_from(values), max_size=2, unique=True).map(tuple)


QUERIES = st.builds(
    StatisticsQuery,
    group_by=st.sampled_from(GroupBy),
    clusters=some(("c1", "c2", "c3")),
    subclusters=some(("a", "b")),
    users=some(USERS),
    projects=some(PROJECTS),
    states=some((*OPEN, *ENDED)),
    since=st.none() | MOMENTS,
    until=st.none() | MOMENTS,
    histograms=some(tuple(HISTOGRAMS)),
)
SEES = st.sampled_from([EVERYBODY, EVERYBODY, Visibility(user="ann"), Visibility(user="ann", projects=("p1", "p2"))])
#: What becomes of a record that is there: it ends, its end is told anew, or it is deleted.
FATES = st.tuples(st.integers(0, 50), st.sampled_from(["stop", "correct", "delete"]), AMOUNTS, st.sampled_from(ENDED))


class Mirror:
    """A store, and the records that should be in it."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.records: dict[int, Record] = {}

    def empty(self) -> None:
        self.store.records.delete(list(self.records))
        self.records.clear()

    def insert(self, new) -> None:
        self.records |= {record.id: record for record in self.store.records.insert(new)}

    def befall(self, which: int, fate: str, amount: int, state: RecordState) -> None:
        if not self.records:
            return
        record = list(self.records.values())[which % len(self.records)]
        if fate == "delete":
            self.store.records.delete([record.id])
            del self.records[record.id]
        elif fate == "stop" and not record.state.final:
            ended_at = record.started_at + amount
            self.records[record.id] = self.store.records.stop(record.id, ended_at=ended_at, state=state, archived=False)
        elif fate == "correct" and record.state.final:
            self.records[record.id] = self.store.records.change(record.id, duration_s=amount, state=state, num_nodes=3)

    def wrong(self) -> int:
        return sum(each.cells for each in self.store.statistics.recount(write=False))

    def check(self, query: StatisticsQuery, sees: Visibility = EVERYBODY) -> None:
        found = counted(self.store, query, sees)
        assert found == expected(self.records.values(), query, sees, NOW)


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgres", marks=pytest.mark.live)])
def shared(request, tmp_path_factory) -> Iterator[Mirror]:
    with ExitStack() as stack:
        if request.param == "sqlite":
            url = f"sqlite:///{tmp_path_factory.mktemp('rollups') / 'hpcgate.db'}"
        else:
            server = request.getfixturevalue("postgres")
            url = server.url(stack.enter_context(server.lent()))
        store = open_store(url)
        stack.callback(store.close)
        yield Mirror(store)


@pytest.fixture
def mirror(shared: Mirror) -> Iterator[Mirror]:
    yield shared
    shared.empty()


@settings(max_examples=40, deadline=None)
@given(
    st.lists(drafts(), max_size=12),
    st.lists(FATES, max_size=6),
    st.lists(st.tuples(QUERIES, SEES), min_size=6, max_size=6),
)
def test_roll_ups_are_the_sums_of_the_records(shared, new, fates, asked):
    shared.empty()
    shared.insert(new)
    for fate in fates:
        shared.befall(*fate)
    for query, sees in asked:
        shared.check(query, sees)
    assert shared.wrong() == 0
    shared.empty()


def test_nothing_is_left_of_records_that_are_gone(mirror):
    mirror.insert([made(state=state, duration_s=5 * state.final) for state in (*OPEN, *ENDED)])
    assert mirror.store._session.one("SELECT count(*) FROM record_count") != (0,)
    mirror.empty()
    assert mirror.store._session.one("SELECT count(*) FROM record_count") == (0,)


def test_a_change_that_does_not_count_writes_no_roll_up(mirror):
    mirror.insert([made(state=RecordState.COMPLETED, duration_s=5)])
    before = mirror.store._session.rows("SELECT * FROM record_count ORDER BY 1, 2")
    (id_,) = mirror.records
    mirror.store.records.change(id_, monitoring=3)
    assert mirror.store._session.rows("SELECT * FROM record_count ORDER BY 1, 2") == before


def test_absurd_numbers_are_counted_as_the_most_there_is(mirror):
    far = 2**62
    absurd = [
        made(
            started_at=-(2**63), submitted_at=2**63 - 1, state=RecordState.FAILED, duration_s=far, num_nodes=2**31 - 1
        ),
        made(started_at=far, submitted_at=-(2**63), state=RecordState.COMPLETED, num_hwthreads=2**31 - 1),
        made(started_at=-(2**63), submitted_at=-5, num_nodes=2**31 - 1),
        made(started_at=far, state=RecordState.PENDING),
    ]
    mirror.insert(absurd)
    everything = tuple(HISTOGRAMS)
    for query in (
        StatisticsQuery(group_by=GroupBy.USER, histograms=everything),
        StatisticsQuery(group_by=GroupBy.USER, histograms=everything, projects=("",), clusters=("c1",), users=("ann",)),
    ):
        mirror.check(query)
    days = counted(mirror.store, StatisticsQuery(group_by=GroupBy.DAY), EVERYBODY)
    assert sum(each.jobs for each in days.values()) == 4
    assert mirror.wrong() == 0


def test_a_recount_finds_and_mends_what_is_wrong(mirror):
    mirror.insert(
        [made(state=state, duration_s=900, started_at=NOW - days * DAY) for state in ENDED for days in range(3)]
    )
    session = mirror.store._session
    session.execute("UPDATE record_count SET jobs = 77 WHERE shape = 1 AND period = 2026")
    session.execute("DELETE FROM record_count WHERE shape = 3 AND period = 20260301")
    session.execute("UPDATE record_count SET period = 19990101 WHERE shape = 2 AND period = 20260302")
    looked = {each.period: each.cells for each in mirror.store.statistics.recount(write=False) if each.cells}
    # A month is as it is by its days, and those were not put right.
    assert looked.keys() >= {2026, 20260301, 20260302, 19990101}
    assert mirror.wrong() == sum(looked.values())
    counted = {each.period: each.cells for each in mirror.store.statistics.recount(write=True)}
    assert (counted[19990101], counted[199901], counted[1999]) == (0, 0, 0)
    assert (sum(counted.values()),) == mirror.store._session.one("SELECT count(*) FROM record_count")
    assert mirror.wrong() == 0
    for group_by in GroupBy:
        mirror.check(StatisticsQuery(group_by=group_by))


# --- how it is answered


def plan(store: Store, query: StatisticsQuery, sees: Visibility = EVERYBODY) -> list[str]:
    """The steps of SQLite's plan."""
    seen: list[str] = []
    rows = store._session.rows

    def explain(sql, params=()):
        seen.extend(row[3] for row in rows(f"EXPLAIN QUERY PLAN {sql}", params))
        return rows(sql, params)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store._session, "rows", explain)
        store.statistics.sums(query, sees, NOW)
    return seen


MONTH = {
    "since": int(datetime(2026, 1, 1, tzinfo=UTC).timestamp()),
    "until": int(datetime(2026, 2, 1, tzinfo=UTC).timestamp()),
}


@pytest.mark.parametrize("shared", ["sqlite"], indirect=True)
@pytest.mark.parametrize("group_by", GroupBy)
@pytest.mark.parametrize("window", [{}, MONTH, {"since": NOW - 30 * DAY}])
def test_whole_periods_come_from_cells_and_edges_by_an_index(mirror, group_by, window):
    steps = plan(mirror.store, StatisticsQuery(group_by=group_by, **window))
    of_records = [step for step in steps if re.match(r"(SCAN|SEARCH) record ", step)]
    going_on = "SCAN record USING COVERING INDEX record_going_on"
    edge = "SEARCH record USING INDEX record_started (started_at>? AND started_at<?)"
    assert of_records == [*[edge] * ("since" in window and "until" not in window), going_on]
    of_cells = [step for step in steps if "record_count" in step]
    assert of_cells
    several = "USING PRIMARY KEY (shape=? AND period>? AND period<?)"
    assert all(several in step or re.search(r"SEARCH .*\(shape=\?.* AND period=\?", step) for step in of_cells)
    if "since" in window and "until" not in window:
        return
    if group_by in (GroupBy.USER, GroupBy.PROJECT):
        assert all("USING PRIMARY KEY" in step for step in of_cells), "the many groups are read as they lie"
    # Groups come in the order of the cells of one period, which need not be sorted then.
    sorted_too = group_by is GroupBy.STATE
    assert sum("TEMP B-TREE" in step for step in steps) == 1 + sorted_too, "but for the jobs that go on"


# --- on a database that has records already


@pytest.mark.parametrize("kind", ["sqlite", pytest.param("postgres", marks=pytest.mark.live)])
def test_the_step_that_makes_roll_ups_counts_what_is_there(request, tmp_path, kind):
    if kind == "sqlite":
        url = f"sqlite:///{tmp_path / 'hpcgate.db'}"
    else:
        server = request.getfixturevalue("postgres")
        url = server.url(server.new_database())
    earlier = tmp_path / "earlier"
    shutil.copytree(Path(schema.__file__).parent / "migrations", earlier, ignore=shutil.ignore_patterns("0009*"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(schema, "migrate", lambda db, migrate=schema.migrate: migrate(db, earlier))
        patch.setattr(rollups, "apply", lambda *_: None)
        before = open_store(url)
        day = [made(state=state, duration_s=700 * state.final, submitted_at=NOW - 2 * DAY) for state in (*OPEN, *ENDED)]
        absurd = made(started_at=-5, state=RecordState.FAILED, duration_s=2**62, num_nodes=9, user="bob", project="p")
        before.records.insert([*day, absurd])
        before.close()
    store = open_store(url)
    found = counted(store, StatisticsQuery(group_by=GroupBy.USER), EVERYBODY)
    assert {key: (each.jobs, each.running) for key, each in found.items()} == {("ann",): (6, 2), ("bob",): (1, 0)}
    assert [each for each in store.statistics.recount(write=False) if each.cells] == []
    store.close()
