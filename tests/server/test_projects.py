"""Projects and shares over HTTP."""

from __future__ import annotations

from typing import Any

import pytest
from server.apitools import SCRIPT, Api, fields, problem
from support import eventually

from hpcgate.model.state import JobState

HOUR = 3600


def lasting(hours: float, **more: Any) -> dict[str, Any]:
    return {"script": SCRIPT, "resources": {"walltime_s": int(hours * HOUR)}, **more}


def test_the_life_of_a_project(root: Api, ann: Api, work, fake, gateway) -> None:
    made = root.post("projects", {"name": "brain", "site": "fake.example.org", "hours": 1.5, "space_kb": 100})
    assert (made.status_code, made.json["site"], made.json["own"]) == (201, "fake", None)
    assert made.headers["Location"].endswith("/api/v1/projects/brain")
    problem(root.post("projects", {"name": "brain", "site": "fake"}), 409, "conflict")
    problem(ann.get("projects/brain"), 404, "not_found")
    assert ann.get("projects").json["items"] == []

    assert root("PUT", "projects/brain/members/ann", {"hours": 3}).status_code == 201
    assert root("PUT", "projects/brain/members/ann", {"hours": 2}).json["balance"]["time"]["granted"] == 2 * HOUR
    job = ann.submit(**lasting(1, project="brain"))
    own = ann.get("projects/brain").json["own"]
    assert own["time"] == {"granted": 2 * HOUR, "used": 0, "reserved": HOUR, "left": HOUR}
    assert own["space"] == {"granted": 100, "used": 0, "reserved": 1, "left": 99}

    body = problem(ann.post("jobs", lasting(1.5, project="brain")), 409, "quota_exceeded")
    assert body["quota"] == {"project": "brain", "quota": "time", "asked": 5400, "left": 3600}
    dry = ann.post("jobs/validate", lasting(1.5, project="brain")).json
    assert (dry["valid"], dry["errors"][0]["field"]) == (False, "project")
    bulk = ann.post("jobs/bulk", {"jobs": [lasting(1.5, project="brain"), lasting(0.5, project="brain")]}).json["items"]
    assert [item["status"] for item in bulk] == [409, 201]
    assert bulk[0]["error"]["quota"]["left"] == 3600

    problem(root.delete("projects/brain"), 409, "conflict")
    fake.set_state(gateway.store.jobs.get(job["id"]), JobState.COMPLETED, started_at=1000.0, ended_at=1600.0)
    ann.post(f"jobs/{bulk[1]['job']['id']}/cancel")
    eventually(lambda: work() or ann.get("projects/brain").json["own"]["time"]["reserved"] == 0)
    assert root.get("projects/brain").json["total"]["time"] == {
        "granted": None,
        "used": 600,
        "reserved": 0,
        "left": None,
    }
    (member,) = ann.get("projects/brain/members").json["items"]
    assert (member["name"], member["hours"], member["balance"]["time"]["used"]) == ("ann", 2.0, 600)
    assert ann.get(f"jobs/{job['id']}").json["project"] == "brain"

    changed = root("PATCH", "projects/brain", {"hours": None, "weighting": "core", "default": True})
    assert (changed.json["hours"], changed.json["weighting"], changed.json["default"]) == (None, "core", True)
    assert root.delete("projects/brain").status_code == 204
    problem(root.get("projects/brain"), 404, "not_found")


@pytest.mark.parametrize(
    ("wanted", "field", "message"),
    [
        ({"name": "a b", "site": "fake"}, "name", "is no name"),
        ({"name": "a", "site": "fak"}, "site", "did you mean 'fake'"),
        ({"name": "a", "site": "fake", "qos": "fast"}, "qos", "cannot honour"),
        ({"name": "a", "site": "fake", "account": "-x"}, "account", "is not a name"),
        ({"name": "a", "site": "fake", "hours": -1}, "hours", "greater than or equal to 0"),
        ({"name": "a", "site": "fake", "weighting": "gpu"}, "weighting", "wall, node, core"),
        ({"name": "a"}, "site", "missing"),
    ],
)
def test_what_is_no_project(refused_admin: Api, wanted: Any, field: str, message: str) -> None:
    assert message in fields(problem(refused_admin.post("projects", wanted), 422, "invalid_spec"))[field]


@pytest.mark.parametrize(
    ("wanted", "field", "message"),
    [
        ({"capacity": 60, "max_capacity": 50, "cpus": 8}, "max_capacity", "from capacity (60) to 100"),
        ({"capacity": 10, "max_capacity": 50}, "cpus", "is required"),
        ({"queue": "two words"}, "queue", "is not a name"),
        ({"capacity": 101}, "capacity", "100"),
    ],
)
def test_what_is_no_share(refused_admin: Api, wanted: Any, field: str, message: str) -> None:
    answer = refused_admin.post("shares", {"name": "a", "site": "fake", **wanted})
    assert message in fields(problem(answer, 422, "invalid_spec"))[field]


