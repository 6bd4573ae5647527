"""Looking at jobs, telling them what to do, and what happened to them."""

from __future__ import annotations

import pytest
from server.apitools import SCRIPT, fields, problem
from support import ROOT, eventually

from hpcgate.errors import SchedulerError, TransportError
from hpcgate.model.allocation import Grant, Project
from hpcgate.model.job import TaskObservation
from hpcgate.model.scheduler import Capability
from hpcgate.model.state import JobState
from hpcgate.testing.fakes import FakeScheduler


def ids(response):
    assert response.status_code == 200, response.text
    return [item["id"] for item in response.json["items"]]


@pytest.fixture
def three(ann, gateway, fake, work):
    """A queued job, a running one and one that failed."""
    for name in ("p1", "p2"):
        gateway.projects.create(ROOT, Project(name=name, site="fake"))
        gateway.projects.put_member(ROOT, name, "ann", Grant())
    jobs = [
        ann.submit(name="first", labels={"team": "a", "n": "1"}, tags=["x"], project="p1"),
        ann.submit(name="second", labels={"team": "a", "n": "2"}, tags=["x", "y"], project="p2"),
        ann.submit(name="third", labels={"team": "b"}),
    ]
    fake.set_state(jobs[1]["native_id"], JobState.RUNNING)
    fake.set_state(jobs[2]["native_id"], JobState.FAILED, exit_code=3)
    follow(ann, work, jobs[2]["id"], "FAILED")
    return [job["id"] for job in jobs]


def follow(ann, work, job_id, state):
    def there():
        work()
        return ann.get(f"jobs/{job_id}").json["state"] == state

    eventually(there)


def test_jobs_are_found_by_everything_that_they_have(ann, root, three):
    first, second, third = three
    for query, expected in {
        "": [third, second, first],
        "state=QUEUED": [first],
        "state=QUEUED,RUNNING": [second, first],
        "state=QUEUED&state=failed": [third, first],
        "active=true": [second, first],
        "active=false": [third],
        "site=fake": [third, second, first],
        "site=fake.example.org": [third, second, first],
        "site=elsewhere": [],
        "owner=ann": [third, second, first],
        "owner=bob": [],
        "name=second": [second],
        "label=team=a": [second, first],
        "label=team=a&label=n=2": [second],
        "tag=x": [second, first],
        "tag=x&tag=y": [second],
        "project=p1": [first],
        "since=2020-01-01T00:00:00Z": [third, second, first],
        "since=2020-01-01T00:00:00+01:00": [third, second, first],
        "since=0&until=1000000000": [],
        "state=RUNNING&label=team=a&owner=ann&site=fake": [second],
    }.items():
        assert ids(ann.get(f"jobs?{query}")) == expected, query
    assert ids(root.get("jobs?owner=ann&name=third")) == [third]


def test_pages_hold_every_job_once(ann):
    made = [ann.submit(name=str(n))["id"] for n in range(7)]
    found, cursor = [], None
    while True:
        page = ann.get("jobs?limit=3" + (f"&cursor={cursor}" if cursor else ""))
        found += ids(page)
        cursor = page.json["next_cursor"]
        if cursor is None:
            break
        assert len(page.json["items"]) == 3
    assert found == made[::-1]


def test_lists_are_brief(ann):
    job = ann.submit()
    assert "spec" in ann.get(f"jobs/{job['id']}").json
    assert "spec" not in ann.get("jobs").json["items"][0]


def test_what_has_not_changed_is_not_sent_again(ann, fake, work):
    job = ann.submit()
    path = f"jobs/{job['id']}"
    etag = ann.get(path).headers["ETag"]
    same = ann.get(path, headers={"If-None-Match": etag})
    assert (same.status_code, same.data) == (304, b"")
    assert same.headers["ETag"] == etag
    fake.set_state(job["native_id"], JobState.RUNNING)
    follow(ann, work, job["id"], "RUNNING")
    changed = ann.get(path, headers={"If-None-Match": etag})
    assert changed.status_code == 200
    assert changed.headers["ETag"] != etag


