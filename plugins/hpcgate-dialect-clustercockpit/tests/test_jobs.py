"""Golden pairs: what is sent to the routes of jobs, and what comes back, row by row of the API."""

from __future__ import annotations

import json

import pytest
from cctools import T0, job

NOT_FOUND = 987_654_321
#: Everything that a report may have, in the words of all versions.
WHOLE = {
    "jobId": 4711,
    "user": "ada",
    "project": "p1",
    "cluster": "fritz",
    "subCluster": "main",
    "partition": "short",
    "arrayJobId": 4700,
    "numNodes": 2,
    "numHwthreads": 16,
    "numAcc": 2,
    "exclusive": 2,
    "monitoringStatus": 1,
    "smt": 1,
    "jobState": "running",
    "duration": 0,
    "walltime": 3600,
    "tags": [{"id": 99, "type": "Debug", "name": "x"}, {"type": "Debug", "name": "x", "scope": "global"}],
    "resources": [
        {"hostname": "f001", "hwthreads": [0, 1], "accelerators": ["a0"], "configuration": "c"},
        {"hostname": "f002"},
    ],
    "metadata": {"jobName": "solver", "jobScript": "#!/bin/sh\ntrue\n", "nothing": None},
    "startTime": T0,
    "submitTime": T0 - 60,
    "requestedMemory": 5,
    "footprint": {"load": 1.5},
    "energyFootprint": {"acc": 1},
    "energy": 1.5,
    "concurrentJobs": None,
    "id": 5,
    "statistics": {"load_one": {"unit": "load", "avg": 0.2, "min": 0.1, "max": 0.3}},
}
#: The same in an answer, as long as the job runs.
LISTED = {
    "jobId": 4711,
    "user": "ada",
    "project": "p1",
    "cluster": "fritz",
    "subCluster": "main",
    "partition": "short",
    "arrayJobId": 4700,
    "numNodes": 2,
    "numHwthreads": 16,
    "numAcc": 2,
    "exclusive": 2,
    "shared": "single_user",
    "monitoringStatus": 1,
    "smt": 1,
    "jobState": "running",
    "walltime": 3600,
    "resources": [
        {"hostname": "f001", "hwthreads": [0, 1], "accelerators": ["a0"], "configuration": "c"},
        {"hostname": "f002"},
    ],
    "metaData": {"jobName": "solver", "jobScript": "#!/bin/sh\ntrue\n", "nothing": ""},
    "startTime": T0,
    "submitTime": T0 - 60,
}


def test_a_whole_report_comes_back_as_it_was_sent(api):
    started = api.ask("POST", "/api/jobs/start_job/", WHOLE, status=201)
    assert started == {"id": started["id"], "msg": "success"}
    (found,) = api.listed(f"start-time={T0}-{T0}&with-metadata=true")
    (tag,) = found.pop("tags")
    assert tag == {"id": tag["id"], "type": "Debug", "name": "x", "scope": "global"}
    assert found.pop("duration") > 86_400, "a job that runs has lasted until now"
    assert found == {"id": started["id"], **LISTED}

    ended = api.ask("POST", f"/api/jobs/stop_job/{started['id']}", {"stopTime": T0 + 300, "jobState": "failed"})
    assert ended.pop("tags") == [tag]
    statistics = ended.pop("statistics")
    assert statistics == WHOLE["statistics"]
    assert ended == {
        **LISTED,
        "id": started["id"],
        "jobState": "failed",
        "duration": 300,
        "monitoringStatus": 3,
        "metaData": None,
    }
    (listed,) = api.listed("project=p1&state=failed")
    assert listed == {**ended, "tags": [tag], "statistics": statistics}


def test_what_is_not_given_has_its_defaults(api):
    sent = api.start(startTime=0)
    (found,) = [each for each in api.listed("start-time=0-0") if each["id"] == sent["id"]]
    assert {key: found[key] for key in ("subCluster", "partition", "arrayJobId", "numHwthreads", "numAcc")} == {
        "subCluster": "main",
        "partition": "",
        "arrayJobId": 0,
        "numHwthreads": 0,
        "numAcc": 0,
    }
    assert {key: found[key] for key in ("exclusive", "shared", "monitoringStatus", "smt", "walltime")} == {
        "exclusive": 1,
        "shared": "none",
        "monitoringStatus": 1,
        "smt": 0,
        "walltime": 0,
    }
    assert (found["tags"], found["resources"], found["metaData"]) == ([], [{"hostname": "f001"}], None)
    assert "submitTime" not in found
    assert "statistics" not in found


