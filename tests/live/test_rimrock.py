"""Two hosts, of which one is dead."""

from __future__ import annotations

import time

import pytest
from live.rimrock import serving
from live.sshd import new_sshd
from support import eventually

from hpcgate.config import config_from

pytestmark = pytest.mark.live


def test_one_of_two_hosts_is_dead(account, sshd, tmp_path):
    with new_sshd() as other:
        sites = {
            name: {
                "scheduler": "local",
                "transport": "ssh",
                "work_root": f"~/rimrock-{name}",
                "poll": {"min_s": 0.5, "max_s": 60, "spool_s": 1},
                "settings": {"linger_s": 0},
                "ssh": server.table(account, connect_timeout_s=10),
            }
            for name, server in (("alive", sshd), ("dead", other))
        }
        tables = {"sites": sites, "dialects": {"rimrock": {"settings": {"timeout_s": 3.0}}}}
        with serving(config_from(tables, home=tmp_path)) as client:
            waits = {"script": "#!/bin/sh\nwhile [ ! -e stop-rimrock ]; do sleep 0.2; done\n"}
            lasting = client.post("/api/jobs", json={"host": "dead", **waits})
            assert lasting.status_code == 201, lasting.text
            job_id = lasting.json()["job_id"]
            eventually(lambda: client.get(f"/api/jobs/{job_id}").json()["status"] == "RUNNING", 60)

            with other.frozen():  # it takes connections, and says nothing
                told, took = timed(client, "POST", "/api/jobs", json={"host": "dead", **waits})
                assert told.status_code in (408, 500)
                assert told.json()["status"] == "ERROR"
                assert took < 6
                fine(client, job_id)
            other.stop()  # it takes no connections
            eventually(lambda: client.get("/api/jobs").json()[-1]["job_id"] == job_id)
            told, took = timed(client, "POST", "/api/jobs", json={"host": "dead", **waits})
            assert told.status_code in (408, 500)
            assert took < 6
            fine(client, job_id)
            answer, took = timed(client, "DELETE", f"/api/jobs/{job_id}")
            assert (answer.status_code, took < 8) == (204, True)
            other.start()
            eventually(lambda: not [line for line in account.processes() if "rimrock-dead" in line], 60)


def timed(client, method, path, **more):
    began = time.monotonic()
    answer = client.request(method, path, **more)
    return answer, time.monotonic() - began


def fine(client, job_id):
    """What does not need the dead host is as ever."""
    listed, took = timed(client, "GET", "/api/jobs")
    assert listed.status_code == 200
    assert {job["job_id"]: job["status"] for job in listed.json()}[job_id] == "RUNNING"
    assert took < 1
    started, took = timed(client, "POST", "/api/jobs", json={"host": "alive", "script": "#!/bin/sh\ntrue\n"})
    assert started.status_code == 201, started.text
    assert took < 5