def test_a_cancel_is_asked_for_and_then_seen(ann, fake, work):
    fake.cancel_ends = False
    job = ann.submit()
    answer = ann.post(f"jobs/{job['id']}/cancel")
    assert answer.status_code == 200
    assert (answer.json["state"], answer.json["canceling"]) == ("QUEUED", True)
    assert fake.canceled == [job["native_id"]]
    fake.set_state(job["native_id"], JobState.CANCELED)
    follow(ann, work, job["id"], "CANCELED")
    done = ann.get(f"jobs/{job['id']}").json
    assert (done["reason"], done["canceling"]) == ("CANCELED_BY_USER", False)
    assert ann.post(f"jobs/{job['id']}/cancel").json["state"] == "CANCELED"


def test_many_are_canceled_by_ids_and_by_filter(ann, fake, work):
    made = [ann.submit(labels={"k": str(n % 2)})["id"] for n in range(6)]
    by_ids = ann.post("jobs/cancel", {"ids": made[:2]})
    assert by_ids.json["count"] == 2
    assert [item["id"] for item in by_ids.json["items"]] == made[:2]
    assert ann.post("jobs/cancel", {"filter": {"labels": {"k": "1"}}}).json["count"] >= 2
    assert ann.post("jobs/cancel", {"filter": {"state": ["queued"], "active": True}}).json["count"] >= 2
    for job_id in made:
        follow(ann, work, job_id, "CANCELED")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "body"),
        ({"ids": [1], "filter": {"active": True}}, "body"),
        ({"ids": []}, "ids"),
        ({"ids": ["1"]}, "ids.0"),
        ({"ids": [0]}, "ids.0"),
        ({"filter": {}}, "filter"),
        ({"filter": {"sate": ["QUEUED"]}}, "filter.sate"),
        ({"filter": {"state": ["GONE"]}}, "filter.state"),
        ({"filter": {"active": "yes"}}, "filter.active"),
        ({"id": 1}, "id"),
    ],
)
def test_a_bulk_cancel_must_say_what_it_means(refused, body, field):
    assert field in fields(problem(refused.post("jobs/cancel", body), 422, "invalid_spec"))


def test_hold_release_signal_and_requeue(ann, fake, work):
    job = ann.submit()
    path = f"jobs/{job['id']}"
    assert ann.post(f"{path}/hold").status_code == 200
    follow(ann, work, job["id"], "HELD")
    assert ann.post(f"{path}/release").status_code == 200
    follow(ann, work, job["id"], "QUEUED")
    problem(ann.post(f"{path}/requeue"), 409, "conflict")
    fake.set_state(job["native_id"], JobState.RUNNING)
    follow(ann, work, job["id"], "RUNNING")
    assert ann.post(f"{path}/signal", {"signal": "SIGUSR1"}).status_code == 200
    assert fake.job(job["native_id"]).signals == ["USR1"]
    assert ann.post(f"{path}/requeue").status_code == 200
    follow(ann, work, job["id"], "QUEUED")
    attempts = ann.get(f"{path}/attempts").json["items"]
    assert [item["attempt"] for item in attempts] == [1, 2]


@pytest.mark.parametrize(
    ("body", "field"),
    [({}, "signal"), ({"signal": "BOOM"}, "signal"), ({"signal": 9}, "signal"), ({"sig": "TERM"}, "sig")],
)
def test_a_wrong_signal_is_told(refused, body, field):
    assert field in fields(problem(refused.post("jobs/1/signal", body), 422, "invalid_spec"))


def test_what_a_scheduler_cannot_do_is_not_implemented(make_gateway, serve, login):
    plain = FakeScheduler("plain", capabilities=frozenset({Capability.ARRAYS}))
    ann = login(serve(make_gateway(plugins=[("plain", plain)], sites={"fake": {"scheduler": "plain"}})), "ann")
    job = ann.submit()
    problem(ann.post(f"jobs/{job['id']}/hold"), 501, "not_supported")
    problem(ann.get("sites/fake/queues"), 501, "not_supported")