def without(body, *keys):
    return {key: value for key, value in body.items() if key not in keys}


#: What makes a report wrong -> what the answer says.
REFUSED = {
    "no body": (b"", "EOF"),
    "no JSON": (b"{", "parsing request body failed"),
    "an array": ([], "body: "),
    "an unknown key": (job(colour="red"), "colour: unknown field"),
    "a number in quotes": (job(jobId="1"), "jobId: not a valid integer"),
    "a fraction": (job(jobId=1.5), "jobId: not a valid integer"),
    "a truth value": (job(numNodes=True), "numNodes: not a valid integer"),
    "more than 32 bits": (job(numNodes=2**31), "numNodes: must be"),
    "more than 64 bits": (job(jobId=2**63), "jobId: must be"),
    "no cluster": (without(job(), "cluster"), "no such cluster: ''"),
    "an unknown cluster": (job(cluster="x"), "no such cluster: 'x'; known are: fritz, open"),
    "an unknown sub-cluster": (job(subCluster="x"), "has no sub-cluster 'x'"),
    "a node of no sub-cluster": (job(resources=[{"hostname": "z9"}]), "'z9'"),
    "an unknown state": (job(jobState="lost"), 'invalid job state: "lost"'),
    "no user": (without(job(), "user"), "'user'"),
    "no resources": (job(cluster="open", resources=[]), "'resources'"),
    "no name of a node": (job(cluster="open", resources=[{}]), "hostname: is required"),
    "no number of nodes": (without(job(), "numNodes"), "numNodes: 0"),
    "another number of nodes": (job(numNodes=2), "numNodes: 2, but there are resources of 1 nodes"),
    "less than no accelerators": (job(numAcc=-1), "numAcc: -1 is out of range"),
    "less than no threads": (job(numHwthreads=-1), "numHwthreads: -1 is out of range"),
    "exclusive 3": (job(exclusive=3), "exclusive: must be"),
    "smt 2": (job(smt=2), "smt: must be"),
    "an unknown sharing": (job(shared="x"), "shared: invalid shared"),
    "an unknown status": (job(monitoringStatus=4), "monitoringStatus: must be"),
    "a tag without a name": (job(tags=[{"type": "x"}]), "tags.0.name: is required"),
    "an unknown scope": (job(tags=[{"type": "x", "name": "y", "scope": "z"}]), "tags.0.scope: invalid scope"),
    "a key of a tag": (job(tags=[{"type": "x", "name": "y", "colour": 1}]), "tags.0.colour: unknown field"),
    "metadata that is no text": (job(metaData={"a": 1}), "metaData.a.value: not a valid string"),
    "a NUL": (job(user="a\0"), "user: must not have a NUL"),
    "statistics": (job(statistics={"x": {"avg": "1"}}), "statistics.x.value.avg: not a valid number"),
}


@pytest.mark.parametrize("wrong", REFUSED)
def test_a_report_that_is_refused(api, wrong):
    body, said = REFUSED[wrong]
    before = len(api.listed("items-per-page=-1"))
    assert said in api.ask("POST", "/api/jobs/start_job/", body, status=400)
    assert len(api.listed("items-per-page=-1")) == before


#: What bodies may look like all the same.
TAKEN = {
    "any case of keys": lambda body: {key.upper(): value for key, value in body.items()},
    "null": lambda body: {**body, "jobState": None, "resources": body["resources"], "tags": None, "metaData": None},
    "an empty state": lambda body: {**body, "jobState": ""},
    "a state that has ended": lambda body: {**body, "jobState": "completed", "tags": [{"type": "a", "name": "b"}]},
    "text behind it": lambda body: json.dumps(body) + "trailing {",
    "a key given twice": lambda body: '{"user": 7, ' + json.dumps(body)[1:-1] + ', "USER": "ada"}',
    "a null in a list": lambda body: {**body, "resources": [{"hostname": "f003", "hwthreads": [None, 2]}]},
    "both words of sharing": lambda body: {**body, "shared": "multi_user", "exclusive": 1},
    "64 bits": lambda body: {**body, "jobId": 2**62},
}


