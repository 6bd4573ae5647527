"""Export and import: the same records on both sides, and what becomes of files that are damaged."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from service.record_samples import ended, fill, samples, sums

from hpcgate.errors import Conflict, NotFound
from hpcgate.model.cluster_tables import ClusterTable, SubClusterTable
from hpcgate.model.record import Monitoring, Record, RecordState, RecordTag, Resource, Sharing, Source, TagScope
from hpcgate.service.record_archive import RecordArchive
from hpcgate.service.record_files import meta_of
from hpcgate.service.record_schemas import checker
from hpcgate.service.record_transfer import Fate, Outcome, checked, exported, imported
from hpcgate.store.database import Store, open_store

MANY = 120


def counts(outcomes) -> dict[Fate, int]:
    return dict(Counter(outcome.fate for outcome in outcomes))


def bad(outcomes) -> list[str]:
    return sorted(outcome.message for outcome in outcomes if outcome.fate is Fate.BAD)


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Store:
    """A gateway's records, and an archive of them that tests copy."""
    store = open_store(f"sqlite:///{tmp_path_factory.mktemp('source') / 'db'}")
    fill(store, MANY)
    yield store
    store.close()


@pytest.fixture(scope="module")
def exports(source, tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("exports") / "archive"
    table = ClusterTable(subclusters={"main": SubClusterTable(nodes="n[000-499]", sockets=2, cores=4, accelerators=1)})
    assert counts(exported(source, RecordArchive(root), {"fritz": table.cluster("fritz")})) == {
        Fate.DONE: MANY,
        Fate.OPEN: 1,
    }
    return root


@pytest.fixture
def archive(exports, tmp_path) -> RecordArchive:
    return RecordArchive(Path(shutil.copytree(exports, tmp_path / "archive")))


@pytest.fixture
def empty(tmp_path) -> Store:
    store = open_store(f"sqlite:///{tmp_path / 'empty.db'}")
    yield store
    store.close()


def meta_files(archive: RecordArchive) -> list[Path]:
    return list(archive.places())


def test_an_import_into_an_empty_gateway_gives_the_same_records_tags_and_sums(source, exports, database_url):
    archive = RecordArchive(exports)
    assert counts(checked(archive)) == {Fate.DONE: MANY}
    store = open_store(database_url)
    try:
        assert counts(imported(store, archive, archives=False)) == {Fate.DONE: MANY}
        assert ended(store) == ended(source)
        assert sums(store) == sums(source)
        # A second time there is nothing to do, and nothing is changed.
        assert counts(imported(store, archive, archives=False)) == {Fate.THERE: MANY}
        assert ended(store) == ended(source)
        assert store.archiving.unwritten(failed=False, limit=9) == []
    finally:
        store.close()


def test_what_was_interrupted_goes_on_where_it_was(source, archive, empty, monkeypatch):
    monkeypatch.setattr("hpcgate.service.record_transfer.BATCH", 25)
    halfway = imported(empty, archive, archives=False)
    for _ in range(60):
        next(halfway)
    halfway.close()
    assert 50 <= empty.archiving.count() < MANY
    done = counts(imported(empty, archive, archives=False))
    assert done[Fate.DONE] + done[Fate.THERE] == MANY
    assert done[Fate.THERE] >= 50
    assert ended(empty) == ended(source)


def test_an_export_writes_what_is_missing_or_has_changed(source, archive, empty):
    counts(imported(empty, archive, archives=False))
    (first, second, *_) = meta_files(archive)
    first.unlink()
    second.write_text("{")
    tagged = empty.archiving.after(MANY - 1, 1)[0]
    empty.records.tags.put(tagged.id, tagged.started_at, [RecordTag(type="new", name="one")])
    assert counts(exported(empty, RecordArchive(archive.root), {})) == {Fate.DONE: 3, Fate.THERE: MANY - 3}
    assert not list(archive.root.rglob(".*"))


def test_imported_records_get_into_the_gateways_own_archive_too(archive, empty):
    counts(imported(empty, archive, archives=True))
    waiting = len(empty.archiving.unwritten(failed=False, limit=9999))
    assert waiting == sum(record.monitoring == Monitoring.ARCHIVED for record in samples(MANY))


def change(path: Path, **changes) -> None:
    meta = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**meta, **changes}), encoding="utf-8")


