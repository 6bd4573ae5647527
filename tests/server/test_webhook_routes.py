"""Webhooks over HTTP; what is sent to them is tested with the service."""

from __future__ import annotations

import pytest
from server.apitools import fields, problem, token_for

from hpcgate.client import Client
from hpcgate.model.webhook import Delivery, DeliveryState

URL = "https://example.org/hook"


def test_a_webhook_from_its_making_to_its_end(ann, gateway):
    asked = {"states": ["COMPLETED", "FAILED"], "sites": ["fake"], "labels": {"team": "x"}, "description": "portal"}
    answer = ann.post("webhooks", {"url": URL, **asked})
    assert answer.status_code == 201
    secret = answer.json["secret"]
    assert secret.startswith("whsec_")
    found = ann.get(answer.headers["Location"])
    assert secret not in found.text
    assert {name: found.json[name] for name in asked} == asked
    assert found.json["events"] == []
    path = f"webhooks/{found.json['id']}"
    changed = ann("PATCH", path, {"states": [], "enabled": False}).json
    assert (changed["states"], changed["enabled"], changed["sites"]) == ([], False, ["fake"])
    assert ann.get("webhooks").json["items"] == [changed]
    assert ann.post(f"{path}/secret").json["secret"] != secret
    assert ann.delete(path).status_code == 204
    problem(ann.get(path), 404, "not_found")


def test_deliveries_are_listed_in_pages_and_sent_again(ann, gateway):
    hook = ann.post("webhooks", {"url": URL}).json["id"]
    pings = [ann.post(f"webhooks/{hook}/ping").json["id"] for _ in range(3)]
    first = ann.get(f"webhooks/{hook}/deliveries?limit=2").json
    rest = ann.get(f"webhooks/{hook}/deliveries?limit=2&cursor={first['next_cursor']}").json
    assert [item["id"] for item in (*first["items"], *rest["items"])] == pings[::-1]
    assert rest["next_cursor"] is None
    problem(ann.post(f"webhooks/{hook}/deliveries/{pings[0]}/redeliver"), 409, "conflict")
    problem(ann.post(f"webhooks/{hook}/deliveries/none/redeliver"), 404, "not_found")
    gateway.store.deliveries.bury(hook, 1.0, "never there")
    dead = ann.get(f"webhooks/{hook}/deliveries?state=DEAD").json["items"]
    assert {(item["error"], item["due_at"]) for item in dead} == {("never there", None)}
    assert ann.post(f"webhooks/{hook}/deliveries/{pings[0]}/redeliver").json["state"] == "WAITING"
    assert ann.post(f"webhooks/{hook}/redeliver").json == {"count": 2}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "url"),
        ({"url": "http://example.org/"}, "url"),
        ({"url": "https://127.0.0.1/"}, "url"),
        ({"url": URL, "events": ["job.finished"]}, "events.0"),
        ({"url": URL, "states": ["DONE"]}, "states.0"),
        ({"url": URL, "sites": ["nowhere"]}, "sites"),
        ({"url": URL, "labels": {str(n): "" for n in range(21)}}, "labels"),
        ({"url": URL, "secret": "mine"}, "secret"),
    ],
)
def test_what_is_wrong_is_told(refused, body, field):
    assert field in fields(problem(refused.post("webhooks", body), 422, "invalid_spec"))


def test_a_job_that_one_may_not_see_has_no_hook(ann, bob):
    job = bob.submit()["id"]
    problem(ann.post("webhooks", {"url": URL, "job": job}), 404, "not_found")
    assert bob.post("webhooks", {"url": URL, "job": job}).json["job"] == job
    problem(ann.get("webhooks/whk_x/deliveries?cursor=x"), 404, "not_found")


def test_a_wrong_cursor_is_told(ann):
    hook = ann.post("webhooks", {"url": URL}).json["id"]
    assert "cursor" in fields(problem(ann.get(f"webhooks/{hook}/deliveries?cursor=x"), 422, "invalid_spec"))


def test_a_server_without_webhooks_says_so(make_gateway, serve, login):
    ann = login(serve(make_gateway(webhooks={"enabled": False})), "ann")
    problem(ann.post("webhooks", {"url": URL}), 501, "not_supported")
    assert "callback" in fields(problem(ann.post("jobs", {"command": "true", "callback": URL}), 422, "invalid_spec"))


def test_the_metrics_tell_how_it_stands(ann, gateway):
    hook = ann.post("webhooks", {"url": URL}).json["id"]
    gateway.store.deliveries.add(
        [
            Delivery(
                id=f"m{state}", webhook_id=hook, type="x", body="{}", created_at=0.0, due_at=0.0, give_up_at=0.0,
                state=state, ended_at=None if state is DeliveryState.WAITING else 1.0,
            )
            for state in DeliveryState
        ]
    )  # fmt: skip
    lines = ann.get("/metrics").text.splitlines()
    for line in (
        'hpcgate_push_waiting{channel="webhook"} 1.0',
        "hpcgate_push_dead_letters 1.0",
        'hpcgate_push_messages_total{channel="webhook",outcome="dead"} 1.0',
        'hpcgate_push_messages_total{channel="mail",outcome="delivered"} 0.0',
    ):
        assert line in lines
    (lag,) = [line for line in lines if line.startswith('hpcgate_push_lag_seconds{channel="webhook"}')]
    assert float(lag.split()[1]) > 1e9


def test_the_client_has_every_route(front, listen, gateway):
    with Client(f"http://127.0.0.1:{listen(front)}", token_for(gateway, "eve")) as client:
        made = client.add_webhook(URL, events=["job.state"])
        hook = made["id"]
        assert made["secret"] != client.rotate_webhook_secret(hook)
        assert [item["id"] for item in client.webhooks()] == [hook]
        assert client.webhook(hook)["events"] == ["job.state"]
        assert client.update_webhook(hook, enabled=False)["enabled"] is False
        client.update_webhook(hook, enabled=True)
        ping = client.ping_webhook(hook)["id"]
        assert [item["id"] for item in client.deliveries(hook, state="WAITING")["items"]] == [ping]
        assert client.redeliver(hook) == {"count": 0}
        assert client.rotate_callback_secret().startswith("whsec_")
        client.remove_callback_secret()
        client.remove_webhook(hook)