def test_what_stands_in_the_configuration_is_read_only(make_gateway, serve, login) -> None:
    gateway = make_gateway(
        projects={"brain": {"site": "fake", "hours": 1, "members": {"ann": {"hours": 5}}}},
        shares={"gpu": {"site": "fake", "members": ["ann"]}},
    )
    front = serve(gateway)
    root, ann, bob = (login(front, name) for name in ("root", "ann", "bob"))
    for kind, name, change in (("projects", "brain", {"hours": 2}), ("shares", "gpu", {"queue": "q"})):
        shown = ann.get(f"{kind}/{name}")
        assert shown.json["managed_by_config"] is True
        problem(bob.get(f"{kind}/{name}"), 404, "not_found")
        problem(root("PATCH", f"{kind}/{name}", change), 409, "managed_by_config")
        problem(root.delete(f"{kind}/{name}"), 409, "managed_by_config")
        problem(root("PUT", f"{kind}/{name}/members/bob", {}), 409, "managed_by_config")
        problem(root.delete(f"{kind}/{name}/members/ann"), 409, "managed_by_config")
        problem(root.post(kind, {"name": name, "site": "fake"}), 409, "conflict")
        problem(ann("PATCH", f"{kind}/{name}", change), 403, "forbidden")
    assert ann.get("projects/brain").json["own"]["time"]["granted"] == 5 * HOUR


def test_lists_go_on_where_they_ended(root: Api) -> None:
    for number in range(5):
        root.post("projects", {"name": f"p{number}", "site": "fake"})
        root("PUT", f"projects/p0/members/u{number}", {})
    seen, cursor = [], ""
    while cursor is not None:
        page = root.get(f"projects?limit=2{cursor and f'&cursor={cursor}'}").json
        seen += [item["name"] for item in page["items"]]
        cursor = page["next_cursor"]
    assert seen == [f"p{number}" for number in range(5)]
    first = root.get("projects/p0/members?limit=3").json
    rest = root.get(f"projects/p0/members?limit=3&cursor={first['next_cursor']}").json
    assert [item["name"] for item in first["items"] + rest["items"]] == [f"u{number}" for number in range(5)]
    problem(root.get("projects?cursor=!"), 422, "invalid_spec")


def test_a_share_holds_back_what_it_has_no_room_for(root: Api, ann: Api, work, fake, gateway) -> None:
    wanted = {"name": "small", "site": "fake", "queue": "main", "capacity": 25, "max_capacity": 50, "cpus": 16}
    assert root.post("shares", wanted).status_code == 201
    six = {"script": SCRIPT, "share": "small", "resources": {"tasks": 6, "memory_mib": 100}}
    body = problem(ann.post("jobs", {**six, "resources": {"tasks": 9}}), 422, "invalid_spec")
    assert fields(body) == {"resources": "ask for 9 cores; share 'small' has at most 8"}
    body = problem(ann.post("jobs", {**six, "array": "0-9"}), 422, "invalid_spec")
    assert fields(body) == {"array": "must have a limit of 1 for share 'small', e.g. 0-99%1"}
    body = problem(ann.post("jobs", {**six, "queue": "other"}), 422, "invalid_spec")
    assert "share 'small' has 'main'" in fields(body)["queue"]

    first = ann.submit(**six)
    assert fake.job(first["key"]).job.spec.queue == "main"
    second = ann.post("jobs", six)
    assert second.status_code == 202
    assert second.json["message"] == "waits until share 'small' has room for it"
    assert len(fake.jobs) == 1

    def usage() -> dict[str, Any]:
        return ann.get("shares/small").json["usage"]

    fake.set_state(first["key"], JobState.RUNNING)
    eventually(lambda: work() or usage()["active"] == 1)
    assert usage() == {
        "cpus_total": 16,
        "used_capacity": 37.5,
        "cpus": 6,
        "memory_mib": 100,
        "gpus": 0,
        "active": 1,
        "pending": 1,
        "waiting": 1,
        "counts": {"RUNNING": 1, "SUBMITTING": 1},
    }
    problem(root.delete("shares/small"), 409, "conflict")
    fake.set_state(first["key"], JobState.COMPLETED)
    eventually(lambda: work() or len(fake.jobs) == 2)
    ann.post(f"jobs/{second.json['id']}/cancel")
    eventually(lambda: work() or usage()["counts"] == {})
    assert root.delete("shares/small").status_code == 204


def test_a_share_that_is_not_open_lets_members_in(root: Api, ann: Api, bob: Api) -> None:
    root.post("shares", {"name": "gpu", "site": "fake", "open": False})
    root("PUT", "shares/gpu/members/ann")
    assert ann.submit(share="gpu")["state"] == "QUEUED"
    problem(bob.post("jobs", {"script": SCRIPT, "share": "gpu"}), 422, "invalid_spec")
    assert root.post("jobs", {"script": SCRIPT, "share": "gpu"}).status_code == 201, "an admin may everywhere"
    assert [item["name"] for item in ann.get("shares/gpu/members").json["items"]] == ["ann"]
    assert root.delete("shares/gpu/members/ann").status_code == 204
    problem(ann.get("shares/gpu"), 404, "not_found")


def test_the_size_of_a_site_is_asked_for_once(root: Api, ann: Api, fake) -> None:
    root.post("shares", {"name": "all", "site": "fake"})
    for _ in range(3):
        assert ann.get("shares/all").json["usage"]["cpus_total"] == 1024
    assert fake.calls["describe"] == 1
