"""The archive that a worker writes: what comes into it, and what becomes of what cannot be written."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from hpcgate.model.principal import Principal, Role
from hpcgate.model.record import Monitoring, Record, RecordState, RecordTag, Resource, TagScope
from hpcgate.service.archivist import Archivist
from hpcgate.service.record_archive import RecordArchive
from hpcgate.service.records import Records
from hpcgate.store.database import open_store

API = Principal(name="slurm", roles=frozenset({Role.API}))
ADMIN = Principal(name="root", roles=frozenset({Role.ADMIN}))
BUG = RecordTag(type="Debug", name="x")
DRAFT = Record(
    number=4711,
    user="ann",
    cluster="fritz",
    started_at=1_700_000_000,
    name="lammps",
    num_nodes=2,
    resources=(Resource(hostname="f001", hwthreads=(0, 1)), Resource(hostname="f002", accelerators=("00:01",))),
    metadata={"jobScript": "#!/bin/sh\necho ä\n"},
    statistics={"mem_used": {"unit": {"base": "B", "prefix": "G"}, "avg": 1.5, "min": 1, "max": 2.5}},
)
PLACE = "fritz/4/711/1700000000/meta.json"


class Bench:
    """Records, an archive, and what writes it, with a clock that stands still."""

    def __init__(self, url: str, root: Path) -> None:
        self.store = open_store(url)
        self.root, self.now = root, 0.0
        self.records = Records(self.store, lambda _: (), archives=True)
        self.restart()

    def restart(self) -> None:
        self.archivist = Archivist(self.store, RecordArchive(self.root, durable=True), {}, clock=lambda: self.now)

    def work(self) -> None:
        while self.archivist.pending():
            self.archivist.step()

    def ended(self, **fields) -> Record:
        record = self.records.start(API, replace(DRAFT, **fields))
        return self.records.stop(API, record.id, ended_at=record.started_at + 60, state=RecordState.FAILED)

    def monitoring(self, record: Record) -> int:
        return self.records.get(ADMIN, record.id).monitoring

    def file(self, place: str = PLACE) -> dict:
        return json.loads((self.root / place).read_text(encoding="utf-8"))


@pytest.fixture
def bench(database_url, tmp_path):
    bench = Bench(database_url, tmp_path / "archive")
    yield bench
    bench.store.close()


def test_what_has_ended_is_written_once_and_says_so(bench):
    running = bench.records.start(API, replace(DRAFT, number=1))
    off = bench.ended(number=2, monitoring=Monitoring.OFF)
    assert not bench.archivist.pending()

    ended = bench.ended(tags=(BUG,))
    assert bench.monitoring(ended) == Monitoring.OPEN
    bench.work()

    assert bench.monitoring(ended) == Monitoring.ARCHIVED
    assert [bench.monitoring(each) for each in (running, off)] == [Monitoring.OPEN, Monitoring.OFF]
    assert sorted(str(each.relative_to(bench.root)) for each in bench.root.rglob("*.*") if each.is_file()) == [
        "fritz/4/711/1700000000/meta.json",
        "fritz/cluster.json",
        "version.txt",
    ]
    meta = bench.file()
    assert (meta["jobId"], meta["jobState"], meta["duration"], meta["monitoringStatus"]) == (4711, "failed", 60, 3)
    assert meta["resources"] == [
        {"hostname": "f001", "hwthreads": [0, 1]},
        {"hostname": "f002", "accelerators": ["00:01"]},
    ]
    assert meta["tags"] == [{"id": 0, "type": "Debug", "name": "x", "scope": "global"}]
    assert (meta["metaData"], meta["statistics"]) == (DRAFT.metadata, DRAFT.statistics)
    assert not bench.archivist.pending()


def test_what_was_changed_after_that_is_written_again(bench):
    record = bench.ended()
    bench.work()
    bench.records.tag(API, record.id, [BUG])
    assert bench.monitoring(record) == Monitoring.ARCHIVED  # nobody has to wait for it again
    bench.records.edit_metadata(API, record.id, {"note": "slow"})
    bench.work()
    assert [tag["name"] for tag in bench.file()["tags"]] == ["x"]
    assert bench.file()["metaData"] == {**DRAFT.metadata, "note": "slow"}

    bench.records.untag(API, record.id, [BUG])
    bench.work()
    assert bench.file()["tags"] == []

    bench.records.tag(API, record.id, [BUG])
    bench.work()
    bench.records.remove_tags(ADMIN, [BUG])
    bench.work()
    assert bench.file()["tags"] == []


def test_what_changes_while_it_is_written_is_written_again(bench, monkeypatch):
    record = bench.ended()
    write = RecordArchive.write

    def slow(self, *args):
        written = write(self, *args)
        monkeypatch.setattr(RecordArchive, "write", write)
        bench.records.tag(API, record.id, [BUG])
        return written

    monkeypatch.setattr(RecordArchive, "write", slow)
    bench.archivist.step()
    assert bench.file()["tags"] == []
    assert bench.monitoring(record) == Monitoring.OPEN
    bench.work()
    assert [tag["name"] for tag in bench.file()["tags"]] == ["x"]
    assert bench.monitoring(record) == Monitoring.ARCHIVED


def test_what_begins_at_another_time_while_it_is_written_leaves_no_file_behind(bench, monkeypatch):
    record = bench.ended()
    write = RecordArchive.write

    def slow(self, *args):
        written = write(self, *args)
        monkeypatch.setattr(RecordArchive, "write", write)
        bench.store.records.change(record.id, started_at=1_700_000_001)
        return written

    monkeypatch.setattr(RecordArchive, "write", slow)
    bench.work()
    assert [each.parent.name for each in bench.root.glob("fritz/*/*/*/*")] == ["1700000001"]


def test_the_archive_has_what_was_deleted_before_and_after_it_was_written(bench):
    early, late = bench.ended(), bench.ended(number=4712)
    bench.records.tag(API, early.id, [BUG])
    bench.records.delete(API, early.id)
    bench.work()
    bench.records.tag(API, late.id, [BUG])
    assert bench.records.delete_before(API, 1_800_000_000) == 1
    bench.work()
    for place in (PLACE, PLACE.replace("711", "712")):
        assert [tag["name"] for tag in bench.file(place)["tags"]] == ["x"]
    assert not bench.archivist.pending()


def test_what_cannot_be_written_says_so_and_is_tried_again(bench, caplog):
    bench.root.write_text("no folder")
    records = [bench.ended(number=number) for number in (1, 2)]
    bench.work()
    assert [bench.monitoring(each) for each in records] == [Monitoring.FAILED] * 2
    assert [bench.store.archiving.count_unwritten(failed=failed) for failed in (True, False)] == [2, 0]
    assert "record 1 could not be archived, and is tried again later" in caplog.text

    later = bench.ended(number=3)
    bench.work()
    assert bench.monitoring(later) == Monitoring.FAILED

    bench.root.unlink()
    assert not bench.archivist.pending()
    assert 0 < bench.archivist.next_due() < 10
    bench.now += 60
    bench.work()
    assert [bench.monitoring(each) for each in (*records, later)] == [Monitoring.ARCHIVED] * 3


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_no_second_archive_is_begun_where_the_file_system_is_away(bench, caplog):
    away = bench.root.with_name("away")
    bench.root = bench.root / "records"
    bench.restart()
    first = bench.ended()
    bench.work()
    assert bench.monitoring(first) == Monitoring.FAILED
    assert "No such file or directory" in caplog.text

    bench.root.parent.mkdir()
    bench.now += 60
    bench.work()
    assert bench.monitoring(first) == Monitoring.ARCHIVED

    bench.root.rename(away)
    second = bench.ended(number=2)
    bench.work()
    assert bench.monitoring(second) == Monitoring.FAILED
    assert not bench.root.exists()
    assert "is its file system away?" in caplog.text

    away.rename(bench.root)
    bench.now += 60
    bench.work()
    assert bench.monitoring(second) == Monitoring.ARCHIVED


def test_the_pauses_grow_and_a_new_worker_begins_at_once(bench):
    bench.root.write_text("no folder")
    record = bench.ended()
    pauses = []
    for _ in range(12):
        bench.work()
        pauses.append(bench.archivist.next_due())
        bench.now += pauses[-1]
    assert pauses[0] < 10 < pauses[3]
    assert 600 < max(pauses) < 1200
    bench.work()
    bench.root.unlink()
    bench.restart()
    bench.work()
    assert bench.monitoring(record) == Monitoring.ARCHIVED


def test_one_that_cannot_be_written_keeps_no_other_from_it_and_stays_archived(bench):
    stuck, other = bench.ended(), bench.ended(number=5000)
    bench.work()
    (bench.root / PLACE).unlink()
    (bench.root / PLACE).mkdir()
    for record in (stuck, other):
        bench.records.tag(API, record.id, [BUG])
    bench.work()
    assert bench.file("fritz/5/000/1700000000/meta.json")["tags"]
    assert bench.monitoring(stuck) == Monitoring.ARCHIVED
    (bench.root / PLACE).rmdir()
    bench.now += 60
    bench.work()
    assert bench.file()["tags"]


def test_a_private_tag_names_its_owner_as_the_scope(bench):
    admin = Principal(name="admin", roles=frozenset({Role.ADMIN}))
    record = bench.ended()
    bench.records.tag(admin, record.id, [RecordTag(type="mine", name="y", scope=TagScope.PRIVATE)])
    bench.work()
    assert bench.file()["tags"] == [{"id": 0, "type": "mine", "name": "y", "scope": "admin", "owner": "admin"}]
    (read,) = RecordArchive(bench.root).places()
    assert RecordArchive(bench.root).read(read).tags[0].scope is TagScope.PRIVATE


def test_indices_answer_what_has_to_be_written(bench, monkeypatch):
    session, asked = bench.store._session, []
    read = type(session.db).read
    with monkeypatch.context() as patched:
        patched.setattr(
            type(session.db),
            "read",
            lambda self, sql, params=(): asked.append((sql, params)) or read(self, sql, params),
        )
        assert not bench.archivist.pending()
        bench.store.archiving.count_unwritten(failed=True)
    assert asked
    for sql, params in asked:
        if "Sqlite" in type(session.db).__name__:
            plan = [row[3] for row in session.rows(f"EXPLAIN QUERY PLAN {sql}", params)]
            assert not [line for line in plan if line.startswith("SCAN")]
        else:
            with bench.store.transaction():
                session.execute("SET LOCAL enable_seqscan = off")  # on tables without rows it is cheapest
                plan = [row[0] for row in session.rows(f"EXPLAIN {sql}", params)]
            assert not [line for line in plan if "Seq Scan" in line]
            assert "Index Cond" in "".join(plan)


def test_without_an_archive_nobody_need_wait_for_one(tmp_path):
    store = open_store(f"sqlite:///{tmp_path / 'db'}")
    records = Records(store, lambda _: ())
    record = records.start(API, DRAFT)
    ended = records.stop(API, record.id, ended_at=DRAFT.started_at, state=RecordState.COMPLETED)
    assert ended.monitoring == Monitoring.ARCHIVED
    records.tag(API, record.id, [BUG])
    records.delete(API, record.id)
    assert store.archiving.unwritten(failed=False, limit=9) == []
    store.close()
