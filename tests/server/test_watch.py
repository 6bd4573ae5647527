"""For machines that watch the server: health, readiness and metrics."""

from __future__ import annotations

import re

import pytest
from server.apitools import SCRIPT, Api, problem, token_for
from support import eventually
from werkzeug.test import Client

from hpcgate.errors import SchedulerError
from hpcgate.model.principal import Role
from hpcgate.model.state import JobState

REMOTE = {"REMOTE_ADDR": "192.0.2.1", "wsgi.url_scheme": "https"}


def metrics(api):
    """Name with labels -> value."""
    found = re.findall(r"^(\w+(?:\{.*\})?) (\S+)$", api.get("/metrics").text, re.MULTILINE)
    return {name: float(value) for name, value in found}


# --- readiness


def test_health_is_for_everybody_and_its_reasons_are_not(front, gateway, monkeypatch, anybody):
    stranger = Api(front, None, **REMOTE)
    assert stranger.get("/health/live").json == stranger.get("/health/ready").json == {"status": "ok"}
    status = {"ready": False, "database": "secret path", "sites": {}, "outbox": None}
    monkeypatch.setattr(type(gateway), "status", lambda self: status)
    response = stranger.get("/health/ready")
    assert (response.status_code, response.json) == (503, {"status": "unavailable"})
    assert anybody.get("/health/ready").json["database"] == "secret path"
    monkeypatch.setattr(type(gateway), "status", lambda self: 1 / 0)
    assert anybody.get("/health/ready").status_code == 503
    assert anybody.get("/health/live").status_code == 200


def test_readiness_tells_which_site_is_down_and_why(front, gateway, login, anybody, ann, fake, work):
    ann.submit()
    work()
    assert anybody.get("/health/ready").json == {
        "status": "ok",
        "database": "ok",
        "sites": {"fake": {"ok": True, "error": None, "drained": None}},
        "outbox": 0,
    }
    fake.fail_next("poll", SchedulerError("controller is down"), times=10_000)
    eventually(lambda: work() or anybody.get("/health/ready").json["status"] == "degraded")
    support = Api(front, token_for(gateway, "desk", Role.SUPPORT), **REMOTE)
    for api in (anybody, support):
        told = api.get("/health/ready")
        assert told.status_code == 200
        assert told.json["sites"] == {"fake": {"ok": False, "error": "controller is down", "drained": None}}
    for api in (Api(front, None, **REMOTE), login(front, "ann", **REMOTE)):
        assert api.get("/health/ready").json == {"status": "degraded"}


@pytest.mark.live
def test_without_its_database_it_lives_and_says_why_it_is_not_ready(postgres, make_gateway, serve):
    with postgres.lent() as name:
        gateway = make_gateway(gateway={"database": postgres.url(name)})
        token = token_for(gateway, "somebody", Role.ADMIN)
        here, remote = Client(serve(gateway)), {"REMOTE_ADDR": "127.0.0.1"}

        def get(path, **headers):
            return here.get(path, environ_base=remote, headers=headers)

        assert get("/health/ready").json["status"] == "ok"
        postgres.stop()
        try:
            assert get("/health/live").status_code == 200
            down = get("/health/ready")
            assert (down.status_code, down.json["status"]) == (503, "unavailable")
            assert down.json["database"].startswith("database ")
            assert "quoted" not in down.text
            from_far = here.get("/health/ready", environ_overrides=REMOTE, headers={"Authorization": f"Bearer {token}"})
            assert (from_far.status_code, from_far.json) == (503, {"status": "unavailable"})
            told = get("/metrics")
            assert told.status_code == 200
            assert "hpcgate_database_up 0.0" in told.text
            assert "hpcgate_http_requests_total" in told.text
            problem(get("/api/v1/jobs", Authorization=f"Bearer {token}"), 503, "database_unavailable")
        finally:
            postgres.start()
        eventually(lambda: get("/health/ready").status_code == 200)
        assert "hpcgate_database_up 1.0" in get("/metrics").text


# --- metrics


def test_metrics_tell_of_requests_jobs_sites_and_events(ann, anybody, gateway):
    ann.submit(script=SCRIPT)
    ann.get("jobs/999")
    text = anybody.get("/metrics").text
    assert 'hpcgate_jobs{site="fake",state="QUEUED"} 1.0' in text
    assert f"hpcgate_events_total {float(gateway.events.last())}" in text
    assert "hpcgate_outbox_depth 0.0" in text
    assert 'hpcgate_records_unarchived{why="failed"} 0.0' in text
    assert 'hpcgate_site_stale{site="fake"} 0.0' in text
    assert 'route="/api/v1/jobs/{job_id}",status="404"} 1.0' in text
    assert "hpcgate_open_streams 0.0" in text
    assert "hpcgate_audit_failures_total 0.0" in text
    assert "process_resident_memory_bytes" in text


def test_metrics_tell_what_became_of_jobs_each_once(ann, anybody, gateway, fake, work):
    made = ann.submit()
    ann.submit()
    first = metrics(anybody)
    assert first['hpcgate_submits_total{site="fake"}'] == 2
    assert first['hpcgate_job_states_total{reason="",site="fake",state="QUEUED"}'] == 2
    fake.set_state(made["native_id"], JobState.RUNNING)
    eventually(lambda: work() or ann.get(f"jobs/{made['id']}").json["state"] == "RUNNING")
    second = metrics(anybody)
    assert second['hpcgate_submits_total{site="fake"}'] == 2
    assert second['hpcgate_queue_seconds_count{site="fake"}'] == 1
    assert second['hpcgate_site_polls_total{site="fake"}'] >= 1
    assert second['hpcgate_site_poll_commands_total{site="fake"}'] >= 1
    assert metrics(anybody)['hpcgate_queue_seconds_count{site="fake"}'] == 1


def test_metrics_tell_how_old_what_is_known_is(ann, anybody, gateway, fake, work, monkeypatch):
    ann.submit()
    eventually(lambda: work() or metrics(anybody)['hpcgate_site_polls_total{site="fake"}'])
    fake.fail_next("poll", SchedulerError("controller is down"), times=10_000)
    eventually(lambda: work() or metrics(anybody)['hpcgate_site_poll_failures_total{site="fake"}'])
    lag = 'hpcgate_reconcile_lag_seconds{site="fake"}'
    one = metrics(anybody)
    assert one['hpcgate_site_down{site="fake"}'] == 1
    assert one[lag] > 0
    assert metrics(anybody)[lag] > one[lag]


def test_metrics_are_for_this_machine_and_for_operators(front, login):
    remote = {"REMOTE_ADDR": "192.0.2.1", "wsgi.url_scheme": "https"}
    problem(Api(front, None, **remote).get("/metrics"), 401, "unauthenticated")
    problem(login(front, "ann", **remote).get("/metrics"), 403, "forbidden")
    assert login(front, "root", **remote).get("/metrics").status_code == 200


def test_two_servers_do_not_share_their_metrics(serve, gateway, login):
    one, two = serve(gateway), serve(gateway)
    login(one, "ann").get("me")
    assert 'route="/api/v1/me"' in login(one, "ann").get("/metrics").text
    assert 'route="/api/v1/me"' not in login(two, "ann").get("/metrics").text
