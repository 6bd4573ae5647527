"""The audit log: who did what to what, from where, by which token, with what result; over every API."""

from __future__ import annotations

import json

import pytest
from flask import Flask, jsonify, request
from server.apitools import SCRIPT, Api, exchange_form, token_for

from hpcgate.hookspecs import hookimpl
from hpcgate.model.principal import Role
from hpcgate.server.auth import authenticate
from hpcgate.server.context import gateway as serving_gateway
from hpcgate.server.dialect import Dialect


class Odd(Dialect):
    """An API that cancels by GET-like names of its own."""

    name = "odd"

    def create_app(self, gateway, settings):
        app = Flask("odd", static_folder=None)

        @app.post("/stop/<int:job_id>")
        def stop(job_id):
            jobs = serving_gateway().jobs.cancel(authenticate(request), [job_id])
            return jsonify(count=len(jobs))

        return app


class Plugin:
    @hookimpl
    def hpcgate_register_dialects(self, register):
        register(Odd())


@pytest.fixture
def records(gateway):
    def read(**wanted):
        text = (gateway.config.home / "audit.jsonl").read_text()
        found = [json.loads(line) for line in text.splitlines()]
        return [each for each in found if wanted.items() <= each.items()]

    return read


def test_a_submit_names_who_where_by_which_token_and_which_job(ann, records):
    job = ann.submit()
    me = ann.get("me").json
    (told,) = records(what="POST /api/v1/jobs")
    assert told == told | {
        "api": "native",
        "from": "127.0.0.1",
        "who": "ann",
        "token": me["token_id"],
        "path": "/api/v1/jobs",
        "verbs": ["SUBMIT"],
        "objects": [f"job {job['id']}"],
        "result": "done",
        "status": 201,
    }
    assert "by" not in told


def test_the_request_is_the_one_of_the_answer(ann, records):
    answer = ann.get("me", headers={"X-Request-ID": "mine-1"})
    assert answer.headers["X-Request-ID"] == "mine-1"
    assert [each["what"] for each in records(request="mine-1")] == ["GET /api/v1/me"]


def test_what_is_refused_is_there_with_its_reason(ann, bob, anybody, records):
    job = ann.submit()
    bob.post(f"jobs/{job['id']}/cancel")
    ann.post("users", {"name": "x"})
    anybody.get("jobs")
    (foreign,) = records(what="POST /api/v1/jobs/{job_id}/cancel")
    assert (foreign["who"], foreign["verbs"], foreign["objects"]) == ("bob", ["CONTROL"], [f"job {job['id']}"])
    assert (foreign["result"], foreign["status"], foreign["code"]) == ("refused", 404, "not_found")
    (new,) = records(what="POST /api/v1/users")
    assert (new["who"], new["verbs"], new["result"], new["code"]) == (
        "ann",
        ["MANAGE_USERS"],
        "refused",
        "forbidden",
    )
    (nobody,) = records(what="GET /api/v1/jobs")
    assert "who" not in nobody
    assert (nobody["result"], nobody["code"]) == ("refused", "unauthenticated")


def test_logins_are_there_and_what_was_typed_is_not(root, anybody, records, gateway):
    root.post("users", {"name": "carl", "password": "correct horse"})
    anybody.post("tokens", {"username": "carl", "password": "wrong battery"})
    anybody.post("tokens", {"username": "hunter2 in the wrong field", "password": "x"})
    good = anybody.post("tokens", {"username": "carl", "password": "correct horse"})
    wrong, unknown, done = records(what="POST /api/v1/tokens")
    assert (wrong["who"], wrong["result"]) == ("carl", "refused")
    assert "who" not in unknown
    assert (done["who"], done["result"]) == ("carl", "done")
    assert done["objects"] == [f"token {good.json['id']}", "user carl"]
    text = (gateway.config.home / "audit.jsonl").read_text()
    for secret in ("correct horse", "wrong battery", "hunter2", good.json["token"]):
        assert secret not in text


def test_a_stolen_token_is_told_by_its_id(ann, front, records):
    made = ann.post("tokens", {}).json
    thief = Api(front, made["token"], REMOTE_ADDR="127.0.0.9")
    ann.delete(f"tokens/{made['id']}")
    assert thief.get("jobs").status_code == 401
    (told,) = records(what="GET /api/v1/jobs")
    assert (told["who"], told["token"], told["from"], told["result"]) == ("ann", made["id"], "127.0.0.9", "refused")
    (revoked,) = records(what="DELETE /api/v1/tokens/{token_id}")
    assert revoked["objects"] == [f"token {made['id']}", "user ann"]