def test_only_what_has_ended_is_forgotten(ann, fake, work):
    job = ann.submit()
    problem(ann.delete(f"jobs/{job['id']}"), 409, "conflict")
    fake.set_state(job["native_id"], JobState.COMPLETED)
    follow(ann, work, job["id"], "COMPLETED")
    gone = ann.delete(f"jobs/{job['id']}")
    assert (gone.status_code, gone.data) == (204, b"")
    problem(ann.get(f"jobs/{job['id']}"), 404, "not_found")


def test_what_happened_to_a_job_is_told_in_order_and_in_pages(ann, fake, work):
    job = ann.submit()
    fake.set_state(job["native_id"], JobState.FAILED, exit_code=2)
    follow(ann, work, job["id"], "FAILED")
    path = f"jobs/{job['id']}/events"
    every = ann.get(path).json
    assert every["next_cursor"] is None
    states = [item["data"]["new"] for item in every["items"] if item["type"] == "job.state"]
    assert states[0] == "SUBMITTING"
    assert states[-1] == "FAILED"
    pages, cursor = [], ""
    while cursor is not None:
        page = ann.get(f"{path}?limit=2" + (f"&cursor={cursor}" if cursor else "")).json
        pages += page["items"]
        cursor = page["next_cursor"]
    assert pages == every["items"]
    assert ann.get(f"{path}?after={every['items'][-1]['seq']}").json["items"] == []
    assert "cursor" in fields(problem(ann.get(f"{path}?cursor=x"), 422, "invalid_spec"))


def test_the_tasks_of_an_array_come_in_pages(ann, fake, work):
    job = ann.submit(array="0-4")
    assert job["array"] == "0-4"
    tasks = tuple(TaskObservation(index=n, state=JobState.RUNNING) for n in range(5))
    fake.set_state(job["native_id"], JobState.RUNNING, tasks=tasks)
    follow(ann, work, job["id"], "RUNNING")
    path = f"jobs/{job['id']}/tasks"
    first = ann.get(f"{path}?limit=3").json
    rest = ann.get(f"{path}?limit=3&cursor={first['next_cursor']}").json
    assert [item["index"] for item in first["items"] + rest["items"]] == [0, 1, 2, 3, 4]
    assert rest["next_cursor"] is None
    assert ann.get(f"{path}?attempt=2").json["items"] == []
    assert "cursor" in fields(problem(ann.get(f"{path}?cursor=x"), 422, "invalid_spec"))


def test_the_script_is_shown_as_it_was_sent(ann):
    script = "#!/bin/sh\n# ünïcode\necho '$X' \"`date`\"\n"
    job = ann.submit(script=script)
    response = ann.get(f"jobs/{job['id']}/script")
    assert response.content_type == "text/plain; charset=utf-8"
    assert response.text == script


# --- sites, plugins, oneself


def test_sites_and_what_is_known_of_them(ann, root, three):
    listed = ann.get("sites").json["items"]
    assert [site["name"] for site in listed] == ["fake"]
    site = ann.get("sites/fake.example.org").json
    assert site["scheduler"] == "fake"
    assert site["aliases"] == ["fake.example.org"]
    assert site["counts"]["QUEUED"] == 1
    assert site["polled_at"].endswith("Z")
    assert root.get("sites/fake").json["counts"] == site["counts"]
    assert ann.get("sites/fake/queues").json["items"][0]["name"] == "main"
    assert ann.get("sites/fake/nodes").json["items"][0]["cpus"] == 1024
    problem(ann.get("sites/fake/check"), 403, "forbidden")
    assert root.get("sites/fake/check").json["checks"][0]["ok"] is True
    problem(ann.get("sites/nowhere"), 404, "not_found")


def test_a_site_that_does_not_answer_is_a_bad_gateway(ann, fake):
    fake.fail_next("describe", TransportError("cannot reach the host"))
    body = problem(response := ann.get("sites/fake/queues"), 502, "transport_error")
    assert body["transient"] is True
    assert response.headers["Retry-After"]
    fake.fail_next("describe", SchedulerError("no such command", transient=False))
    body = problem(response := ann.get("sites/fake/queues"), 502, "scheduler_error")
    assert body["transient"] is False
    assert "Retry-After" not in response.headers


