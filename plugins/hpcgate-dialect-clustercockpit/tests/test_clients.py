"""What real clients send, as they send it: headers, bodies and order, and what they read of the answers.

They are programs without a package: a synchronizer for Slurm (pc2), one for HTCondor, a classifier of jobs, and an
adapter for Slurm of ClusterCockpit's own.
"""

from __future__ import annotations

import json

import pytest
from cctools import T0


@pytest.fixture
def ld_json(api):
    """As two of them ask: for a type that nobody answers with, and with a Content-Type also where there is no body."""
    sent = {"accept": "application/ld+json", "Content-Type": "application/json"}
    return lambda *call, status=200: api.ask(*call, status=status, headers={**sent, **api.headers})


@pytest.fixture(autouse=True)
def empty(api):
    """Each client has the place for itself."""
    yield
    api.ask("DELETE", f"/api/jobs/delete_job_before/{2**40}")


def test_the_synchronizer_for_slurm(ld_json):
    """It reads all running jobs, stops those that the queue does not have, and starts those that are only there."""
    environment = "USER=ada\0HOME=/home/ada\0"
    queue = {
        101: {"exclusive": 1, "resources": [{"hostname": "f001", "hwthreads": [0, 1]}], "numAcc": 0},
        102: {
            "exclusive": 0,
            "resources": [{"hostname": "f002", "hwthreads": [], "accelerators": ["00000000:03:00.0"]}],
            "numAcc": 1,
            "arrayJobId": 100,
        },
    }

    def running():
        return ld_json("GET", "/api/jobs/?cluster=fritz&items-per-page=10000000&state=running")["jobs"]

    def start(number, start_time, **fields):
        metadata = {
            "jobName": "wrap",
            "jobScript": "NO JOBSCRIPT",
            "slurmInfo": f"JobId={number}\nENV:\n====\n{environment}",
        }
        body = {
            "jobId": number,
            "user": "ada",
            "cluster": "fritz",
            "numNodes": 1,
            "numHwthreads": 2,
            "startTime": start_time,
            "walltime": 3600,
            "project": "p1",
            "partition": "normal",
            "metadata": metadata,
            **fields,
        }
        return ld_json("POST", "/api/jobs/start_job/", body, status=201)

    for number, fields in queue.items():
        start(number, T0, **fields)
    assert {job["jobId"] for job in running()} == queue.keys(), "it compares numbers with numbers"

    (ended,) = (job for job in running() if job["jobId"] == 101)
    stop = {"jobId": 101, "cluster": ended["cluster"], "startTime": ended["startTime"], "stopTime": T0 + 60}
    assert ld_json("POST", "/api/jobs/stop_job/", {**stop, "jobState": "completed"})["jobState"] == "completed"
    assert [job["jobId"] for job in running()] == [102]
    requeued = start(101, T0 + 86_400, **queue[101])
    assert sorted(job["jobId"] for job in running()) == [101, 102]
    assert requeued["id"] != ended["id"]
    # Where the queue's end is before the start that it reads here, it says that the job ran for a second.
    (found,) = (job for job in running() if job["jobId"] == 101)
    correction = {**stop, "startTime": found["startTime"], "stopTime": found["startTime"] + 1, "jobState": "failed"}
    assert ld_json("POST", "/api/jobs/stop_job/", correction)["duration"] == 1


def test_the_scripts_for_htcondor(api, ld_json):
    """They page through all running jobs, and stop each by the id of its record, with all five keys."""
    big = 2**40
    for number in range(101):
        api.start(jobId=big + number, arrayJobId=big, startTime=T0 + number)
    found, page = [], 1
    while True:
        path = f"/api/jobs/?cluster=fritz&state=running&items-per-page=100&page={page}"
        part = ld_json("GET", path)["jobs"]
        found += part
        page += 1
        if len(part) < 100:
            break
    assert [job["jobId"] for job in found] == [big + number for number in range(100, -1, -1)]
    assert {job["arrayJobId"] for job in found} == {big}
    for job in found[:3]:
        body = {"jobState": "cancelled", "stopTime": job["startTime"] + 1}
        body |= {key: job[key] for key in ("cluster", "jobId", "startTime")}
        answer = ld_json("POST", f"/api/jobs/stop_job/{job['id']}", body)
        assert (answer["id"], answer["jobState"]) == (job["id"], "cancelled")


