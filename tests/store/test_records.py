"""Records: of equal reports one counts, and every filter finds what it says, in order, by an index."""

import random
import re
import threading
from collections import Counter
from dataclasses import fields, replace
from itertools import product

import pytest

from hpcgate.errors import Conflict, DuplicateRecord, InvalidSpec, NotFound
from hpcgate.model.record import (
    KeepTagged,
    NodeReport,
    NodeState,
    Record,
    RecordFilter,
    RecordState,
    RecordTag,
    Resource,
    Source,
    TagScope,
    Visibility,
)

DAY = 86_400
NOW = 2_000_000


def draft(number=1, cluster="c1", started_at=1000, **more):
    hosts = more.pop("hosts", ("n1",))
    values = {"user": "ann", "resources": tuple(Resource(hostname=host) for host in hosts), "num_nodes": len(hosts)}
    return Record(**{"number": number, "cluster": cluster, "started_at": started_at, **values, **more})


# --- one of many


def race(store, rounds):
    """Fifty threads report the same job at once, again and again; what became of it, round by round."""
    barrier, became = threading.Barrier(50), []

    def report():
        for round_ in range(rounds):
            barrier.wait(60)
            try:
                store.records.start(draft(round_, hosts=("n1", "n2"), tags=(RecordTag(type="a", name="b"),)))
                became.append((round_, "stored"))
            except DuplicateRecord:
                became.append((round_, "duplicate"))
        store.release()

    threads = [threading.Thread(target=report) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return Counter(became)


@pytest.mark.parametrize("rounds", [2, pytest.param(20, marks=pytest.mark.full)])
def test_of_fifty_equal_reports_one_is_stored(store, rounds):
    told = race(store, rounds)
    assert told == {(n, word): times for n in range(rounds) for word, times in (("stored", 1), ("duplicate", 49))}
    assert store.records.count(RecordFilter(), now=NOW) == rounds
    assert store.records.count(RecordFilter(tag="a:b", node="n2"), now=NOW) == rounds


def test_a_job_that_begins_a_day_later_is_another_one(store):
    first = store.records.start(draft())
    for started_at in (1000, 1, -5 * DAY, 1000 + DAY - 1):  # also what began long before
        with pytest.raises(DuplicateRecord, match=f"record {first.id}") as caught:
            store.records.start(draft(started_at=started_at))
        assert caught.value.record_id == first.id
    assert store.records.start(draft(started_at=1000 + DAY)).id == 2
    assert store.records.start(draft(cluster="c2")).id == 3
    assert store.records.start(draft(2**62)).number == 2**62
    assert store.records.get(1) == first


# --- changes


def test_a_record_ends_once_and_not_before_it_began(store):
    id_ = store.records.start(draft()).id
    with pytest.raises(InvalidSpec, match="999 is before the job began"):
        store.records.stop(id_, ended_at=999, state=RecordState.COMPLETED, archived=True)
    with pytest.raises(InvalidSpec, match="no state of a job that has ended"):
        store.records.stop(id_, ended_at=1000, state=RecordState.RUNNING, archived=True)
    done = store.records.stop(id_, ended_at=1000, state=RecordState.TIMEOUT, archived=False)
    assert (done.state, done.duration_s, done.ended_at, done.monitoring) == (RecordState.TIMEOUT, 0, 1000, 1)
    with pytest.raises(Conflict, match="has ended already"):
        store.records.stop(id_, ended_at=2000, state=RecordState.FAILED, archived=False)
    with pytest.raises(NotFound):
        store.records.stop(77, ended_at=2000, state=RecordState.FAILED, archived=False)
    assert store.records.get(id_) == done


def test_what_is_removed_leaves_nothing_and_its_id_is_not_given_again(store):
    kept, gone = (
        store.records.start(draft(n, metadata={"k": "v"}, statistics={}, tags=(RecordTag(type="a", name="b"),)))
        for n in (1, 2)
    )
    assert store.records.delete([gone.id, 99]) == 1
    assert store.records.details([kept.id, gone.id]) == {kept.id: ({"k": "v"}, {})}
    assert list(store.records.tags.of([kept.id, gone.id])) == [kept.id]
    assert store.records.used_nodes(NOW) == {"c1": ["n1"]}
    for table in ("record_node", "record_tagged", "record_detail"):
        assert [row[0] for row in store._session.rows(f"SELECT record_id FROM {table}")] == [kept.id]
    assert store.records.delete([kept.id]) == 1
    assert store.records.start(draft(3)).id == 3


def test_of_several_the_latest_that_runs_is_found_else_the_latest(store):
    for day in range(3):
        store.records.start(draft(started_at=1000 + day * DAY))
    store.records.stop(3, ended_at=NOW, state=RecordState.FAILED, archived=True)
    assert store.records.find(1).id == 2
    assert store.records.find(1, cluster="c1", started_at=1000).id == 1
    assert store.records.find(1, cluster="c2") is None
    for id_ in (1, 2):
        store.records.stop(id_, ended_at=NOW, state=RecordState.FAILED, archived=True)
    assert store.records.find(1).id == 3


def test_tags_are_there_once_and_go_from_all_records_at_once(store):
    tags = [RecordTag(type="a", name="b"), RecordTag(type="a", name="b", scope=TagScope.PRIVATE, owner="ann")]
    for n in (1, 2):
        store.records.start(draft(n, tags=(tags[0],)))
    assert [tag.id for tag in store.records.tags.put(1, 1000, [*tags, tags[0]])] == [1, 2]
    assert [tag.id for tag in store.records.tags.of([1])[1]] == [1, 2]
    assert store.records.tags.take(2, [tags[1]]) == 0
    assert store.records.tags.remove([tags[0], tags[0]]) == 1
    assert {id_: [tag.scope for tag in found] for id_, found in store.records.tags.of([1, 2]).items()} == {
        1: ["private"]
    }


def test_what_is_said_of_a_node_takes_the_place_of_what_was_said_before(store):
    report = NodeReport(cluster="c1", hostname="n1", state=NodeState.IDLE, at=5.0)
    store.node_states.put([report, replace(report, hostname="n0"), replace(report, cluster="c2")])
    later = replace(report, state=NodeState.ALLOCATED, cpus=3, memory_mib=2**40, gpus=1, jobs=2, at=6.0)
    store.node_states.put([later])
    assert store.node_states.all("c1") == [replace(report, hostname="n0"), later]
    assert len(store.node_states.all()) == 3


# --- lists


@pytest.fixture
def many(store, monkeypatch):
    """Records of all kinds, and many at the same second; as they are to be listed."""
    monkeypatch.setattr("hpcgate.store.record_search._RARE", 60)
    rng = random.Random(7)
    made = []
    for n in range(240):
        state = rng.choice(["running", "completed", "failed", "timeout"])
        made.append(
            draft(
                rng.randrange(60),
                rng.choice(["c1", "c2"]),
                1000 * rng.randrange(40),
                user=rng.choice(["ann", "bob", "cyd"]),
                project=rng.choice(["", "p1", "p2"]),
                partition=rng.choice(["short", "long"]),
                subcluster=rng.choice(["main", "gpu", "big"]),
                name=rng.choice(["wave", "waves", "Wave_1", "50%", "zoë", ""]),
                state=RecordState(state),
                duration_s=0 if state == "running" else rng.randrange(5000),
                array_number=rng.choice([0, 0, 7]),
                source=rng.choice(list(Source)),
                hosts=tuple(rng.sample(["n1", "n2", "n3", "n4"], rng.randrange(1, 4))),
                tags=tuple(rng.sample(TAGS, rng.randrange(3))),
                **({"job_id": n, "attempt": 2} if n % 3 == 0 else {}),
            )
        )
    stored = store.records.insert(made)
    assert [record.id for record in stored] == list(range(1, 241))
    return sorted(stored, key=lambda record: (record.started_at, record.id), reverse=True)


TAGS = [
    RecordTag(type="app", name="x"),
    RecordTag(type="user", name="x", scope=TagScope.ADMIN),
    RecordTag(type="app", name="y"),
    RecordTag(type="app", name="x", scope=TagScope.PRIVATE, owner="bob"),
]
#: For each field of the filter, what may be asked.
ASKED = {
    "states": [(RecordState.RUNNING,), (RecordState.FAILED, RecordState.RUNNING), tuple(RecordState)],
    "cluster": ["c1", "nowhere"],
    "subclusters": [("main",), ("gpu", "big", "gpu")],
    "users": [("ann",), ("bob", "ann"), ("eve",)],
    "project": ["p1", ""],
    "partition": ["long"],
    "number": [5],
    "array_number": [7, 0],
    "job_id": [30],
    "name": ["wave", "", "zo", "Z"],
    "tag": ["x", "app:x", "user:x", "app:none"],
    "node": ["n1", "n4"],
    "started_from": [20_000],
    "started_to": [30_000],
    "ended_from": [15_000, 43_500],
    "ended_to": [22_000],
    "min_duration_s": [4000, 1_970_000],
    "max_duration_s": [1000],
    "min_nodes": [2],
    "max_nodes": [2],
    "source": [Source.GATEWAY],
}
SEEN = [
    Visibility(),
    Visibility(user="ann", viewer="ann", admin_tags=False),
    Visibility(user="bob", projects=("p1", "p2"), viewer="bob", admin_tags=False),
]


def holds(record, filter_, sees):
    asked = {field.name: getattr(filter_, field.name) for field in fields(filter_)}
    tags = {text for tag in record.tags if sees.shows(tag) for text in (tag.name, f"{tag.type}:{tag.name}")}
    lasting, ended = record.lasting(NOW), record.ended_at
    checks = {
        "states": lambda v: not v or record.state in v,
        "subclusters": lambda v: not v or record.subcluster in v,
        "users": lambda v: not v or record.user in v,
        "name": record.name.startswith,
        "tag": lambda v: v in tags,
        "node": lambda v: v in {each.hostname for each in record.resources},
        "started_from": lambda v: record.started_at >= v,
        "started_to": lambda v: record.started_at <= v,
        "ended_from": lambda v: ended is not None and ended >= v,
        "ended_to": lambda v: ended is not None and ended <= v,
        "min_duration_s": lambda v: lasting >= v,
        "max_duration_s": lambda v: lasting <= v,
        "min_nodes": lambda v: record.num_nodes >= v,
        "max_nodes": lambda v: record.num_nodes <= v,
    }
    own = sees.user is None or record.user == sees.user or record.project in sees.projects
    return own and all(
        checks.get(name, lambda v, name=name: getattr(record, name) == v)(value)
        for name, value in asked.items()
        if value is not None
    )


def walked(store, filter_, sees, size):
    """The ids of a list, read part by part."""
    found, below = [], None
    while part := store.records.places(filter_, sees, now=NOW, below=below, limit=size):
        found += [id_ for _, id_ in part]
        below = part[-1]
    return found


def test_each_filter_finds_what_it_says_in_order(store, many):
    rng = random.Random(11)
    single = [{name: value} for name, values in ASKED.items() for value in values]
    mixed = [
        {name: rng.choice(ASKED[name]) for name in rng.sample(list(ASKED), rng.choice([2, 2, 3]))} for _ in range(60)
    ]
    hits = 0
    for number, asked in enumerate([{}, *single, *mixed]):
        for sees in SEEN if number < 20 else [SEEN[number % 3]]:
            filter_ = RecordFilter(**asked)
            expected = [record.id for record in many if holds(record, filter_, sees)]
            page = store.records.places(filter_, sees, now=NOW, offset=3, limit=7)
            said = f"{asked} as {sees}"
            assert walked(store, filter_, sees, rng.choice([9, 50])) == expected, said
            assert [id_ for _, id_ in page] == expected[3:10], said
            assert store.records.count(filter_, sees, now=NOW) == len(expected), said
            hits += bool(expected)
    assert hits > 60  # that much was really looked for


def test_old_records_may_stay_for_their_tags(store):
    tags = {1: ("app", "mine"), 2: ("app",), 3: (), 4: ("jobClass",), 5: ()}
    for n, types in tags.items():
        store.records.start(draft(n, started_at=1000 * n, tags=tuple(RecordTag(type=each, name="x") for each in types)))
    for n in (5, 2, 3):
        store.records.stop(n, ended_at=5000 + n, state=RecordState.FAILED, archived=True)
    old = store.records.old
    assert old(4000, ended=False, keep=KeepTagged.NONE, limit=9) == [1, 2, 3]
    assert old(4001, ended=False, keep=KeepTagged.ALL, limit=9) == [3]
    assert old(4001, ended=False, keep=KeepTagged.USER, limit=9) == [2, 3, 4]
    assert old(5005, ended=True, keep=KeepTagged.NONE, limit=9) == [2, 3]  # what runs has no end
    assert old(NOW, ended=True, keep=KeepTagged.NONE, limit=2) == [2, 3]
    assert store.records.count_old(4001, ended=False, keep=KeepTagged.USER) == 3
    assert store.records.change(3, monitoring=1).id == 3
    assert old(NOW, ended=True, keep=KeepTagged.NONE, limit=9) == [2, 5]  # what is to be archived stays until it is


# --- how the databases look


def plans(store, monkeypatch, call):
    """How the database carries out the statements of a call, line by line."""
    asked = []
    read = type(store._session.db).read

    def note(self, statement, params=()):
        asked.append((statement, tuple(params)))
        return read(self, statement, params)

    with monkeypatch.context() as patched:
        patched.setattr(type(store._session.db), "read", note)
        call()
    lines = []
    for sql, params in asked:
        if "FROM record" in sql and "FROM record_tag " not in sql:
            lines += explained(store, sql, params)
    assert lines
    return lines


def explained(store, sql, params):
    session = store._session
    if "Sqlite" in type(session.db).__name__:
        return [row[3] for row in session.rows(f"EXPLAIN QUERY PLAN {sql}", params)]
    with store.transaction():
        # With few rows anything is cheap: what is asked is whether an index could do it.
        for what in ("seqscan", "sort", "bitmapscan"):
            session.execute(f"SET LOCAL enable_{what} = off")
        return [row[0] for row in session.rows(f"EXPLAIN {sql}", params)]


def wrong(lines):
    """Steps that read a whole table, or put more in order than is shown."""
    return [
        line
        for line in lines
        if ("SCAN" in line and "INDEX record_started" not in line and "found" not in line)
        or "TEMP B-TREE" in line
        or "Seq Scan" in line
        or re.match(r"[ >-]*(Incremental )?Sort  \(", line)  # and not the key of a Merge Append
    ]


#: Filters of which each page is a piece of an index, alone and together.
PAGED = [
    {},
    *({"states": states} for states in ASKED["states"]),
    *({"cluster": "c1", **more} for more in ({}, {"states": ASKED["states"][1]}, {"started_from": 1, "started_to": 9})),
    *({"project": "p1", **more} for more in ({}, {"cluster": "c1"}, {"cluster": "c1", "states": ASKED["states"][0]})),
    *({name: ASKED[name][-1]} for name in ("users", "subclusters", "partition", "node")),
    {"tag": "x"},
    {"number": 5, "cluster": "c1"},
    {"array_number": 7},
    {"users": ("ann",), "states": ASKED["states"][1], "started_from": 1},
    {"tag": "x", "cluster": "c1"},
    {"node": "n1", "states": ASKED["states"][0]},
]


def test_every_page_is_a_piece_of_an_index(store, many, monkeypatch):
    found = {}
    for asked, sees, place in product(PAGED, SEEN[::2], [{}, {"below": (2000, 9)}, {"offset": 50}]):
        filter_ = RecordFilter(**asked)
        lines = plans(
            store,
            monkeypatch,
            lambda: store.records.places(filter_, sees, now=NOW, limit=25, **place),  # noqa: B023
        )
        if wrong(lines):
            found[f"{asked} {place} as {sees.user}"] = wrong(lines)
    assert not found


def test_what_is_looked_up_for_one_record_is_found_by_an_index(store, many, monkeypatch):
    calls = {
        "duplicate": lambda: store.records.start(draft(1, "c9")),
        "own job": lambda: store.records.of_jobs([3]),
        "reported": lambda: store.records.reported(5, "c1", 1000),
        "old": lambda: store.records.old(5000, ended=True, keep=KeepTagged.USER, limit=10),
        "rare name": lambda: store.records.places(RecordFilter(name="zo"), now=NOW, limit=5),
        "used nodes": lambda: store.records.used_nodes(NOW),
        "tags": lambda: store.records.tags.of([1, 2]),
    }
    for name, call in calls.items():
        lines = [line for line in plans(store, monkeypatch, call) if "TEMP B-TREE" not in line]
        assert not [line for line in lines if "SCAN r" in line or "Seq Scan on record" in line], (name, lines)
