"""Records over HTTP and by the client: lists with every filter, tags, and the end of old ones."""

from __future__ import annotations

import pytest
from server.apitools import ADMIN, fields, problem

from hpcgate.client import Client
from hpcgate.model.record import Record, RecordState, RecordTag, Resource

BEGAN = 1_700_000_000
WHEN = "2023-11-14T22:13:20.000000Z"


@pytest.fixture
def made(gateway):
    """Three records of ann, the last one running, and one of bob."""
    for number in range(1, 5):
        gateway.records.start(
            ADMIN,
            Record(
                number=number,
                user="ann" if number < 4 else "bob",
                cluster="fritz" if number != 2 else "alex",
                project="p1",
                name=f"wave{number}",
                started_at=BEGAN + number // 2,
                num_nodes=number,
                resources=tuple(Resource(hostname=f"n{host}", hwthreads=(0, 1)) for host in range(number)),
                tags=(RecordTag(type="app", name="x"),) if number == 1 else (),
                metadata={"jobScript": "echo"},
                statistics={"mem_used": {"unit": "GB", "avg": 1}},
            ),
        )
    for number in (1, 2):
        gateway.records.stop(ADMIN, number, ended_at=BEGAN + 100 * number, state=RecordState.TIMEOUT)


def test_a_record_as_it_is_shown(ann, made):
    item = ann.get("records/1").json
    assert item == {
        "id": 1,
        "number": 1,
        "job_id": None,
        "attempt": 1,
        "array_number": None,
        "array_index": None,
        "name": "wave1",
        "user": "ann",
        "project": "p1",
        "cluster": "fritz",
        "subcluster": None,
        "partition": None,
        "site": None,
        "state": "timeout",
        "submitted_at": None,
        "started_at": WHEN,
        "ended_at": "2023-11-14T22:15:00.000000Z",
        "duration_s": 100,
        "walltime_s": None,
        "num_nodes": 1,
        "num_hwthreads": 0,
        "num_accelerators": 0,
        "sharing": "none",
        "smt": 0,
        "monitoring": 3,
        "resources": [{"hostname": "n0", "hwthreads": [0, 1], "accelerators": [], "configuration": None}],
        "tags": [{"id": 1, "type": "app", "name": "x", "scope": "global"}],
        "source": "reported",
        "metadata": {"jobScript": "echo"},
        "statistics": {"mem_used": {"unit": "GB", "avg": 1}},
    }
    listed = ann.get("records?number=1").json["items"][0]
    assert listed == {name: value for name, value in item.items() if name not in ("metadata", "statistics")}
    assert ann.get("records?number=1&details=true").json["items"] == [item]
    problem(ann.get("records/4"), 404, "not_found")


FOUND = {
    "": [3, 2, 1],
    "state=running": [3],
    "state=RUNNING,timeout&state=failed": [3, 2, 1],
    "cluster=fritz": [3, 1],
    "subcluster=main": [],
    "user=ann&user=bob": [3, 2, 1],
    "user=bob": [],
    "project=p1&name=wave2": [2],
    "partition=short": [],
    "number=3": [3],
    "array_number=0": [3, 2, 1],
    "job_id=1": [],
    "tag=app:x": [1],
    "node=n1": [3, 2],
    f"started_from={BEGAN + 1}": [3, 2],
    f"started_from={BEGAN}.5": [3, 2],
    f"started_to={WHEN}": [1],
    f"ended_from={BEGAN + 101}&ended_to={BEGAN + 300}": [2],
    "min_duration_s=150": [3, 2],
    "max_duration_s=150": [1],
    "min_nodes=2&max_nodes=2": [2],
    "source=gateway": [],
}
WRONG = {
    "state=done": "state",
    "started_from=yesterday": "started_from",
    "min_nodes=-1": "min_nodes",
    "number=x": "number",
    "number=9223372036854775808": "number",
    "source=else": "source",
    "cursor=none": "cursor",
    "limit=1001": "limit",
    "owner=ann": "owner",
}


def test_each_parameter_filters_the_list(ann, made):
    answers = {query: ann.get(f"records?{query}") for query in FOUND}
    assert {query: [item["number"] for item in answer.json["items"]] for query, answer in answers.items()} == FOUND


def test_a_wrong_parameter_is_named(ann):
    answers = {query: ann.get(f"records?{query}") for query in WRONG}
    assert {answer.status_code for answer in answers.values()} == {422}
    assert {query: next(iter(fields(answer.json))).partition(".")[0] for query, answer in answers.items()} == WRONG


def test_pages_and_the_count(root, made):
    first = root.get("records?limit=3&count=true").json
    assert (first["total"], [item["number"] for item in first["items"]]) == (4, [4, 3, 2])
    rest = root.get(f"records?limit=3&cursor={first['next_cursor']}").json
    assert ([item["number"] for item in rest["items"]], rest["next_cursor"], "total" in rest) == ([1], None, False)


def test_tags_and_deletion_by_the_client(ann, front, listen, tmp_path, made):
    token = (tmp_path / "home" / "root.token").read_text()
    with Client(f"http://127.0.0.1:{listen(front)}", token) as client:
        assert [tag["name"] for tag in client.tag_record(2, [{"type": "t", "name": "a"}])["tags"]] == ["a"]
        secret = {"type": "t", "name": "b", "scope": "private"}
        assert [tag["scope"] for tag in client.tag_record(2, [secret])["tags"]] == ["global", "private"]
        assert [tag["name"] for tag in client.untag_record(2, [{"type": "t", "name": "a"}])["tags"]] == ["b"]
        assert ann.get("records/2").json["tags"] == []
        assert client.delete_records_before(BEGAN + 2, keep="user", dry_run=True) == 2
        assert client.delete_records_before(WHEN) == 0
        client.delete_record(2)
        assert [item["number"] for item in client.records(user=["ann"])] == [3, 1]
        assert client.records_page(count=True, limit=1)["total"] == 3
        assert client.record(1)["number"] == 1
        assert client.delete_records_before(BEGAN + 1) == 1


def test_what_is_not_allowed_or_not_said_is_refused(ann, made):
    problem(ann.post("records/2/tags", {"tags": [{"type": "t", "name": "x", "scope": "admin"}]}), 403, "forbidden")
    problem(ann.delete("records?before=5"), 403, "forbidden")
    problem(ann.delete("records/4"), 403, "forbidden")
    assert "before" in fields(problem(ann.delete("records"), 422, "invalid_spec"))
    assert "before" in fields(problem(ann.delete("records?before=soon"), 422, "invalid_spec"))
    assert ann.post("records/2/tags", {"tags": [{"type": "t"}]}).status_code == 422
