"""Everything that goes wrong has one shape."""

from __future__ import annotations

import json
import logging
from io import BytesIO

import pytest
from server.apitools import SCRIPT, fields, problem
from support import made

from hpcgate import errors as ours
from hpcgate.errors import HpcgateError, PluginError
from hpcgate.server.errors import STATUS, status_of


def test_an_unknown_path_is_a_problem(stranger):
    for path in ("/", "/nope", "/api/v1/nope", "/api/v1/jobs/", "/api/v1/jobs/x", "/api/v2/jobs", "/docs/static/nope"):
        problem(stranger.get(path), 404, "not_found")


def test_a_number_that_no_database_has_is_not_found(refused):
    problem(refused.get(f"jobs/{2**63}"), 404, "not_found")
    problem(refused.get(f"jobs/{2**63 - 1}"), 404, "not_found")
    problem(refused.get("jobs/0"), 404, "not_found")
    for method in ("DELETE", "POST", "PUT"):
        problem(refused(method, f"jobs/{2**63}"), 404, "not_found")
        problem(refused(method, f"records/{2**63}"), 404, "not_found")
    problem(refused.get(f"jobs/{2**63 - 1}/files"), 404, "not_found")


def test_a_wrong_method_is_told_the_right_ones(refused):
    response = refused("PUT", "jobs")
    problem(response, 405, "method_not_allowed")
    assert {"GET", "POST"} <= {method.strip() for method in response.headers["Allow"].split(",")}


def test_a_body_that_is_too_large_is_not_read(make_gateway, serve, login):
    ann = login(serve(make_gateway(server={"max_body_bytes": 2000})), "ann")
    problem(ann.post("jobs", {"script": SCRIPT + "#" * 3000}), 413, "body_too_large")
    problem(ann.post("jobs/bulk", {"jobs": [{"script": SCRIPT}] * 300}), 413, "body_too_large")
    assert ann.post("jobs", {"script": SCRIPT}).status_code == 201


@pytest.mark.parametrize(("more", "status"), [(0, 201), (1, 413)])
def test_a_body_in_chunks_may_have_the_very_length_of_the_limit(make_gateway, serve, login, more, status):
    ann = login(serve(make_gateway(server={"max_body_bytes": 2000})), "ann")
    text = json.dumps({"script": SCRIPT}).ljust(2000 + more)
    chunks = {"input_stream": BytesIO(text.encode()), "environ_base": {"wsgi.input_terminated": True}}
    assert ann("POST", "jobs", content_type="application/json", **chunks).status_code == status


def test_a_body_in_chunks_is_not_cut_to_the_limit(make_gateway, serve, login):
    ann = login(serve(make_gateway(server={"max_body_bytes": 2000})), "ann")
    # What would be left of it is a job.
    text = json.dumps({"script": SCRIPT}) + " " * 3000 + "and more"
    chunks = {"input_stream": BytesIO(text.encode()), "environ_base": {"wsgi.input_terminated": True}}
    problem(ann("POST", "jobs", content_type="application/json", **chunks), 413, "body_too_large")
    assert ann.get("jobs").json["items"] == []


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=x", "limit"),
        ("limit=", "limit"),
        ("cursor=forged", "cursor"),
        ("state=RUNING", "state"),
        ("active=maybe", "active"),
        ("label=novalue", "label"),
        ("since=yesterday", "since"),
        ("since=2026-01-31T12:00:00", "since"),
        ("since=nan", "since"),
        ("until=-5", "until"),
        ("until=1e300", "until"),
        ("stat=RUNNING", "stat"),
    ],
)
def test_a_wrong_parameter_is_told_by_name(refused, query, field):
    assert field in fields(problem(refused.get(f"jobs?{query}"), 422, "invalid_spec"))


def test_a_misspelt_parameter_is_told_the_nearest(refused):
    told = fields(problem(refused.get("jobs?lmit=5&statte=RUNNING"), 422, "invalid_spec"))
    assert told == {
        "lmit": "unknown field; did you mean 'limit'?",
        "statte": "unknown field; did you mean 'state'?",
    }


def test_what_nobody_expected_is_an_incident_without_internals(ann, gateway, monkeypatch, caplog):
    def broken(*args, **kwargs):
        raise ZeroDivisionError("secret of the house")

    monkeypatch.setattr(type(gateway.jobs), "list", broken)
    with caplog.at_level(logging.ERROR):
        body = problem(response := ann.get("jobs"), 500, "internal_error")
    assert "secret" not in response.text
    assert body["incident"] in caplog.text
    assert "secret of the house" in caplog.text


def test_a_broken_plugin_is_an_incident_too(ann, fake, caplog):
    job = ann.submit()
    fake.fail_next("hold", ZeroDivisionError("a bug"))
    with caplog.at_level(logging.ERROR):
        problem(ann.post(f"jobs/{job['id']}/hold"), 500, "internal_error")
    assert "a bug" in caplog.text


def test_every_error_class_has_a_status_and_a_code_of_its_own():
    kinds = [kind for kind in vars(ours).values() if isinstance(kind, type) and issubclass(kind, HpcgateError)]
    assert len({kind.code for kind in kinds}) == len(kinds)
    inside = {HpcgateError, ours.ConfigError, ours.SchemaTooNew, PluginError}
    for kind in kinds:
        assert any(base in STATUS for base in kind.__mro__)
        error = made(kind)
        assert (status_of(error) == 500) == (kind in inside), kind


def test_a_request_keeps_its_id(refused, caplog):
    with caplog.at_level(logging.INFO, logger="hpcgate.access"):
        response = refused.get("jobs?name=private", headers={"X-Request-ID": "my-id.1"})
    assert response.headers["X-Request-ID"] == "my-id.1"
    line = caplog.records[-1].getMessage()
    assert "'ann' GET '/api/v1/jobs' 200" in line
    assert "private" not in line


@pytest.mark.parametrize("given", ["", "a b", "x" * 200, "a;b"])
def test_an_id_that_could_forge_a_log_is_replaced(refused, given):
    found = refused.get("me", headers={"X-Request-ID": given}).headers["X-Request-ID"]
    assert found != given
    assert len(found) == 32


def test_a_path_cannot_forge_a_line_of_the_log(stranger, caplog):
    with caplog.at_level(logging.INFO, logger="hpcgate.access"):
        stranger.get("/x%0Aforged%1b[31m")
    assert "\n" not in caplog.records[-1].getMessage()
    assert "\x1b" not in caplog.records[-1].getMessage()


def test_answers_have_safe_headers(ann, anybody):
    for response in (ann.get("jobs"), anybody.get("/nope"), anybody.get("/health/live")):
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["X-Frame-Options"] == "DENY"
        assert "default-src 'none'" in response.headers["Content-Security-Policy"]
        assert response.headers["Cache-Control"] == "no-store"