DAMAGE = [
    (lambda path: path.unlink(), "cannot be read: No such file"),
    (lambda path: path.write_bytes(b""), "is no JSON"),
    (lambda path: path.write_bytes(path.read_bytes()[:200]), "is no JSON"),
    (lambda path: path.write_bytes(b"\xff\xfe{}"), "is no JSON"),
    (lambda path: path.write_text("[" * 100_000), "is no JSON"),
    (lambda path: path.write_text("[]"), "[] is not of type 'object'"),
    (lambda path: path.write_text('{"jobId": NaN}'), "is no JSON: NaN is no number"),
    (lambda path: path.write_bytes(path.read_bytes().replace(b'"smt":', b'"smt":1e999,"x":')), "1e999 is no number"),
    (lambda path: change(path, user=""), "user: '' should be non-empty"),
    (lambda path: change(path, user="a\0b"), "is no JSON: a text has the character 0"),
    (lambda path: change(path, user="\ud800"), "is no JSON"),
    (lambda path: change(path, jobState="running"), "jobState: 'running' is not one of"),
    (lambda path: change(path, duration=-1), "duration: -1 is less than the minimum"),
    (lambda path: change(path, jobId=2**64), "jobId: 18446744073709551616 is greater than"),
    (lambda path: change(path, jobId="7"), "jobId: '7' is not of type 'integer'"),
    (lambda path: change(path, cluster="../../etc"), "cluster: '../../etc' does not match"),
    (lambda path: change(path, startTime=1), "is of job "),
    (lambda path: change(path, numNodes=99), "num_nodes says 99"),
    (lambda path: change(path, tags=[{"type": "t"}]), "tags.0: 'name' is a required property"),
    (lambda path: change(path, statistics={"x": {"avg": 1}}), "statistics.x: "),
    (lambda path: change(path, resources=[{}]), "resources.0: 'hostname' is a required property"),
    (lambda path: change(path, user="u" * 5000), "user: has 5000 characters"),
]


def test_damaged_files_are_named_and_the_rest_goes_on(archive, empty):
    files = meta_files(archive)
    expected = []
    for place, (damage, said) in enumerate(DAMAGE):
        path = files[place * 5]
        damage(path)
        expected.append((str(path), said))
    for outcomes in (checked(archive), imported(empty, archive, archives=False)):
        seen = list(outcomes)
        assert counts(seen) == {Fate.DONE: MANY - len(DAMAGE), Fate.BAD: len(DAMAGE)}
        for (path, said), message in zip(sorted(expected), bad(seen), strict=True):
            assert message.startswith(f"{path}: ")
            assert said in message
    assert empty.archiving.count() == MANY - len(DAMAGE)


def test_a_script_may_speak_of_the_character_0(archive):
    path = meta_files(archive)[0]
    change(path, metaData={"jobScript": "#!/bin/sh\nprintf '\\u0000é'\n"})
    assert "\\u0000" in archive.read(path).metadata["jobScript"]


def test_a_damaged_description_of_a_cluster_is_named(archive):
    (archive.root / "fritz/cluster.json").write_text('{"name": "fritz"}')
    (archive.root / "alex/cluster.json").unlink()
    said = bad(checked(archive))
    assert [each.partition(": ")[0] for each in said] == [
        str(archive.root / name / "cluster.json") for name in ("alex", "fritz")
    ]
    assert "required property" in said[1]


def test_a_cluster_is_described_as_the_configuration_has_it(exports):
    fritz, alex = (RecordArchive(exports).read_cluster(name) for name in ("fritz", "alex"))
    (main,) = fritz["subClusters"]
    assert (main["nodes"], main["socketsPerNode"], main["coresPerSocket"]) == ("n[000-499]", 2, 4)
    assert main["topology"]["socket"] == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert (alex["name"], [each["name"] for each in alex["subClusters"]]) == ("alex", ["alex"])