@pytest.mark.parametrize("how", TAKEN)
def test_a_report_that_is_taken(api, how):
    for method, path in (("POST", "/api/jobs/start_job/"), ("PUT", "/api/jobs/start_job")):
        body = job(startTime=T0 + 7 * 86_400 * (method == "PUT"))
        assert api.ask(method, path, TAKEN[how](body), status=201)["id"] > 0


def test_the_environment_of_a_job_keeps_its_nul(api):
    sent = api.start(metaData={"slurmInfo": "A=1\0B=2\0"})
    assert api.ask("GET", f"/api/jobs/{sent['id']}")["Meta"]["metaData"] == {"slurmInfo": "A=1\0B=2\0"}


def test_the_same_job_again(api):
    first = api.start()
    body = without(first, "id")
    for later in (0, 1, 86_399, -1, -10 * 86_400):
        said = api.ask("POST", "/api/jobs/start_job/", {**body, "startTime": T0 + later}, status=422)
        assert said == f"a job with that jobId, cluster and startTime already exists: dbid: {first['id']}"
    requeued = api.ask("POST", "/api/jobs/start_job/", {**body, "startTime": T0 + 86_400}, status=201)
    elsewhere = api.ask("POST", "/api/jobs/start_job/", {**body, "cluster": "open"}, status=201)
    assert len({first["id"], requeued["id"], elsewhere["id"]}) == 3


# --- stop


def stopping(sent, **fields):
    return {"jobId": sent["jobId"], "cluster": sent["cluster"], "startTime": sent["startTime"], **fields}


@pytest.mark.parametrize("state", ["completed", "failed", "cancelled", "stopped", "timeout", "preempted"])
def test_how_a_job_may_end(api, state):
    sent = api.start()
    ended = api.ask("POST", "/api/jobs/stop_job/", stopping(sent, stopTime=T0 + 10, jobState=state))
    assert (ended["id"], ended["jobState"], ended["duration"], ended["startTime"]) == (sent["id"], state, 10, T0)
    assert ended["tags"] == []
    assert ended["metaData"] is None


@pytest.mark.parametrize("state", ["out_of_memory", "boot_fail", "deadline", "node_fail"])
def test_how_a_job_may_end_by_the_id_of_its_record(api, state):
    sent = api.start()
    ended = api.ask("PUT", f"/api/jobs/stop_job/{sent['id']}/", stopping(sent, stopTime=T0, jobState=state))
    assert (ended["jobState"], ended["duration"]) == (state, 0), "a job may end when it begins"


def test_a_job_without_a_state_has_completed(api):
    sent = api.start()
    assert api.ask("POST", f"/api/jobs/stop_job/{sent['id']}", {"stopTime": T0 + 1})["jobState"] == "completed"


def test_a_stop_finds_the_newest_that_runs(api):
    first = api.start()
    later = api.ask("POST", "/api/jobs/start_job/", {**without(first, "id"), "startTime": T0 + 86_400}, status=201)
    stop = {"jobId": first["jobId"], "stopTime": T0 + 2 * 86_400}
    assert api.ask("POST", "/api/jobs/stop_job/", stop)["id"] == later["id"]
    assert api.ask("POST", "/api/jobs/stop_job/", stop)["id"] == first["id"]
    api.ask("POST", "/api/jobs/stop_job/", stop, status=422)


