"""Statistics over HTTP."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Callable, Iterator

import pytest
from server.apitools import Api, fields, problem, token_for

from hpcgate.config import config_from
from hpcgate.gateway import Gateway, open_gateway
from hpcgate.model.principal import Role
from hpcgate.model.record import Record, RecordState, Resource
from hpcgate.server import create_app
from hpcgate.testing.fakes import FakeScheduler

HOUR, DAY = 3600, 86_400
#: 2026-01-31T12:00:00Z
NOON = 1_769_860_800


def record(user: str, **fields) -> Record:
    values = {"started_at": NOON, "duration_s": HOUR, "state": RecordState.COMPLETED, "cluster": "fritz", **fields}
    return Record(number=1, user=user, resources=(Resource(hostname="f1"),), **values)


RECORDS = (
    record("ann", project="brain", subcluster="main", num_nodes=2, num_hwthreads=144, submitted_at=NOON - 1800),
    record("ann", project="brain", subcluster="spr", duration_s=60, state=RecordState.FAILED, started_at=NOON - DAY),
    record("bob", project="brain", cluster="alex", subcluster="main", num_accelerators=8, duration_s=10 * HOUR),
    record("bob", project="heart", subcluster="main", duration_s=0, state=RecordState.CANCELLED),
    record("eve", subcluster="main", num_nodes=4, state=RecordState.TIMEOUT, duration_s=DAY),
)


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    home = tmp_path_factory.mktemp("statistics")
    site = {"scheduler": "fake", "work_root": str(home / "work"), "identity": {"shared_account": True}}
    projects = {
        "brain": {
            "site": "fake",
            "hours": 1,
            "total_hours": 100,
            "weighting": "core",
            "members": {"ann": {"hours": 5}},
        },
        "idle": {"site": "fake", "members": {"ann": {}}},
        "secret": {"site": "fake"},
    }
    config = config_from({"sites": {"fake": site}, "projects": projects}, home=home)
    with open_gateway(config, plugins=[("fake", FakeScheduler())]) as gateway:
        gateway.store.records.insert(RECORDS)
        yield gateway


@pytest.fixture(scope="module")
def login(filled: Gateway) -> Iterator[Callable[..., Api]]:
    front = create_app(filled)

    def make(name: str, *roles: Role) -> Api:
        return Api(front, token_for(filled, name, *roles))

    yield make
    front.stop()


@pytest.fixture(scope="module")
def root(login) -> Api:
    return login("root", Role.ADMIN, Role.USER)


@pytest.fixture(scope="module")
def ann(login) -> Api:
    return login("ann", Role.USER)


def ask(api: Api, query: str):
    response = api.get(f"stats?{query}")
    assert response.status_code == 200, response.text
    return response.json


def jobs(answer, *names: str):
    return {tuple(item[name] for name in names): item["jobs"] for item in answer["items"]}


def test_the_sums_of_each_user_and_of_all(root):
    answer = ask(root, "group_by=user")
    assert [item["user"] for item in answer["items"]] == ["eve", "bob", "ann"], "most node hours first"
    assert answer["items"][2] == {
        "user": "ann",
        "jobs": 2,
        "running": 0,
        "short_jobs": 1,
        "run_hours": 1.0167,
        "node_hours": 2.0167,
        "core_hours": 144.0,
        "accelerator_hours": 0.0,
        "wait_hours": 0.5,
        "waited": 1,
    }
    assert (answer["groups"], answer["total"]["jobs"], answer["total"]["accelerator_hours"]) == (3, 5, 80.0)
    assert answer["total"]["node_hours"] == pytest.approx(sum(item["node_hours"] for item in answer["items"]), abs=1e-3)


def test_each_way_to_group(root):
    assert jobs(ask(root, "group_by=project"), "project") == {("brain",): 3, ("heart",): 1, ("",): 1}
    assert jobs(ask(root, "group_by=cluster"), "cluster") == {("fritz",): 4, ("alex",): 1}
    places = {("fritz", "main"): 3, ("fritz", "spr"): 1, ("alex", "main"): 1}
    assert jobs(ask(root, "group_by=subcluster"), "cluster", "subcluster") == places
    assert jobs(ask(root, "group_by=state"), "state") == {
        ("completed",): 2,
        ("failed",): 1,
        ("cancelled",): 1,
        ("timeout",): 1,
    }
    days = ask(root, "group_by=day")
    assert [(item["day"], item["jobs"]) for item in days["items"]] == [("2026-01-30", 1), ("2026-01-31", 4)]


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("cluster=fritz", 4),
        ("cluster=fritz&cluster=alex", 5),
        ("cluster=fritz&subcluster=main", 3),
        ("user=ann&user=eve", 3),
        ("user=ann&project=brain&cluster=fritz&state=failed", 1),
        ("project=", 1),
        ("state=failed,timeout", 2),
        ("state=running", 0),
        ("since=2026-01-31T00:00:00Z", 4),
        ("until=2026-01-31T00:00:00Z", 1),
        ("since=2026-01-30T12:00:00Z&until=2026-01-31T12:00:00Z", 1),
        ("since=2026-01-30T12:00:00.5Z&until=2026-01-31T12:00:00.5Z", 4),
        ("since=2026-01-01T00:00:00Z&until=2026-02-01T00:00:00Z", 5),
        ("cluster=nowhere", 0),
    ],
)
@pytest.mark.parametrize("group_by", ["user", "day"])
def test_filters_and_windows(root, query, count, group_by):
    assert ask(root, f"group_by={group_by}&{query}")["total"]["jobs"] == count


def test_order_and_limit(root):
    by_name = ask(root, "group_by=user&sort=name&limit=2")
    assert ([item["user"] for item in by_name["items"]], by_name["groups"]) == (["ann", "bob"], 3)
    assert by_name["total"]["jobs"] == 5, "over all groups"
    assert next(item["user"] for item in ask(root, "group_by=user&sort=core_hours")["items"]) == "ann"


def test_histograms(root):
    answer = ask(root, "group_by=user&user=ann&histogram=duration,nodes&histogram=wait")
    (item,) = answer["items"]
    assert list(item["histograms"]) == ["duration", "nodes", "wait"]
    assert item["histograms"]["duration"] == [0, 1, 0, 0, 1, 0, 0, 0, 0]
    assert item["histograms"]["nodes"] == [1, 1, *[0] * 8]
    assert item["histograms"]["wait"] == [0, 0, 0, 1, 0, 0, 0, 0]
    assert answer["bins"]["duration"] == {
        "unit": "seconds",
        "from": [0, 60, 300, 900, 3600, 14400, 43200, 86400, 172800],
    }
    assert answer["total"]["histograms"] == item["histograms"]


def test_what_runs_counts_so_far(filled, root):
    began = int(time.time()) - 2 * HOUR
    new = filled.store.records.insert([record("zoe", state=RecordState.RUNNING, started_at=began, duration_s=0)])
    try:
        (item,) = ask(root, "group_by=user&user=zoe&histogram=duration&histogram=nodes")["items"]
        assert (item["jobs"], item["running"], item["short_jobs"]) == (1, 1, 0)
        assert 2 <= item["node_hours"] < 2.1
        assert (sum(item["histograms"]["duration"]), sum(item["histograms"]["nodes"])) == (0, 1)
        ended = filled.store.records.stop(new[0].id, ended_at=began + HOUR, state=RecordState.COMPLETED, archived=False)
        assert ended.state.final
        (item,) = ask(root, "group_by=user&user=zoe")["items"]
        assert (item["jobs"], item["running"], item["node_hours"]) == (1, 0, 1.0)
    finally:
        filled.store.records.delete([new[0].id])


# --- whose


def test_a_user_counts_its_own_jobs(ann):
    assert jobs(ask(ann, "group_by=user"), "user") == {("ann",): 2}
    assert ask(ann, "group_by=user&user=bob")["items"] == []
    assert ask(ann, "group_by=cluster")["total"]["jobs"] == 2


def test_a_manager_counts_its_projects_too(filled, login):
    manager = login("ada", Role.MANAGER)
    assert ask(manager, "group_by=user")["items"] == []
    project = {"name": "heart", "site": "fake"}
    root = login("boss", Role.ADMIN)
    assert root.post("projects", project).status_code == 201
    assert root("PUT", "projects/heart/members/ada", {}).status_code == 201
    assert jobs(ask(manager, "group_by=user"), "user") == {("bob",): 1}
    assert root.delete("projects/heart").status_code == 204


def test_operators_and_reporters_count_all_jobs(login):
    for name, role in (("sue", Role.SUPPORT), ("sync", Role.API)):
        assert ask(login(name, role), "group_by=user")["total"]["jobs"] == 5
    problem(login("portal", Role.DELEGATE).get("stats?group_by=user"), 403, "forbidden")


# --- quota


def test_projects_against_their_quota(filled, root, ann):
    book = "INSERT INTO quota_balance (project, principal, used_s, reserved_s, used_kb, reserved_kb) "
    for name, used, reserved in (("ann", 2, 0), ("bob", 3, 1)):
        values = ("brain", name, used * HOUR, reserved * HOUR)
        filled.store._session.execute(f"{book} VALUES (?, ?, ?, ?, 0, 0)", values)
    items = {item["project"]: item for item in ask(root, "group_by=project&quota=true")["items"]}
    assert items.keys() == {"brain", "heart", "", "idle", "secret"}
    time_ = {"granted": 100 * HOUR, "used": 5 * HOUR, "reserved": HOUR, "left": 94 * HOUR}
    assert (items["brain"]["quota"]["total"]["time"], items["brain"]["quota"]["own"]) == (time_, None)
    assert items["brain"]["quota"]["weighting"] == "core"
    assert (items["idle"]["jobs"], items["idle"]["quota"]["total"]["time"]["granted"]) == (0, None)
    assert (items["heart"]["quota"], items[""]["quota"]) == (None, None)

    mine = {item["project"]: item for item in ask(ann, "group_by=project&quota=true")["items"]}
    assert mine.keys() == {"brain", "idle"}
    assert mine["brain"]["quota"]["own"]["time"]["left"] == 3 * HOUR
    assert ask(ann, "group_by=project&quota=true&project=idle")["groups"] == 1
    rows = list(csv.DictReader(io.StringIO(ann.get("stats?group_by=project&quota=true&format=csv").text)))
    assert [(row["project"], row["quota_used_hours"], row["quota_left_hours"]) for row in rows] == [
        ("brain", "5.0", "94.0"),
        ("idle", "0.0", ""),
    ]


# --- forms


@pytest.mark.parametrize(
    ("query", "accept"),
    [
        ("&format=csv", None),
        ("&format=csv", "application/json"),
        ("", "text/csv"),
        ("", "text/csv, application/json;q=0.5"),
    ],
)
def test_csv(root, query, accept):
    headers = {} if accept is None else {"Accept": accept}
    response = root.get(f"stats?group_by=subcluster&histogram=nodes{query}", headers=headers)
    assert (response.status_code, response.mimetype, response.headers["Vary"]) == (200, "text/csv", "Accept")
    assert response.headers["Content-Disposition"].startswith("attachment;")
    rows = list(csv.DictReader(io.StringIO(response.text)))
    assert [(row["cluster"], row["subcluster"], row["jobs"], row["nodes_from_1"]) for row in rows] == [
        ("fritz", "main", "3", "1"),
        ("alex", "main", "1", "1"),
        ("fritz", "spr", "1", "1"),
    ]


@pytest.mark.parametrize("accept", [None, "*/*", "application/json", "text/html", "application/json, text/csv;q=0.9"])
def test_json_is_what_there_is_otherwise(root, accept):
    response = root.get("stats?group_by=user", headers={} if accept is None else {"Accept": accept})
    assert response.mimetype == "application/json"


@pytest.mark.parametrize(
    ("query", "code", "field", "said"),
    [
        ("", "invalid_spec", "group_by", "required"),
        ("group_by=colour", "invalid_spec", "group_by", "user"),
        ("group_by=user&state=runing", "invalid_spec", "state", "running"),
        ("group_by=user&histogram=node", "invalid_spec", "histogram", "nodes"),
        ("group_by=user&since=yesterday", "invalid_spec", "since", "RFC 3339"),
        ("group_by=user&since=2000&until=1000", "invalid_spec", "until", "before since"),
        ("group_by=user&quota=true", "invalid_spec", "quota", "group by project"),
        ("group_by=user&sort=colour", "invalid_spec", "sort", "node_hours"),
        ("group_by=user&limit=0", "invalid_spec", "limit", "1"),
        ("group_by=user&colour=red", "invalid_spec", "colour", "unknown"),
        ("group_by=user&user=%ED%A0%80", None, None, None),
    ],
)
def test_mistakes_are_named(root, query, code, field, said):
    response = root.get(f"stats?{query}")
    if code is None:
        assert response.status_code in (200, 422)
        return
    body = problem(response, 422, code)
    assert said in fields(body)[field], fields(body)
