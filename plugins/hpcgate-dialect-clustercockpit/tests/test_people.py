"""Users and tokens, clusters and nodes."""

from __future__ import annotations

import time

import jwt
import pytest
from cctools import OPERATOR, T0
from hpcgate_dialect_clustercockpit.mapping import node_state

from hpcgate.model.allocation import Project


@pytest.fixture(scope="module")
def admin(service):
    service.gateway.projects.create(OPERATOR, Project(name="p1", site="fake"))
    return service.login("root", "admin")


def create(admin, status=200, **fields):
    answer = admin("POST", "/api/users/", data=fields)
    assert answer.status_code == status, answer.text
    return answer


def listed(admin, query=""):
    return {user["username"]: user for user in admin.ask("GET", f"/api/users/{query}")}


def test_a_user_is_made_listed_and_removed(admin):
    given = {"username": "eve", "password": "long enough", "role": "user", "name": "Eve", "email": "eve@example.org"}
    answer = create(admin, **given)
    assert answer.content_type == "text/plain; charset=utf-8"
    assert answer.text == "User eve successfully created!\n"
    expected = {"username": "eve", "name": "eve", "roles": ["user"], "email": "eve@example.org", "projects": []}
    assert listed(admin)["eve"] == expected
    assert "eve" not in listed(admin, "?not-just-user=true")
    assert "root" in listed(admin, "?not-just-user=true")
    create(admin, 422, **given)
    assert admin("DELETE", "/api/users/", data={"username": "eve"}).status_code == 200
    assert "eve" not in listed(admin)
    admin.ask("DELETE", "/api/users/?username=eve", status=422)


def test_who_may_be_made(admin):
    create(admin, username="robot", role="api")
    query = admin("PUT", "/api/users/?username=boss&password=long%20enough&role=manager&project=p1")
    assert query.status_code == 200, query.text
    assert listed(admin)["boss"]["projects"] == ["p1"]
    for wrong, status in (
        ({"username": "x", "role": "user"}, 400),
        ({"username": "x", "role": "user", "password": "long enough", "project": "p1"}, 400),
        ({"username": "x", "role": "king", "password": "long enough"}, 422),
        ({"username": "x", "role": "user", "password": "short"}, 422),
        ({"username": "a b", "role": "user", "password": "long enough"}, 422),
        ({"username": "x", "role": "user", "password": "long enough", "email": "none"}, 422),
    ):
        create(admin, status, **wrong)
    assert "x" not in listed(admin)


def test_roles_and_projects_change(admin):
    create(admin, username="max", role="user", password="long enough")
    for form, text in (
        ({"add-role": "manager"}, "Add Role Success"),
        ({"remove-role": "user"}, "Remove Role Success"),
        ({"add-project": "p1"}, "Add Project Success"),
    ):
        assert admin("POST", "/api/user/max", data=form).text == text
    assert (listed(admin)["max"]["roles"], listed(admin)["max"]["projects"]) == (["manager"], ["p1"])
    assert admin.ask("POST", "/api/user/max", {"remove-project": "p1"}) == {"msg": "Remove Project Success"}
    assert admin.ask("POST", "/api/user/max", {"add-role": "user"}) == {"msg": "Add Role Success"}
    assert (listed(admin)["max"]["roles"], listed(admin)["max"]["projects"]) == (["manager", "user"], [])
    for wrong in ({"add-role": "user"}, {"remove-role": "api"}, {"add-role": "king"}, {"add-project": "none"}):
        admin.ask("POST", "/api/user/max", wrong, status=422)
    admin.ask("POST", "/api/user/nobody", {"add-role": "api"}, status=422)
    admin.ask("POST", "/api/user/max", {}, status=400)
    admin.ask("POST", "/api/user/max", status=400, data={"x": "y"})


def test_only_admins_manage_users(service, api):
    ada = service.login("ada")
    for user in (ada, api):
        for method, path in (
            ("GET", "/api/users/"),
            ("POST", "/api/users/"),
            ("DELETE", "/api/users/"),
            ("POST", "/api/user/ada"),
        ):
            assert "missing role: admin" in user.ask(method, path, status=403)


