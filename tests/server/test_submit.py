"""POST /jobs, /jobs/bulk and /jobs/validate."""

from __future__ import annotations

import json

import pytest
from server.apitools import ADMIN, SCRIPT, fields, problem

from hpcgate.errors import CommandTimeout, JobRejected, SchedulerError
from hpcgate.model.codec import job_to_wire
from hpcgate.model.state import JobState


def test_a_job_is_made_and_found_where_the_answer_says(ann, fake):
    response = ann.post("jobs", {"site": "fake.example.org", "script": SCRIPT, "name": "first"})
    assert response.status_code == 201
    assert response.json["native_id"] == "1"
    assert response.json["site"] == "fake"
    assert response.headers["Location"] == f"/api/v1/jobs/{response.json['id']}"
    again = ann.get(response.headers["Location"])
    assert again.json["name"] == "first"
    assert len(fake.jobs) == 1


def test_a_job_that_its_site_does_not_take_yet_is_on_its_way(ann, fake):
    fake.fail_next("submit", SchedulerError("busy", transient=True), times=99)
    fake.fail_next("submit_jobs", SchedulerError("busy", transient=True), times=99)
    response = ann.post("jobs", {"script": SCRIPT})
    assert response.status_code == 202
    assert response.json["native_id"] is None
    assert response.json["state"] == "SUBMITTING"


def test_a_job_that_its_scheduler_refuses_is_a_conflict(ann, fake):
    fake.fail_next("submit", JobRejected("no such partition"))
    fake.fail_next("submit_jobs", JobRejected("no such partition"))
    body = problem(ann.post("jobs", {"script": SCRIPT}), 409, "job_rejected")
    assert "no such partition" in body["detail"]


def test_every_wrong_field_is_told_at_once(refused, shared_gateway):
    body = problem(
        refused.post(
            "jobs",
            {
                "site": 7,
                "scrip": SCRIPT,
                "name": "a\nb",
                "resources": {"nodes": -1, "cpus_per_tsk": 2},
                "environment": {"A": 5},
                "array": {"start": 5, "stop": 1},
                "labels": {"-": "x"},
            },
        ),
        422,
        "invalid_spec",
    )
    told = fields(body)
    assert told["scrip"] == "unknown field; did you mean 'script'?"
    assert told["resources.cpus_per_tsk"] == "unknown field; did you mean 'cpus_per_task'?"
    assert told.keys() >= {"site", "name", "environment.A", "array", "labels"}
    assert shared_gateway.events.last() == 0


def test_errors_hidden_behind_a_wrong_type_come_out_too(refused):
    body = problem(refused.post("jobs", {"script": 5, "name": "", "queue": "a b"}), 422, "invalid_spec")
    assert fields(body).keys() == {"script", "name", "queue"}


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({}, "script"),
        ({"script": ""}, "script"),
        ({"script": "echo no shebang"}, "script"),
        ({"script": "#!/bin/sh\r\necho\r\n"}, "script"),
        ({"script": "#!/bin/sh\n" + "#" * (1 << 20)}, "script"),
        ({"script": "#!/bin/sh\n\0"}, "script"),
        ({"script": SCRIPT, "command": "x"}, "script"),
        ({"script": SCRIPT, "name": "a\0b"}, "name"),
        ({"script": SCRIPT, "array": "0-1000000000"}, "array"),
        ({"script": SCRIPT, "array": "x"}, "array"),
        ({"script": SCRIPT, "resources": {"nodes": 10**12}}, "resources.nodes"),
        ({"script": SCRIPT, "resources": {"nodes": True}}, "resources.nodes"),
        ({"script": SCRIPT, "resources": []}, "resources"),
        ({"script": SCRIPT, "site": "nowhere"}, "site"),
        ({"script": SCRIPT, "site": ""}, "site"),
    ],
)
def test_what_could_not_run_is_refused_by_field(refused, shared_gateway, spec, field):
    body = problem(refused.post("jobs", spec), 422, "invalid_spec")
    assert field in fields(body)
    assert shared_gateway.events.last() == 0


@pytest.mark.parametrize(
    "raw",
    [
        b"{",
        b"\xff\xfe",
        b'{"name": NaN}',
        b'{"name": "a", "name": "b"}',
        b"[" * 100_000,
        b'{"name": "\\ud800"}',
        b"1" * 10_000,
    ],
)
def test_what_is_no_json_is_malformed(refused, raw):
    response = refused("POST", "jobs", data=raw, headers={"Content-Type": "application/json"})
    problem(response, 400, "malformed_body")


