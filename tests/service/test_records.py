"""Who may report, see, tag and delete records, and what a report must say."""

import itertools
import time
from dataclasses import replace

import pytest
from support import ANN, BOB, ROOT

from hpcgate.config import config_from
from hpcgate.errors import ConfigError, DuplicateRecord, Forbidden, InvalidSpec, NotFound
from hpcgate.model.allocation import Grant
from hpcgate.model.principal import Principal, Role
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
)
from hpcgate.service.retention import Retention

CC = Principal(name="cc", roles=frozenset({Role.API}))
BOSS = Principal(name="boss", roles=frozenset({Role.MANAGER, Role.USER}))
HELP = Principal(name="help", roles=frozenset({Role.SUPPORT}))
MIXED = Principal(name="ann", roles=frozenset({Role.API, Role.USER}))

GLOBAL = RecordTag(type="t", name="all")
ADMIN = RecordTag(type="t", name="ops", scope=TagScope.ADMIN)
PRIVATE = RecordTag(type="t", name="mine", scope=TagScope.PRIVATE)


def draft(number=1, **more):
    values = {"user": "ann", "cluster": "c1", "started_at": 1000, "resources": (Resource(hostname="n1"),)}
    return Record(**{"number": number, **values, **more})


@pytest.fixture
def start(gateway):
    numbers = itertools.count(1)
    return lambda **more: gateway.records.start(CC, draft(next(numbers), **more))


def seen(gateway, who, **asked):
    return {record.number for record in gateway.records.list(who, RecordFilter(**asked), limit=100).items}


def test_a_report_makes_a_running_record_whatever_else_it_claims(gateway):
    claims = {"id": 9, "job_id": 3, "attempt": 4, "site": "fake", "state": RecordState.FAILED, "duration_s": 7}
    made = gateway.records.start(CC, draft(source=Source.GATEWAY, **claims))
    assert made == replace(draft(), id=1)
    with pytest.raises(DuplicateRecord):
        gateway.records.start(ROOT, draft())
    done = gateway.records.stop(CC, 1, ended_at=1060, state=RecordState.COMPLETED)
    assert (done.duration_s, done.monitoring) == (60, 3)  # nothing is archived here: nobody need wait
    assert gateway.records.get(ANN, 1) == done


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"user": ""}, "user"),
        ({"cluster": ""}, "cluster"),
        ({"started_at": -1}, "started_at"),
        ({"started_at": 10**13}, "started_at"),
        ({"submitted_at": 10**13}, "submitted_at"),
        ({"walltime_s": -1}, "walltime_s"),
        ({"number": 2**63}, "number"),
        ({"num_nodes": 0}, "num_nodes"),
        ({"num_nodes": 2}, "resources"),
        ({"resources": ()}, "resources"),
        ({"resources": (Resource(hostname=""),)}, "resources[0].hostname"),
        ({"monitoring": 4}, "monitoring"),
        ({"project": "x" * 1025}, "project"),
        ({"name": "a\0b"}, "name"),
        ({"partition": "\ud800"}, "partition"),
        ({"tags": (RecordTag(type="", name="x"),)}, "tags[0].type"),
        ({"tags": tuple(RecordTag(type="t", name=str(n)) for n in range(101))}, "tags"),
        ({"metadata": {"k": "\ud800"}}, "metadata.'k'"),
    ],
)
def test_what_cannot_be_is_refused_by_name(gateway, wrong, field):
    with pytest.raises(InvalidSpec) as caught:
        gateway.records.start(CC, draft(**wrong))
    assert field in {error.field for error in caught.value.errors}
    assert seen(gateway, ROOT) == set()


def test_only_admins_and_pure_reporters_report(gateway, start):
    one = start()
    for who in (ANN, BOSS, HELP, MIXED):
        for call in (
            lambda who=who: gateway.records.start(who, draft(7)),
            lambda who=who: gateway.records.stop(who, one.id, ended_at=2000, state=RecordState.FAILED),
            lambda who=who: gateway.records.edit_metadata(who, one.id, {"k": "v"}),
            lambda who=who: gateway.records.report_nodes(who, []),
            lambda who=who: gateway.records.used_nodes(who, 2000),
            lambda who=who: gateway.records.delete(who, one.id),
            lambda who=who: gateway.records.delete_before(who, 2000),
        ):
            with pytest.raises(Forbidden):
                call()
    assert seen(gateway, ROOT) == {1}


