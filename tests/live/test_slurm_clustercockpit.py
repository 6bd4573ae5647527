"""Jobs on the live Slurm, as ClusterCockpit's clients see them: there without any program that reports them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from live.served import Serving, serving
from support import eventually

pytestmark = [pytest.mark.live, pytest.mark.timeout(240)]


@pytest.fixture
def server(cluster, account, sshd, tmp_path):
    """A gateway whose one site is the cluster, over ssh as an ordinary account."""
    cluster.add_user(account.name)
    commands = cluster.commands(cluster.root / "clustercockpit")
    reached = "".join(f"{key} = {json.dumps(value)}\n" for key, value in sshd.table(account).items())
    config = f"""
[sites.kit]
scheduler = "slurm"
transport = "ssh"
cluster = "fritz"
work_root = "~/cc-jobs"
poll = {{min_s = 0.3, max_s = 1, spool_s = 0.2}}
settings = {{bin = {json.dumps(str(commands.folder))}}}
[sites.kit.ssh]
{reached}
[clusters.fritz.subclusters]
main = ""
[dialects.clustercockpit]
"""
    try:
        with serving(tmp_path / "home", config) as server:
            yield server
    finally:
        cluster.clear()


class Cockpit:
    """A program that reads jobs; its user and its token come by the dialect too."""

    def __init__(self, server: Serving, client: httpx.Client) -> None:
        self._url = f"{server.url}/clustercockpit/api"
        self._client = client
        admin = {"Authorization": f"Bearer {server.token}"}
        made = client.post(f"{self._url}/users/", data={"username": "sync", "role": "api"}, headers=admin)
        assert made.status_code == 200, made.text
        token = client.get(f"{self._url}/jwt/", params={"username": "sync"}, headers=admin)
        self._headers = {"X-Auth-Token": token.text}

    def jobs(self, **query: Any) -> list[dict[str, Any]]:
        answer = self._client.get(f"{self._url}/jobs/", params={"cluster": "fritz", **query}, headers=self._headers)
        assert answer.status_code == 200, answer.text
        jobs: list[dict[str, Any]] = answer.json()["jobs"]
        return jobs

    def job(self, number: int, state: str) -> dict[str, Any]:
        """A job by the batch system's number, once it is in a state."""
        found = eventually(lambda: [each for each in self.jobs(state=state) if each["jobId"] == number], 90)
        assert len(found) == 1
        job: dict[str, Any] = found[0]
        return job

    def post(self, path: str, body: Any) -> httpx.Response:
        return self._client.post(f"{self._url}{path}", json=body, headers=self._headers)


def test_jobs_are_there_without_any_client(server, account):
    go = Path(account.home) / "go"
    with httpx.Client(timeout=30) as client:
        cockpit = Cockpit(server, client)
        native = {"Authorization": f"Bearer {server.token}"}

        def submit(script: str, **spec: Any) -> tuple[int, int]:
            """The id of the job, and the number that Slurm has for it."""
            spec = {"script": f"#!/bin/sh\n{script}\n", **spec}
            answer = client.post(f"{server.url}/api/v1/jobs", json=spec, headers=native)
            assert answer.status_code == 201, answer.text
            return answer.json()["id"], int(answer.json()["native_id"])

        _, two = submit(f"while [ ! -e {go} ]; do sleep 0.2; done", name="two nodes", resources={"nodes": 2})
        running = cockpit.job(two, "running")
        assert (running["user"], running["subCluster"], running["numNodes"]) == ("admin", "main", 2)
        assert running["duration"] >= 0
        hosts = [each["hostname"] for each in running["resources"]]
        assert len(set(hosts)) == 2
        used = client.get(
            f"{server.url}/clustercockpit/api/jobs/used_nodes",
            params={"ts": running["startTime"] + 1},
            headers=cockpit._headers,
        )
        assert used.json() == {"usedNodes": {"fritz": sorted(hosts)}}

        # What a program beside Slurm would report is known already.
        reported = {
            "jobId": two,
            "user": account.name,
            "cluster": "fritz",
            "numNodes": 1,
            "startTime": running["startTime"],
        }
        again = cockpit.post("/jobs/start_job/", {**reported, "resources": [{"hostname": hosts[0]}]})
        assert (again.status_code, f"dbid: {running['id']}" in again.json()["error"]) == (422, True)

        go.touch()
        ended = cockpit.job(two, "completed")
        assert (ended["id"], ended["resources"]) == (running["id"], running["resources"])
        # The queue, the job itself and accounting may round the same moment to two seconds.
        assert abs(ended["startTime"] - running["startTime"]) <= 2
        assert ended["monitoringStatus"] == 3
        assert ended["duration"] >= 0

        _, broken = submit("exit 3")
        assert cockpit.job(broken, "failed")["numNodes"] == 1
        job_id, lasting = submit("sleep 300")
        cockpit.job(lasting, "running")
        assert client.post(f"{server.url}/api/v1/jobs/{job_id}/cancel", headers=native).is_success
        assert cockpit.job(lasting, "cancelled")["duration"] < 300
        assert [each["jobId"] for each in cockpit.jobs()] == [lasting, broken, two]
        assert cockpit.jobs(state="running") == []
