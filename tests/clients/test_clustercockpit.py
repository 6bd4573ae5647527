"""Programs of ClusterCockpit's users: synchronizers (Slurm, HTCondor), a classifier, the adapter for Slurm, curl."""

from __future__ import annotations

import json

import pytest
from clients.wire import Requests, send
from live.served import curl

from hpcgate.model.principal import Role

HOST = "cockpit.example.org"
T0 = 1_700_000_000
#: As two of them ask: for a type that nobody answers with, and with a Content-Type also where there is no body.
LD_JSON = {"accept": "application/ld+json", "Content-Type": "application/json"}


@pytest.fixture
def program(someone):
    """Sends requests as a program with python-requests; the JSON of the answer, which has to have a status."""

    def made(name, **own):
        server = someone(name, Role.API)
        requests = Requests(server.url, HOST, {**own, "Authorization": f"Bearer {server.token}"})

        def ask(method, path, data=None, *, status=200):
            answer = requests(method, path, data=data)
            assert answer.status == status, answer.body
            return answer.json

        return ask

    return made


def reported(number, cluster, **fields):
    """A job that somebody else has reported."""
    return {
        "jobId": number,
        "user": "ada",
        "cluster": cluster,
        "numNodes": 1,
        "resources": [{"hostname": "f001"}],
        "startTime": T0 + number,
        **fields,
    }


def test_the_synchronizer_for_slurm(program):
    """It reads all running jobs, stops those that the queue does not have, and starts those that are only there."""
    ask = program("cc-slurm-sync", **LD_JSON)
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
        return ask("GET", "/api/jobs/?cluster=slurm&items-per-page=10000000&state=running")["jobs"]

    def start(number, start_time, **fields):
        metadata = {
            "jobName": "wrap",
            "jobScript": "NO JOBSCRIPT",
            "slurmInfo": f"JobId={number}\nENV:\n====\n{environment}",
        }
        body = {
            "jobId": number,
            "user": "ada",
            "cluster": "slurm",
            "numNodes": 1,
            "numHwthreads": 2,
            "startTime": start_time,
            "walltime": 3600,
            "project": "p1",
            "partition": "normal",
            "metadata": metadata,
            **fields,
        }
        return ask("POST", "/api/jobs/start_job/", body, status=201)

    for number, fields in queue.items():
        start(number, T0, **fields)
    assert {job["jobId"] for job in running()} == queue.keys(), "it compares numbers with numbers"

    (ended,) = (job for job in running() if job["jobId"] == 101)
    stop = {"jobId": 101, "cluster": ended["cluster"], "startTime": ended["startTime"], "stopTime": T0 + 60}
    assert ask("POST", "/api/jobs/stop_job/", {**stop, "jobState": "completed"})["jobState"] == "completed"
    assert [job["jobId"] for job in running()] == [102]
    requeued = start(101, T0 + 86_400, **queue[101])
    assert sorted(job["jobId"] for job in running()) == [101, 102]
    assert requeued["id"] != ended["id"]
    # Where the queue's end is before the start that it reads here, it says that the job ran for a second.
    (found,) = (job for job in running() if job["jobId"] == 101)
    correction = {**stop, "startTime": found["startTime"], "stopTime": found["startTime"] + 1, "jobState": "failed"}
    assert ask("POST", "/api/jobs/stop_job/", correction)["duration"] == 1


def test_the_scripts_for_htcondor(program):
    """They page through all running jobs, and stop each by the id of its record, with all five keys."""
    ask, big = program("cc-condor-sync", **LD_JSON), 2**40
    for number in range(101):
        numbers = {"jobId": big + number, "arrayJobId": big}
        ask("POST", "/api/jobs/start_job/", {**reported(number, "condor"), **numbers}, status=201)
    found, page = [], 1
    while True:
        path = f"/api/jobs/?cluster=condor&state=running&items-per-page=100&page={page}"
        part = ask("GET", path)["jobs"]
        found += part
        page += 1
        if len(part) < 100:
            break
    assert [job["jobId"] for job in found] == [big + number for number in range(100, -1, -1)]
    assert {job["arrayJobId"] for job in found} == {big}
    for job in found[:3]:
        body = {"jobState": "cancelled", "stopTime": job["startTime"] + 1}
        body |= {key: job[key] for key in ("cluster", "jobId", "startTime")}
        answer = ask("POST", f"/api/jobs/stop_job/{job['id']}", body)
        assert (answer["id"], answer["jobState"]) == (job["id"], "cancelled")