def test_a_stop_that_is_refused(api):
    sent = api.start()
    by_id, by_request = f"/api/jobs/stop_job/{sent['id']}", "/api/jobs/stop_job/"
    assert "jobId" in api.ask("POST", by_request, {"stopTime": T0}, status=400)
    assert "EOF" in api.ask("POST", by_id, b"", status=400)
    assert "colour" in api.ask("POST", by_id, {"colour": 1}, status=400)
    assert "stopTime" in api.ask("POST", by_id, {"stopTime": T0 - 1}, status=400)
    for state in ("lost", "running", "pending", "suspended"):
        wrong = {"stopTime": T0 + 1, "jobState": state}
        assert f'invalid job state: "{state}"' in api.ask("POST", by_id, wrong, status=400)
    assert "id" in api.ask("POST", "/api/jobs/stop_job/x1", {"stopTime": T0}, status=400)
    assert "finding job failed" in api.ask("POST", f"/api/jobs/stop_job/{NOT_FOUND}", {"stopTime": T0}, status=422)
    for other in ({"jobId": NOT_FOUND}, {"cluster": "open"}, {"startTime": T0 + 1}):
        wrong = {**stopping(sent, stopTime=T0 + 1), **other}
        assert "finding job failed" in api.ask("POST", by_request, wrong, status=422)
    api.ask("POST", by_id, {"stopTime": T0 + 1})
    for again in (by_id, by_request):
        assert "already stopped" in api.ask("POST", again, stopping(sent, stopTime=T0 + 1), status=422)


# --- tags


def tags_of(wire):
    return [(tag["type"], tag["name"]) for tag in wire["tags"]]


def test_tags_come_after_those_that_are_there(api):
    sent = api.start(tags=[{"type": "a", "name": "1"}])
    at = f"/api/jobs/tag_job/{sent['id']}"
    two = [{"type": "b", "name": "2"}, {"type": "a", "name": "3", "scope": "global"}]
    assert tags_of(api.ask("POST", at, two)) == [("a", "1"), ("b", "2"), ("a", "3")]
    assert tags_of(api.ask("PATCH", f"{at}/", two)) == [("a", "1"), ("b", "2"), ("a", "3")], "the same again is fine"
    for nothing in ([], "null"):
        assert len(api.ask("POST", at, nothing)["tags"]) == 3
    gone = api.ask("DELETE", at, [{"type": "b", "name": "2"}, {"type": "a", "name": "1", "scope": "private"}])
    assert tags_of(gone) == [("a", "1"), ("a", "3")]


def test_a_tag_that_is_refused(api):
    at = f"/api/jobs/tag_job/{api.start()['id']}"
    api.ask("POST", f"/api/jobs/tag_job/{NOT_FOUND}", b"no JSON", status=404)
    api.ask("POST", "/api/jobs/tag_job/x", b"no JSON", status=400)
    assert "body: must be an array" in api.ask("POST", at, {"type": "a", "name": "b"}, status=400)
    assert "colour" in api.ask("POST", at, [{"type": "a", "name": "b", "colour": 1}], status=400)
    assert "name" in api.ask("POST", at, [{"type": "a"}], status=400)
    api.ask("DELETE", f"/api/jobs/tag_job/{NOT_FOUND}", [], status=404)


def test_tags_are_removed_from_all_jobs(api):
    sent = [api.start(tags=[{"type": "gone", "name": "x"}]) for _ in range(2)]
    answer = api("DELETE", "/api/tags/", [{"type": "gone", "name": "x"}])
    assert answer.text == "Deleted Tags from DB: 1 successfull of 1 requested\n"
    assert [api.ask("GET", f"/api/jobs/{each['id']}")["Meta"]["tags"] for each in sent] == [[], []]


# --- metadata


def test_metadata_is_merged(api):
    sent = api.start(metaData={"a": "1", "b": "2"})
    by_id = api.ask("PATCH", f"/api/jobs/edit_meta/{sent['id']}", {"key": "b", "value": "3"})
    assert by_id["metaData"] == {"a": "1", "b": "3"}
    assert api.ask("POST", f"/api/jobs/edit_meta/{sent['id']}", {"key": "c", "value": "4"})["metaData"]["c"] == "4"
    which = {"jobId": sent["jobId"], "cluster": "fritz", "payload": {"key": "d", "value": "5"}}
    assert api.ask("PATCH", "/api/jobs/edit_meta/", which)["metaData"]["d"] == "5"
    api.ask("PATCH", f"/api/jobs/edit_meta/{NOT_FOUND}", {"key": "b", "value": "3"}, status=404)
    api.ask("PATCH", f"/api/jobs/edit_meta/{sent['id']}", {"value": "3"}, status=400)
    api.ask("PATCH", "/api/jobs/edit_meta/", {"payload": {"key": "d"}}, status=400)
    api.ask("PATCH", "/api/jobs/edit_meta/", {**which, "jobId": NOT_FOUND}, status=422)