def test_delegation_names_both(gateway, front, records):
    portal = Api(front, token_for(gateway, "portal", Role.DELEGATE))
    got = portal.post("tokens/exchange", data=exchange_form("ann")).json["access_token"]
    job = Api(front, got).submit()
    (exchange,) = records(what="POST /api/v1/tokens/exchange")
    assert exchange["who"] == "portal"
    assert "user ann" in exchange["objects"]
    (told,) = records(what="POST /api/v1/jobs")
    assert (told["who"], told["by"], told["objects"]) == ("ann", "portal", [f"job {job['id']}"])


def test_whose_token_is_shown_is_not_who_asks(gateway, front, ann, records):
    portal = Api(front, token_for(gateway, "portal", Role.DELEGATE))
    form = {**exchange_form(ann._token), "subject_token_type": "urn:ietf:params:oauth:token-type:jwt"}
    assert portal.post("tokens/exchange", data=form).status_code == 200
    assert [each["who"] for each in records(what="POST /api/v1/tokens/exchange")] == ["portal"]
    assert ann._token not in (gateway.config.home / "audit.jsonl").read_text()


def test_a_bulk_names_its_jobs(ann, records):
    made = ann.post("jobs/bulk", {"jobs": [{"script": SCRIPT}] * 3}).json["items"]
    ann.post("jobs/cancel", {"filter": {"active": True}})
    ids = sorted(item["job"]["id"] for item in made)
    (bulk,) = records(what="POST /api/v1/jobs/bulk")
    (cancel,) = records(what="POST /api/v1/jobs/cancel")
    assert sorted(bulk["objects"]) == sorted(cancel["objects"]) == sorted(f"job {each}" for each in ids)


def test_projects_their_members_and_webhooks_are_named(root, records):
    assert root.post("projects", {"name": "p1", "site": "fake"}).status_code == 201
    assert root("PUT", "projects/p1/members/ann", {"hours": 2}).status_code == 201
    hook = root.post("webhooks", {"url": "https://example.org/x"}).json["id"]
    assert root("DELETE", f"webhooks/{hook}").status_code == 204
    made, member, hooked, gone = records()[-4:]
    assert made["objects"] == ["project p1"]
    assert member["objects"] == ["project p1", "user ann"]
    assert hooked["objects"] == gone["objects"] == [f"webhook {hook}"]


def test_a_dialect_is_recorded_without_its_doing(make_gateway, serve, login):
    gateway = make_gateway(plugins=[("odd", Plugin())], dialects={"odd": {}})
    front = serve(gateway)
    ann = login(front, "ann")
    job = ann.submit()
    assert login(front, "bob").post(f"/odd/stop/{job['id']}").status_code == 404
    assert ann.post(f"/odd/stop/{job['id']}").json == {"count": 1}
    found = [json.loads(line) for line in (gateway.config.home / "audit.jsonl").read_text().splitlines()]
    odd = [each for each in found if each["api"] == "odd"]
    assert [(each["who"], each["what"], each["verbs"], each["result"]) for each in odd] == [
        ("bob", "POST /stop/{job_id}", ["CONTROL"], "refused"),
        ("ann", "POST /stop/{job_id}", ["CONTROL"], "done"),
    ]
    assert [each["path"] for each in odd] == [f"/odd/stop/{job['id']}"] * 2


def test_who_watches_is_not_recorded(anybody, ann, gateway):
    for path in ("/health/live", "/health/ready", "/docs", "/api/v1/openapi.json", "/api/v1/nothing"):
        anybody.get(path)
    assert not (gateway.config.home / "audit.jsonl").exists()
    ann.get("me")
    assert (gateway.config.home / "audit.jsonl").exists()


def test_every_route_of_the_api_is_recorded(ann, records, front):
    """With some answer, whatever it is: nothing gets by."""
    document = ann.get("openapi.json").json
    asked = set()
    for path, methods in document["paths"].items():
        for method in methods.keys() & {"get", "post", "put", "patch", "delete"}:
            concrete = path.replace("{job_id}", "1").replace("{record_id}", "1")
            ann(method.upper(), concrete, buffered=False).close()
            asked.add(f"{method.upper()} {path}")
    assert {each["what"] for each in records()} == asked
