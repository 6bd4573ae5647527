"""Who gets in, from where, and to what."""

from __future__ import annotations

import re

import pytest
from cctools import OPERATOR, T0, Service, error_of

from hpcgate.config import config_from
from hpcgate.errors import ConfigError
from hpcgate.gateway import open_gateway
from hpcgate.model.allocation import Grant, Project
from hpcgate.server import create_app

API = "/api/jobs/?items-per-page=-1"
USERAPI = "/userapi/jobs/?items-per-page=-1"


@pytest.fixture(scope="module")
def people(service, api):
    """Users of all kinds; ada and bob have a job each, ada's in a project that the manager has."""
    gateway = service.gateway
    gateway.projects.create(OPERATOR, Project(name="p1", site="fake"))
    gateway.projects.put_member(OPERATOR, "p1", "manager", Grant())
    api.start(user="ada", project="p1")
    api.start(user="bob", project="p2")
    names = {"ada": (), "manager": ("manager",), "support": ("support",), "admin": ("admin",)}
    mixed = {"both": ("api", "user"), "adminapi": ("admin", "api"), "delegate": ("delegate",)}
    return {"api": api} | {name: service.login(name, *roles) for name, roles in (names | mixed).items()}


@pytest.mark.parametrize(
    ("name", "below_api", "below_userapi"),
    [
        ("api", ["bob", "ada"], None),
        ("adminapi", ["bob", "ada"], ["bob", "ada"]),
        ("both", [], []),
        ("ada", None, ["ada"]),
        ("manager", None, ["ada"]),
        ("support", None, ["bob", "ada"]),
        ("admin", None, ["bob", "ada"]),
        ("delegate", None, None),
    ],
)
def test_who_sees_what(people, name, below_api, below_userapi):
    for path, expected in ((API, below_api), (USERAPI, below_userapi)):
        if expected is None:
            assert "missing role" in people[name].ask("GET", path, status=403)
        else:
            assert [job["user"] for job in people[name].ask("GET", path)["jobs"]] == expected


def test_what_one_does_not_see_is_not_there(people):
    hers, his = sorted((job["user"], job["id"]) for job in people["api"].ask("GET", API)["jobs"])
    assert people["ada"].ask("GET", f"/userapi/jobs/{hers[1]}")["Meta"]["user"] == "ada"
    people["ada"].ask("GET", f"/userapi/jobs/{his[1]}", status=422)
    people["ada"].ask("POST", f"/userapi/jobs/{his[1]}", [], status=422)
    for path in ("/userapi/jobs/metrics/", "/api/jobs/metrics/"):
        assert people["ada"].ask("GET", f"{path}{hers[1]}")["error"] is None
        assert people["ada"].ask("GET", f"{path}{his[1]}")["data"] is None


def test_a_person_with_the_role_api_reports_nothing(people):
    both = people["both"]
    (job, _) = people["api"].ask("GET", API)["jobs"]
    body = {"jobId": 1, "user": "both", "cluster": "fritz", "numNodes": 1, "resources": [{"hostname": "f001"}]}
    for method, path, sent, status in (
        ("POST", "/api/jobs/start_job/", body, 403),
        ("DELETE", f"/api/jobs/delete_job/{job['id']}", None, 403),
        ("DELETE", f"/api/jobs/delete_job_before/{T0}", None, 403),
        ("POST", f"/api/jobs/stop_job/{job['id']}", {"stopTime": T0 + 1}, 422),
        ("POST", f"/api/jobs/tag_job/{job['id']}", [], 404),
        ("GET", f"/api/jobs/used_nodes?ts={T0 + 1}", None, 403),
        ("POST", "/api/nodestate/", {"cluster": "fritz", "nodes": []}, 403),
    ):
        both.ask(method, path, sent, status=status)
    assert len(people["api"].ask("GET", API)["jobs"]) == 2