def test_a_file_of_an_older_archive_is_read(tmp_path, empty):
    """As version 0.2.0 wrote them: no tags, units as text, ``exclusive`` as a number, and a file of measurements."""
    path = tmp_path / "old/emmy/1403/244/1608923076/meta.json"
    path.parent.mkdir(parents=True)
    (tmp_path / "old/version.txt").write_text("1\n")
    (path.parent / "data.json").write_text("{}")
    meta = {
        "jobId": 1403244,
        "user": "ada",
        "project": "no project",
        "cluster": "emmy",
        "subCluster": "haswell",
        "numNodes": 2,
        "exclusive": 2,
        "startTime": 1608923076,
        "stopTime": 1609009562,
        "duration": 86486,
        "jobState": "completed",
        "walltime": 10,
        "resources": [{"hostname": "e0102"}, {"hostname": "e0103"}],
        "statistics": {"cpu_load": {"unit": "load", "avg": 18.4, "min": 0, "max": 23.58}},
        "metaData": {"jobName": "pipeline"},
    }
    path.write_text(json.dumps(meta))
    assert counts(imported(empty, RecordArchive(tmp_path / "old"), archives=False)) == {Fate.DONE: 1}
    assert ended(empty) == [
        Record(
            number=1403244,
            user="ada",
            project="no project",
            cluster="emmy",
            subcluster="haswell",
            name="pipeline",
            num_nodes=2,
            sharing=Sharing.SINGLE_USER,
            monitoring=Monitoring.ARCHIVED,
            state=RecordState.COMPLETED,
            started_at=1608923076,
            duration_s=86486,
            walltime_s=10,
            resources=(Resource(hostname="e0102"), Resource(hostname="e0103")),
            source=Source.REPORTED,
            metadata=meta["metaData"],
            statistics=meta["statistics"],
        )
    ]


def test_the_scope_of_a_private_tag_is_its_owner_in_foreign_files_too(archive, empty):
    path = meta_files(archive)[0]
    tags = [{"id": 5, "type": "a", "name": "b", "scope": "ada"}, {"type": "c", "name": "d"}]
    change(path, tags=tags)
    assert archive.read(path).tags == (
        RecordTag(type="a", name="b", scope=TagScope.PRIVATE, owner="ada"),
        RecordTag(type="c", name="d"),
    )


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("GB", {"base": "B", "prefix": "G"}),
        ("MF/s", {"base": "F/s", "prefix": "M"}),
        ("load", {"base": "load"}),
        ("Packets/s", {"base": "Packets/s"}),
        ("", {"base": ""}),
        ({"base": "W"}, {"base": "W"}),
    ],
)
def test_units_are_written_in_parts(text, parts):
    (record,) = samples(1)
    meta = meta_of(replace(record, statistics={"x": {"unit": text, "avg": 1, "min": 1, "max": 1}}))
    assert meta["statistics"] == {"x": {"unit": parts, "avg": 1, "min": 1, "max": 1}}
    assert checker("meta")(meta) is None


def test_what_is_no_archive_is_left_alone(source, tmp_path):
    with pytest.raises(NotFound, match="there is no archive"):
        next(imported(source, RecordArchive(tmp_path / "gone"), archives=False))
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(NotFound, match="is no archive: it has no version"):
        next(checked(RecordArchive(tmp_path)))
    with pytest.raises(Conflict, match="is not empty, and no archive"):
        next(exported(source, RecordArchive(tmp_path), {}))
    (tmp_path / "version.txt").write_text("4\n")
    with pytest.raises(Conflict, match="version 4; up to 3 can be read"):
        next(checked(RecordArchive(tmp_path)))
    with pytest.raises(Conflict, match="version 4; 3 is written here"):
        next(exported(source, RecordArchive(tmp_path), {}))


def test_a_cluster_that_leads_out_of_the_archive_is_refused(empty, tmp_path):
    (record,) = samples(1)

    empty.records.insert([replace(record, cluster="../../x")])
    assert list(exported(empty, RecordArchive(tmp_path / "a"), {})) == [
        Outcome(Fate.BAD, "record 1: '../../x' can be no folder of an archive")
    ]


@pytest.mark.parametrize("kind", ["meta", "cluster"])
def test_the_schemas_are_schemas(kind):
    from jsonschema import Draft202012Validator

    from hpcgate.service import record_schemas

    Draft202012Validator.check_schema(getattr(record_schemas, kind.upper()))
    assert checker(kind)({}) is not None