def test_the_classifier(api):
    """It reads jobs that have ended in pages of fifty, and tags those whose statistics meet a rule."""
    loads = {"unit": "load", "min": 0.0, "max": 1.0}
    for number in range(60):
        statistics = {"load_one": {**loads, "avg": number / 60}}
        api.start(jobId=number, startTime=T0 + number, statistics=statistics)
        api.ask("POST", "/api/jobs/stop_job/", {"jobId": number, "stopTime": T0 + 100, "jobState": "failed"})
    states = ("completed", "failed", "cancelled", "stopped", "timeout", "preempted", "out_of_memory")
    query = "&".join(f"state={state}" for state in states)
    found, page = [], 1
    while True:
        path = f"/api/jobs/?cluster=fritz&{query}&start-time={T0}-{T0 + 59}&items-per-page=50&page={page}"
        part = api.ask("GET", path)["jobs"]
        found += part
        page += 1
        if len(part) < 50:
            break
    assert len(found) == 60
    idle = [job for job in found if "statistics" in job and job["statistics"]["load_one"]["avg"] < 0.05]
    assert [job["jobId"] for job in idle] == [2, 1, 0]
    for job in idle * 2:
        tagged = api.ask("POST", f"/api/jobs/tag_job/{job['id']}", [{"name": "idle", "type": "jobClass"}])
        assert [(tag["type"], tag["name"]) for tag in tagged["tags"]] == [("jobClass", "idle")]


def test_the_adapter_for_slurm(api):
    """It may send a start or stop again, and then wants 422; the shape of a job is that of a structure of Go."""
    headers = {"accept": "application/ld+json", "Content-Type": "application/json", "X-AUTH-TOKEN": api.token}
    running = "/api/jobs/?state=running&items-per-page=9999999&page=1&with-metadata=false"
    assert api.ask("GET", running, headers=headers) == {"jobs": [], "items": 9999999, "page": 1}
    body = {
        "cluster": "fritz",
        "subCluster": "",
        "partition": "normal",
        "project": "p1",
        "user": "ada",
        "jobState": "",
        "tags": None,
        "resources": [{"hostname": "f001", "hwthreads": None}],
        "jobId": 7,
        "numNodes": 1,
        "numHwthreads": 4,
        "numAcc": 0,
        "shared": "multi_user",
        "walltime": 600,
        "duration": 0,
        "startTime": T0,
        "submitTime": 0,
        "metaData": {"jobName": "x", "submitTime": str(T0 - 5)},
        "energy": 0,
        "footprint": None,
        "energyFootprint": None,
        "concurrentJobs": {"items": None, "count": 0},
        "smt": 0,
        "arrayJobId": 0,
        "monitoringStatus": 0,
        "requestedMemory": 0,
    }
    assert api.ask("POST", "/api/jobs/start_job/", body, headers=headers, status=201)["msg"] == "success"
    api.ask("POST", "/api/jobs/start_job/", body, headers=headers, status=422)
    (job,) = api.ask("GET", running, headers=headers)["jobs"]
    assert (job["jobId"], job["jobState"], job["cluster"]) == (7, "running", "fritz")
    stop = {"jobId": 7, "cluster": "fritz", "jobState": "cancelled", "stopTime": T0 + 9}
    assert api.ask("POST", "/api/jobs/stop_job/", stop, headers=headers)["duration"] == 9
    api.ask("POST", "/api/jobs/stop_job/", stop, headers=headers, status=422)
    nodes = {
        "hostname": "f001",
        "states": ["ALLOCATED"],
        "cpusAllocated": 4,
        "cpusTotal": 8,
        "memoryAllocated": 1,
        "memoryTotal": 2,
        "gpusAllocated": 0,
        "gpusTotal": 0,
        "jobsRunning": 1,
    }
    assert api("POST", "/api/nodestate/", {"cluster": "fritz", "node": [nodes]}, headers=headers).status_code == 200


def test_what_curl_sends(api):
    """A form, by its Content-Type, and JSON in it."""
    form = {**api.headers, "Content-Type": "application/x-www-form-urlencoded"}
    line = json.dumps({"jobId": 8, "user": "ada", "cluster": "open", "numNodes": 1, "resources": [{"hostname": "x"}]})
    started = api.ask("POST", "/api/jobs/start_job/", line, headers=form, status=201)
    stopped = api.ask("PUT", f"/api/jobs/stop_job/{started['id']}", '{"stopTime": 5}', headers=form)
    assert stopped["duration"] == 5
    tagged = api.ask("PATCH", f"/api/jobs/tag_job/{started['id']}", '[{"type": "a", "name": "b"}]', headers=form)
    assert len(tagged["tags"]) == 1