def test_a_token_is_made_for_oneself_and_by_admins_for_anybody(service, admin):
    bob = service.login("bob")
    answer = bob("GET", "/api/jwt/?username=bob")
    assert answer.content_type == "text/plain; charset=utf-8"
    assert jwt.decode(answer.text, options={"verify_signature": False})["aud"] == "hpcgate/clustercockpit"
    assert bob("GET", "/userapi/jobs/", headers={"X-Auth-Token": answer.text}).status_code == 200
    assert admin("GET", "/api/jwt/?username=bob").status_code == 200
    bob.ask("GET", "/api/jwt/?username=root", status=403)
    admin.ask("GET", "/api/jwt/?username=nobody", status=422)


# --- clusters and nodes


def test_clusters_are_told(api):
    fritz, other = api.ask("GET", "/api/clusters/")["clusters"]
    assert (fritz["name"], other["name"]) == ("fritz", "open")
    main = fritz["subClusters"][0]
    assert (main["name"], main["nodes"], main["socketsPerNode"], main["coresPerSocket"]) == ("main", "f[001-100]", 2, 2)
    assert main["topology"] == {
        "node": [0, 1, 2, 3, 4, 5, 6, 7],
        "socket": [[0, 1, 4, 5], [2, 3, 6, 7]],
        "memoryDomain": [[0, 1, 4, 5], [2, 3, 6, 7]],
        "core": [[0, 4], [1, 5], [2, 6], [3, 7]],
        "accelerators": [],
    }
    assert api.ask("GET", "/api/clusters?cluster=open")["clusters"] == [other]
    assert "unknown cluster: x" in api.ask("GET", "/api/clusters/?cluster=x", status=400)


def test_used_nodes(api):
    nodes = [{"hostname": name} for name in ("f002", "f001")]
    api.start(numNodes=2, resources=nodes, startTime=T0)
    ended = api.start(resources=[{"hostname": "f003"}], startTime=T0)
    api.ask("POST", f"/api/jobs/stop_job/{ended['id']}", {"stopTime": T0 + 1})
    assert api.ask("GET", f"/api/jobs/used_nodes?ts={T0 + 1}") == {"usedNodes": {"fritz": ["f001", "f002"]}}
    assert api.ask("GET", f"/api/jobs/used_nodes/?ts={T0}") == {"usedNodes": {}}
    for wrong in ("", "?ts=", "?ts=x"):
        assert "ts" in api.ask("GET", f"/api/jobs/used_nodes{wrong}", status=400)


def test_what_nodes_do_is_taken_down(service, api):
    node = {"states": ["IDLE"], "cpusAllocated": 3, "memoryAllocated": 4, "gpusAllocated": 1, "jobsRunning": 2}
    for method, key, host in (("POST", "nodes", "f001"), ("PUT", "node", "f002")):
        body = {"cluster": "fritz", key: [{"hostname": host, "cpusTotal": 8, **node}]}
        answer = api(method, "/api/nodestate/", body)
        assert (answer.status_code, answer.data) == (200, b"")
    found = service.gateway.records.nodes(OPERATOR, "fritz")
    assert [(each.hostname, each.state, each.cpus, each.memory_mib, each.gpus, each.jobs) for each in found] == [
        ("f001", "idle", 3, 4, 1, 2),
        ("f002", "idle", 3, 4, 1, 2),
    ]
    assert all(abs(each.at - time.time()) < 60 for each in found)
    for wrong in (
        b"",
        {"cluster": "fritz", "colour": 1},
        {"cluster": "", "nodes": [{"hostname": "x"}]},
        {"nodes": [{}]},
    ):
        api.ask("POST", "/api/nodestate/", wrong, status=400)


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        (["IDLE"], "idle"),
        (["idle", "allocated"], "allocated"),
        (["reserved", "IDLE"], "reserved"),
        (["idle", "down"], "down"),
        (["down", "mixed"], "down"),
        (["mixed"], "mixed"),
        (["drain"], "unknown"),
        ([], "unknown"),
    ],
)
def test_a_node_has_one_state(states, expected):
    assert node_state(states) == expected