@pytest.mark.parametrize("raw", [b"[]", b'"x"', b"3", b"null", b"true"])
def test_what_is_no_object_is_no_job(refused, raw):
    response = refused("POST", "jobs", data=raw, headers={"Content-Type": "application/json"})
    assert "body" in fields(problem(response, 422, "invalid_spec"))


def test_a_body_must_say_that_it_is_json(refused):
    response = refused("POST", "jobs", data=b'{"script": ""}', headers={"Content-Type": "text/plain"})
    problem(response, 415, "unsupported_media_type")


def test_secrets_are_shown_by_name_only(ann):
    job = ann.submit(secret_environment={"TOKEN": "hunter2"})
    assert job["spec"]["secret_environment"] == {"TOKEN": "***"}
    assert "hunter2" not in ann.get(f"jobs/{job['id']}").text
    assert "hunter2" not in ann.get(f"jobs/{job['id']}/script").text


# --- Idempotency-Key


def test_a_key_makes_one_job_of_two_requests(ann, fake):
    first = ann.post("jobs", {"script": SCRIPT}, headers={"Idempotency-Key": "k1"})
    again = ann.post("jobs", {"script": SCRIPT}, headers={"Idempotency-Key": "k1"})
    assert "Idempotency-Replayed" not in first.headers
    assert again.headers["Idempotency-Replayed"] == "true"
    assert (again.status_code, again.json) == (201, first.json)
    assert again.headers["Location"] == first.headers["Location"]
    assert len(fake.jobs) == 1


def test_a_key_belongs_to_its_body_and_to_its_user(ann, bob, fake):
    ann.post("jobs", {"script": SCRIPT}, headers={"Idempotency-Key": "k1"})
    other = ann.post("jobs", {"script": SCRIPT, "name": "other"}, headers={"Idempotency-Key": "k1"})
    problem(other, 422, "idempotency_mismatch")
    assert bob.post("jobs", {"script": SCRIPT}, headers={"Idempotency-Key": "k1"}).status_code == 201
    assert len(fake.jobs) == 2


@pytest.mark.parametrize("key", ["", "x" * 256])
def test_a_key_has_a_length(refused, key):
    response = refused.post("jobs", {"script": SCRIPT}, headers={"Idempotency-Key": key})
    assert "Idempotency-Key" in fields(problem(response, 422, "invalid_spec"))


# --- bulk


def test_one_bad_job_spoils_no_other(ann, fake):
    answer = ann.post(
        "jobs/bulk",
        {"jobs": [{"script": SCRIPT}, {"scrip": "x"}, 5, {"script": SCRIPT, "site": "no"}, {"command": "b"}]},
    )
    assert answer.status_code == 200
    items = answer.json["items"]
    assert [item["status"] for item in items] == [201, 422, 422, 422, 201]
    assert [item["job"]["native_id"] for item in items if "job" in item] == ["1", "2"]
    assert fields(items[1]["error"])["scrip"] == "unknown field; did you mean 'script'?"
    assert items[3]["error"]["code"] == "invalid_spec"
    assert len(fake.jobs) == 2


def test_jobs_of_a_bulk_that_are_on_their_way_say_so(ann, fake):
    fake.fail_next("submit_jobs", SchedulerError("busy", transient=True), times=9)
    fake.fail_next("submit", SchedulerError("busy", transient=True), times=9)
    items = ann.post("jobs/bulk", {"jobs": [{"script": SCRIPT}] * 2}).json["items"]
    assert [item["status"] for item in items] == [202, 202]


def test_a_bulk_can_be_repeated(ann, fake):
    body = {"jobs": [{"script": SCRIPT, "name": str(n)} for n in range(20)]}
    first = ann.post("jobs/bulk", body, headers={"Idempotency-Key": "b"}).json
    again = ann.post("jobs/bulk", body, headers={"Idempotency-Key": "b"}).json
    assert [item["job"]["id"] for item in first["items"]] == [item["job"]["id"] for item in again["items"]]
    assert len(fake.jobs) == 20