def test_plugins_and_what_they_can_do(ann):
    found = {item["name"]: item for item in ann.get("plugins").json["items"]}
    assert found["fake"]["status"] == "ok"
    assert "hold" in found["fake"]["capabilities"]
    assert {"field": "script", "verdict": "honoured", "how": None} in found["fake"]["fields"]


def test_why_a_plugin_is_broken_is_for_operators(make_gateway, serve, login):
    # Two of one name: both are left out.
    front = serve(make_gateway(plugins=[("twin", object()), ("twin", object())]))
    told = {item["error"] for item in login(front, "root").get("plugins").json["items"] if item["name"] == "twin"}
    assert all("another plugin has the same name" in error for error in told)
    broken = [item for item in login(front, "ann").get("plugins").json["items"] if item["status"] == "broken"]
    assert [(item["name"], item["error"]) for item in broken] == [("twin", None), ("twin", None)]


def test_who_one_is(ann, root):
    assert ann.get("me").json["roles"] == ["user"]
    assert root.get("me").json["roles"] == ["admin", "user"]


def test_a_cancel_by_filter_goes_in_parts_and_can_be_counted_first(ann, work, monkeypatch):
    monkeypatch.setattr("hpcgate.service.control.CANCEL_CHUNK", 2)
    made = {ann.post("jobs", {"script": SCRIPT, "name": "part"}).json["id"] for _ in range(3)}
    which = {"filter": {"name": "part"}}
    assert ann.post("jobs/cancel", {**which, "dry_run": True}).json == {"count": 3, "next_cursor": None}
    first = ann.post("jobs/cancel", which).json
    assert first["count"] == 2
    assert ann.post("jobs/cancel", {**which, "cursor": first["next_cursor"]}).json == {"count": 1, "next_cursor": None}
    for job_id in made:
        follow(ann, work, job_id, "CANCELED")
    wrong = ann.post("jobs/cancel", {"ids": list(made), "dry_run": True})
    assert (wrong.status_code, wrong.json["code"]) == (422, "invalid_spec")


def test_a_drained_site_refuses_and_says_when_to_come_back(ann, root):
    answer = root.post("sites/fake.example.org/drain", {"reason": "maintenance until 18:00"})
    assert answer.json["drained"]["by"] == "root"
    refused = ann.post("jobs", {"script": SCRIPT})
    problem(refused, 503, "site_drained")
    assert refused.headers["Retry-After"] == "60"
    assert "maintenance until 18:00" in refused.json["detail"]
    assert ann.get("sites/fake").json["drained"]["reason"] == "maintenance until 18:00"
    assert ann.post("jobs/bulk", {"jobs": [{"script": SCRIPT}]}).json["items"][0]["status"] == 503
    problem(root.post("sites/fake/drain", {"reason": ""}), 422, "invalid_spec")
    assert root.post("sites/fake/resume").json["drained"] is None
    problem(root.post("sites/fake/resume"), 409, "conflict")
    ann.submit()


def test_tasks_of_an_array_are_canceled_and_run_again(ann, fake, work):
    array = {"start": 1, "stop": 4}
    job = ann.submit(array=array)
    assert ann.post(f"jobs/{job['id']}/cancel", {"indices": [2]}).json["canceling"] is False
    problem(ann.post(f"jobs/{job['id']}/cancel", {"indices": [5]}), 422, "invalid_spec")
    problem(ann.post(f"jobs/{job['id']}/retry"), 409, "conflict")
    ann.post(f"jobs/{job['id']}/cancel", {"indices": [1, 3, 4]})
    follow(ann, work, job["id"], "CANCELED")
    (again,) = ann.post(f"jobs/{job['id']}/retry", {"indices": [2, 4]}).json["items"]
    assert (again["array"], again["retry_of"]) == ("2-4:2", job["id"])
    (everything,) = ann.post(f"jobs/{job['id']}/retry").json["items"]
    assert everything["array"] == "1-4"