# --- removal


def test_a_record_is_removed(api):
    sent = api.start()
    gone = {"msg": f"Successfully deleted job {sent['id']}"}
    assert api.ask("DELETE", f"/api/jobs/delete_job/{sent['id']}") == gone
    assert api.ask("DELETE", f"/api/jobs/delete_job/{sent['id']}") == gone, "as upstream"
    api.ask("DELETE", "/api/jobs/delete_job/x", status=400)
    again = api.ask("POST", "/api/jobs/start_job/", without(sent, "id"), status=201)
    assert again["id"] > sent["id"], "ids are never given again"
    which = {"jobId": sent["jobId"], "cluster": "fritz", "startTime": T0}
    for wrong, status in (
        (b"", 400),
        ({"cluster": "fritz"}, 400),
        ({**which, "x": 1}, 400),
        ({**which, "jobId": 1}, 422),
    ):
        api.ask("DELETE", "/api/jobs/delete_job/", wrong, status=status)
    assert api.ask("DELETE", "/api/jobs/delete_job/", which) == {"msg": f"Successfully deleted job {again['id']}"}


def test_records_from_before_a_moment_are_removed(api):
    old = 1_000_000
    kinds = [{"type": "app", "name": "x"}], [{"type": "mine", "name": "x"}], []
    for tags in kinds:
        api.start(startTime=old, tags=tags)
    before = f"/api/jobs/delete_job_before/{old + 1}"
    api.ask("DELETE", "/api/jobs/delete_job_before/x", status=400)
    assert "omit-tagged" in api.ask("DELETE", f"{before}?omit-tagged=x", status=400)
    left = api.listed("start-time=1-1000000")
    for omit, count in (("all", 1), ("user", 1), ("none", 1)):
        assert api.ask("DELETE", f"{before}?omit-tagged={omit}")["msg"].startswith("Successfully deleted"), left
        assert len(api.listed("start-time=1-1000000")) == len(left) - count
        left = api.listed("start-time=1-1000000")
    assert left == []


# --- metrics


def test_there_are_no_time_series(api):
    sent = api.start(metaData={"a": "b"})
    at = f"/api/jobs/{sent['id']}"
    found = api.ask("GET", f"{at}?all-metrics=true")
    assert (found["Meta"]["id"], found["Meta"]["metaData"], found["Data"]) == (sent["id"], {"a": "b"}, None)
    assert api.ask("POST", at, ["load"])["Data"] == []
    for wrong in ([7], {}, "0", b""):
        api.ask("POST", at, wrong, status=400)
    for method in ("GET", "POST"):
        api.ask(method, f"/api/jobs/{NOT_FOUND}", "[]", status=422)
        api.ask(method, "/api/jobs/x1", "[]", status=400)
    metrics = "/api/jobs/metrics/"
    asked = f"{metrics}{sent['id']}?metric=load&metric=x&scope=node&scope=core"
    assert api.ask("GET", asked) == {"data": {"jobMetrics": []}, "error": None}
    missing = api.ask("GET", f"{metrics}{NOT_FOUND}")
    assert missing["data"] is None
    assert missing["error"]["message"]
    assert "scope" in api.ask("GET", f"{asked}&scope=planet", status=400)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/api/jobs/start_job/", 405),
        ("GET", "/api/jobs/stop_job", 405),
        ("POST", "/api/jobs/delete_job/1", 405),
        ("DELETE", "/api/jobs/", 405),
        ("GET", "/api/jobs/no_such/", 404),
        ("GET", "/api/nothing", 404),
    ],
)
def test_what_there_is_not(api, method, path, status):
    api.ask(method, path, "{}", status=status)