@pytest.mark.parametrize(
    ("body", "field"),
    [({}, "jobs"), ({"jobs": []}, "jobs"), ({"jobs": 5}, "jobs"), ({"job": []}, "job"), ({"jobs": [], "x": 1}, "x")],
)
def test_a_bulk_is_a_list_of_jobs(refused, body, field):
    assert field in fields(problem(refused.post("jobs/bulk", body), 422, "invalid_spec"))


def test_a_bulk_has_a_limit(make_gateway, serve, login):
    ann = login(serve(make_gateway(limits={"max_bulk_jobs": 3})), "ann")
    body = problem(ann.post("jobs/bulk", {"jobs": [{"script": SCRIPT}] * 4}), 422, "invalid_spec")
    assert "from 1 to 3" in fields(body)["jobs"]


def test_thousands_of_jobs_go_in_at_once(ann, fake):
    answer = ann.post("jobs/bulk", {"jobs": [{"script": SCRIPT, "name": f"n{n}"} for n in range(3000)]})
    assert {item["status"] for item in answer.json["items"]} == {201}
    assert len(fake.jobs) == 3000


# --- validate


def test_a_dry_run_shows_the_script_and_makes_nothing(ann, fake, gateway):
    answer = ann.post("jobs/validate", {"script": SCRIPT, "name": "x"})
    assert answer.status_code == 200
    assert answer.json["valid"] is True
    assert answer.json["errors"] == []
    assert "echo hello" in answer.json["script"]
    assert answer.json["argv"][0] == "fake-submit"
    verdicts = {item["field"]: item["verdict"] for item in answer.json["fields"]}
    assert verdicts == {"script": "honoured", "name": "honoured"}
    assert not fake.jobs
    assert gateway.events.last() == 0


@pytest.mark.parametrize(
    ("spec", "field"),
    [({"scrip": "x"}, "scrip"), ({"script": SCRIPT, "qos": "high"}, "qos"), ({"script": SCRIPT, "site": "no"}, "site")],
)
def test_a_dry_run_tells_what_is_wrong_as_its_answer(refused, spec, field):
    answer = refused.post("jobs/validate", spec)
    assert answer.status_code == 200
    assert answer.json["valid"] is False
    assert field in fields(answer.json)


def test_a_dry_run_wants_json_too(refused):
    problem(
        refused("POST", "jobs/validate", data=b"{", headers={"Content-Type": "application/json"}), 400, "malformed_body"
    )


# --- clone


def test_a_clone_is_a_new_job_of_ones_own(ann, root, bob):
    job = ann.submit(name="original", labels={"a": "b"})
    clone = root.post(f"jobs/{job['id']}/clone")
    assert clone.status_code == 201
    assert clone.json["id"] != job["id"]
    assert (clone.json["owner"], clone.json["name"], clone.json["labels"]) == ("root", "original", {"a": "b"})
    problem(bob.post(f"jobs/{job['id']}/clone"), 404, "not_found")


def test_a_clone_can_be_repeated(ann, fake):
    job = ann.submit()
    made = [ann.post(f"jobs/{job['id']}/clone", headers={"Idempotency-Key": "c"}) for _ in range(2)]
    assert made[0].json["id"] == made[1].json["id"] != job["id"]
    assert made[1].headers["Idempotency-Replayed"] == "true"
    assert len(fake.jobs) == 2


def test_an_ambiguous_submit_is_answered_with_202_and_runs_once(ann, fake, work):
    fake.lose_answer_next_submit()
    response = ann.post("jobs", {"script": SCRIPT})
    assert response.status_code == 202
    for _ in range(5):
        work()
    assert len(fake.jobs) == 1
    assert ann.get(f"jobs/{response.json['id']}").json["native_id"] == "1"


def test_the_wire_form_is_the_codecs(ann, gateway):
    job = ann.submit()
    assert job == json.loads(json.dumps(job_to_wire(gateway.jobs.get(ADMIN, job["id"]))))
    assert job["state"] == JobState.QUEUED


def test_a_site_that_does_not_answer_a_verb_in_time_is_a_504(ann, fake):
    job = ann.submit()
    fake.fail_next("hold", CommandTimeout("scontrol did not answer"))
    body = problem(response := ann.post(f"jobs/{job['id']}/hold"), 504, "site_timeout")
    assert body["transient"] is True
    assert int(response.headers["Retry-After"]) > 0