def test_the_classifier(program):
    """It reads jobs that have ended in pages of fifty, and tags those whose statistics meet a rule."""
    ask = program("classifier")
    loads = {"unit": "load", "min": 0.0, "max": 1.0}
    for number in range(60):
        statistics = {"load_one": {**loads, "avg": number / 60}}
        ask("POST", "/api/jobs/start_job/", reported(number, "rules", statistics=statistics), status=201)
        ask(
            "POST",
            "/api/jobs/stop_job/",
            {"jobId": number, "cluster": "rules", "stopTime": T0 + 100, "jobState": "failed"},
        )
    states = ("completed", "failed", "cancelled", "stopped", "timeout", "preempted", "out_of_memory")
    query = "&".join(f"state={state}" for state in states)
    found, page = [], 1
    while True:
        path = f"/api/jobs/?cluster=rules&{query}&start-time={T0}-{T0 + 59}&items-per-page=50&page={page}"
        part = ask("GET", path)["jobs"]
        found += part
        page += 1
        if len(part) < 50:
            break
    assert len(found) == 60
    idle = [job for job in found if "statistics" in job and job["statistics"]["load_one"]["avg"] < 0.05]
    assert [job["jobId"] for job in idle] == [2, 1, 0]
    for job in idle * 2:
        tagged = ask("POST", f"/api/jobs/tag_job/{job['id']}", [{"name": "idle", "type": "jobClass"}])
        assert [(tag["type"], tag["name"]) for tag in tagged["tags"]] == [("jobClass", "idle")]


def test_the_adapter_for_slurm(someone):
    """It may send a start or stop again, and then wants 422; the shape of a job is that of a structure of Go."""
    server = someone("cc-slurm-adapter", Role.API)

    def ask(method, path, data=None, *, status=200):
        body = b"" if data is None else json.dumps(data, separators=(",", ":")).encode()
        length = {} if data is None else {"Content-Length": str(len(body))}
        headers = {"Host": HOST, "User-Agent": "Go-http-client/1.1", **length, "Accept": "application/ld+json"}
        headers |= {"Content-Type": "application/json", "X-Auth-Token": server.token, "Accept-Encoding": "gzip"}
        answer = send(server.url, method, path, headers, body)
        assert answer.status == status, answer.body
        return answer.body and answer.json

    def running():
        found = ask("GET", "/api/jobs/?state=running&items-per-page=9999999&page=1&with-metadata=false")
        assert (found["items"], found["page"]) == (9999999, 1)
        return [job for job in found["jobs"] if job["cluster"] == "go"]

    assert running() == []
    body = reported(7, "go", shared="multi_user", jobState="", tags=None, metaData={"jobName": "x", "submitTime": "5"})
    body |= {"resources": [{"hostname": "f001", "hwthreads": None}], "subCluster": "", "partition": "normal"}
    body |= {"numHwthreads": 4, "numAcc": 0, "walltime": 600, "duration": 0, "submitTime": 0, "energy": 0, "smt": 0}
    body |= {"footprint": None, "energyFootprint": None, "concurrentJobs": {"items": None, "count": 0}}
    body |= {"arrayJobId": 0, "monitoringStatus": 0, "requestedMemory": 0}
    assert ask("POST", "/api/jobs/start_job/", body, status=201)["msg"] == "success"
    ask("POST", "/api/jobs/start_job/", body, status=422)
    assert [(job["jobId"], job["jobState"]) for job in running()] == [(7, "running")]
    stop = {"jobId": 7, "cluster": "go", "jobState": "cancelled", "stopTime": T0 + 16}
    assert ask("POST", "/api/jobs/stop_job/", stop)["duration"] == 9
    ask("POST", "/api/jobs/stop_job/", stop, status=422)
    assert running() == []
    node = {"hostname": "f001", "states": ["ALLOCATED"], "cpusAllocated": 4, "cpusTotal": 8, "memoryAllocated": 1}
    node |= {"memoryTotal": 2, "gpusAllocated": 0, "gpusTotal": 0, "jobsRunning": 1}
    assert ask("POST", "/api/nodestate/", {"cluster": "go", "node": [node]}) == b""


@pytest.mark.live
def test_lines_of_shell(someone):
    """Curl says that its JSON is a form."""
    server = someone("curl", Role.API)
    token = ("-H", f"X-Auth-Token: {server.token}")
    url = f"{server.url}/clustercockpit/api/jobs"
    started = curl(f"{url}/start_job/", *token, "-d", json.dumps(reported(8, "shell")))
    assert (started.status, started.json["msg"]) == (201, "success")
    stopped = curl("-X", "PUT", f"{url}/stop_job/{started.json['id']}", *token, "-d", f'{{"stopTime": {T0 + 13}}}')
    assert (stopped.status, stopped.json["duration"]) == (200, 5)
    tag = ("-d", '[{"type": "a", "name": "b"}]')
    tagged = curl("-X", "PATCH", f"{url}/tag_job/{started.json['id']}", *token, *tag)
    assert [each["name"] for each in tagged.json["tags"]] == ["b"]
    listed = curl(f"{url}/?cluster=shell", *token)
    assert [each["jobId"] for each in listed.json["jobs"]] == [8]