@pytest.mark.parametrize(
    "form", ["X-Auth-Token: {}", "X-AUTH-TOKEN: Bearer {}", "Authorization: {}", "Authorization: bearer  {}"]
)
def test_where_a_token_may_be(api, form):
    name, _, value = form.format(api.token).partition(": ")
    assert api("GET", API, headers={name: value}).status_code == 200


def test_the_own_header_goes_first(api):
    wrong = {"Authorization": f"Bearer {api.token}", "X-Auth-Token": "x"}
    answer = api("GET", API, headers=wrong)
    assert answer.status_code == 401
    assert error_of(answer)
    assert api("GET", API, headers={"Authorization": "Bearer x", "X-Auth-Token": api.token}).status_code == 200
    nothing = api("GET", API, headers={})
    assert (nothing.status_code, nothing.json["status"]) == (401, "Unauthorized")


def test_a_role_is_asked_for_before_the_body_is_read(people):
    assert "missing role: api" in people["admin"].ask("POST", "/api/jobs/start_job/", b"no JSON", status=403)


# --- networks


@pytest.fixture(scope="module")
def fenced(tmp_path_factory):
    home = tmp_path_factory.mktemp("fenced") / "home"
    with Service(home, level="0.2.0", allowed_networks=["10.1.0.0/16", "192.0.2.7", "2001:db8::/32"]) as service:
        yield service, service.login("sync", "api"), service.login("ada")


@pytest.mark.parametrize(
    ("address", "status"),
    [
        ("10.1.2.3", 200),
        ("192.0.2.7", 200),
        ("::ffff:10.1.2.3", 200),
        ("2001:db8::1", 200),
        ("10.2.0.1", 403),
        ("192.0.2.8", 403),
        ("127.0.0.1", 403),
        ("2001:db9::1", 403),
        ("unknown", 403),
    ],
)
def test_from_where_programs_may_come(fenced, address, status):
    _, api, ada = fenced
    https = {"environ": {"REMOTE_ADDR": address, "wsgi.url_scheme": "https"}}
    assert api("GET", API, **https).status_code == status
    assert ada("GET", USERAPI, **https).status_code == 200, "people come from everywhere"


def test_nobody_can_pretend_to_come_from_there(fenced):
    _, api, _ = fenced
    https = {"environ": {"REMOTE_ADDR": "203.0.113.1", "wsgi.url_scheme": "https"}}
    for header in ("X-Real-Ip", "X-Forwarded-For", "Forwarded"):
        forged = {**api.headers, header: "for=10.1.2.3" if header == "Forwarded" else "10.1.2.3"}
        assert error_of(api("GET", API, headers=forged, **https))
        assert api("GET", API, headers=forged, **https).status_code == 403


def test_at_the_first_level_to_stop_again_is_400(fenced):
    _, api, _ = fenced
    here = {"environ": {"REMOTE_ADDR": "10.1.2.3", "wsgi.url_scheme": "https"}}
    body = {"jobId": 1, "user": "a", "cluster": "fritz", "numNodes": 1, "resources": [{"hostname": "f001"}]}
    started = api.ask("POST", "/api/jobs/start_job/", {**body, "startTime": T0}, status=201, **here)
    at = f"/api/jobs/stop_job/{started['id']}"
    api.ask("POST", at, {"stopTime": T0 + 1}, **here)
    assert "already stopped" in api.ask("POST", at, {"stopTime": T0 + 1}, status=400, **here)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"level": "1.4"}, "level: must be '0.2.0' or '1.5', not '1.4'"),
        ({"allowed_networks": ["10.1.0.0/33"]}, "allowed_networks: '10.1.0.0/33' is no address or network"),
        ({"allowed_networks": ["*"]}, "allowed_networks: '*' is no address"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_settings_that_are_refused(tmp_path, settings, said):
    tables = {"dialects": {"clustercockpit": {"settings": settings}}}
    with open_gateway(config_from(tables, home=tmp_path)) as gateway, pytest.raises(ConfigError, match=re.escape(said)):
        create_app(gateway)