def test_rows_are_ones_own_those_of_ones_projects_or_all(make_gateway):
    gateway = make_gateway(
        projects={
            "p1": {"site": "fake", "members": {"boss": {}}},
            "p2": {"site": "fake", "groups": ["team"]},
            "p3": {"site": "fake", "default": True},
        },
        groups={"team": {"members": ["boss"]}},
    )
    owners = [("ann", "p1"), ("bob", "p2"), ("bob", ""), ("boss", ""), ("ann", "p3")]
    for number, (user, project) in enumerate(owners, 1):
        gateway.records.start(CC, draft(number, user=user, project=project))
    boss = replace(BOSS, groups=frozenset({"team"}))
    assert seen(gateway, ANN) == seen(gateway, MIXED) == {1, 5}
    assert seen(gateway, BOB) == {2, 3}
    assert seen(gateway, boss) == {1, 2, 4}  # a project that everybody has makes nobody see everything
    assert seen(gateway, boss, users=("bob",)) == {2}
    assert seen(gateway, ROOT) == seen(gateway, HELP) == seen(gateway, CC) == {1, 2, 3, 4, 5}
    for who, number in ((ANN, 2), (boss, 3), (BOB, 5)):
        for ask in (
            lambda who=who, number=number: gateway.records.get(who, number),
            lambda who=who, number=number: gateway.records.find(who, number),
            lambda who=who, number=number: gateway.records.tag(who, number, [GLOBAL]),
        ):
            with pytest.raises(NotFound):
                ask()
    assert gateway.records.find(boss, 2, cluster="c1", started_at=1000).user == "bob"
    with pytest.raises(NotFound, match="job 1 of cluster 'c2' that began at 7"):
        gateway.records.find(CC, 1, cluster="c2", started_at=7)
    with pytest.raises(Forbidden):
        seen(gateway, Principal(name="portal", roles=frozenset({Role.DELEGATE})))


def test_a_tag_is_seen_by_those_it_is_for(gateway, start):
    start()
    gateway.records.tag(ROOT, 1, [GLOBAL, ADMIN, PRIVATE])
    gateway.records.tag(ANN, 1, [PRIVATE, PRIVATE])
    names = {who.name: [tag.name for tag in gateway.records.get(who, 1).tags] for who in (ROOT, HELP, CC, ANN)}
    assert names == {
        "root": ["all", "ops", "mine"],
        "help": ["all", "ops"],
        "cc": ["all", "ops"],
        "ann": ["all", "mine"],
    }
    assert (seen(gateway, ANN, tag="ops"), seen(gateway, HELP, tag="t:ops")) == (set(), {1})
    assert (seen(gateway, HELP, tag="mine"), seen(gateway, ANN, tag="mine")) == (set(), {1})
    with pytest.raises(Forbidden, match="scope admin"):
        gateway.records.tag(ANN, 1, [ADMIN])
    with pytest.raises(Forbidden, match="of 'ann' with the scope global"):
        gateway.records.tag(HELP, 1, [GLOBAL])
    with pytest.raises(InvalidSpec, match=r"tags\[0\].name: is missing"):
        gateway.records.tag(ROOT, 1, [RecordTag(type="t", name="")])
    assert [tag.name for tag in gateway.records.untag(ANN, 1, [PRIVATE, GLOBAL]).tags] == []
    assert [tag.name for tag in gateway.records.get(ROOT, 1).tags] == ["ops", "mine"]  # hers was another one
    with pytest.raises(Forbidden):
        gateway.records.remove_tags(ANN, [GLOBAL])
    assert gateway.records.remove_tags(CC, [ADMIN, GLOBAL]) == 2
    assert [tag.name for tag in gateway.records.get(ROOT, 1).tags] == ["mine"]


def test_metadata_is_added_to(gateway, start):
    start(metadata={"a": "1", "b": "2"})
    start()
    assert gateway.records.edit_metadata(CC, 1, {"b": "3", "c": "4"}).metadata == {"a": "1", "b": "3", "c": "4"}
    assert gateway.records.edit_metadata(CC, 2, {"b": "3"}).metadata == {"b": "3"}
    plain, full = (gateway.records.list(ANN, RecordFilter(), limit=5, details=details).items for details in (0, 1))
    assert [record.metadata for record in plain] == [None, None]
    assert [record.metadata for record in full] == [{"b": "3"}, {"a": "1", "b": "3", "c": "4"}]
    with pytest.raises(NotFound):
        gateway.records.edit_metadata(CC, 7, {"a": "b"})


def test_pages_by_number_and_by_cursor_are_the_same_list(gateway, start):
    for n in range(7):
        start(started_at=1000 + n // 3)
    numbers = [7, 6, 5, 4, 3, 2, 1]
    pages = [gateway.records.numbered(ANN, RecordFilter(), page=page, size=3) for page in (1, 2, 3, 4)]
    assert [record.number for page in pages for record in page] == numbers
    cursor, found = None, []
    while len(found) < 7:
        part = gateway.records.list(ANN, RecordFilter(), cursor=cursor, limit=3)
        found += [record.number for record in part.items]
        cursor = part.next_cursor
    assert (found, cursor) == (numbers, None)
    for cursor in ("x", "cmVjb3Jk", "am9iOjE6Mg", "cmVjb3JkOjE6OTk5OTk5OTk5OTk5OTk5OTk5OTk5OQ"):
        with pytest.raises(InvalidSpec, match="next_cursor"):
            gateway.records.list(ANN, RecordFilter(), cursor=cursor, limit=3)


def test_what_began_before_goes_and_a_dry_run_only_counts(gateway, start, monkeypatch):
    monkeypatch.setattr("hpcgate.service.records.BATCH", 2)
    for n in range(5):
        start(started_at=1000 + n, tags=(GLOBAL,) if n == 1 else ())
    assert gateway.records.delete_before(CC, 1004, keep=KeepTagged.USER, dry_run=True) == 3
    assert seen(gateway, ROOT) == {1, 2, 3, 4, 5}
    assert gateway.records.delete_before(CC, 1004, keep=KeepTagged.USER) == 3
    assert seen(gateway, ROOT) == {2, 5}
    gateway.records.delete(ROOT, 2)
    with pytest.raises(NotFound):
        gateway.records.delete(ROOT, 2)


def test_retention_takes_what_ended_long_ago_and_never_what_runs(make_gateway, monkeypatch):
    monkeypatch.setattr("hpcgate.service.retention.RECORDS_BATCH", 2)
    gateway = make_gateway(records={"keep_days": 30, "keep_tagged": "all"})
    now = int(time.time())
    for n in range(1, 7):
        gateway.records.start(CC, draft(n, started_at=now - 90 * 86_400, tags=(GLOBAL,) if n == 1 else ()))
        if n < 6:
            ended_at = now - 5 * 86_400 if n == 5 else now - 40 * 86_400
            gateway.records.stop(CC, n, ended_at=ended_at, state=RecordState.FAILED)
    retention = gateway.retention()
    assert retention.preview().records == 3
    parts = [retention.step() for _ in range(2)]
    assert [(part.records, part.more) for part in parts] == [(2, True), (1, False)]
    assert seen(gateway, ROOT) == {1, 5, 6}
    retention.lease.give_up()
    plain = Retention(gateway.sites, gateway.store, gateway._transports, gateway.config.retention, "else")
    assert (plain.preview().records, plain.step().records) == (0, 0)
    plain.lease.give_up()


def test_the_table_of_records_is_checked(tmp_path):
    for table, message in (
        ({"keep_tagged": "some"}, "'some'"),
        ({"keep_days": -1.0}, "must not be negative"),
        ({"keep": 1}, "keep_days"),
    ):
        with pytest.raises(ConfigError, match=r"\[records\]") as caught:
            config_from({"records": table}, home=tmp_path)
        assert message in str(caught.value)


def test_nodes_are_known_by_what_was_said_last(gateway):
    report = NodeReport(cluster="c1", hostname="n1", state=NodeState.MIXED, cpus=3)
    gateway.records.report_nodes(CC, [report])
    (known,) = gateway.records.nodes(ANN, "c1")
    assert replace(known, at=0.0) == report
    assert time.time() - known.at < 60
    with pytest.raises(InvalidSpec, match=r"nodes\[1\].hostname: is missing.*nodes\[1\].cpus"):
        gateway.records.report_nodes(CC, [report, replace(report, hostname="", cpus=-1)])


def test_a_grant_makes_a_member_see_a_project(gateway):
    gateway.projects.create(ROOT, _project("p9"))
    gateway.records.start(CC, draft(1, user="zoe", project="p9"))
    assert seen(gateway, BOSS) == set()
    gateway.projects.put_member(ROOT, "p9", "boss", Grant())
    assert seen(gateway, BOSS) == {1}


def _project(name):
    from hpcgate.model.allocation import Project

    return Project(name=name, site="fake")
