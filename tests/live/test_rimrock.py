"""A real server, real curl, real jobs; and two hosts of which one is dead."""

from __future__ import annotations

import contextlib
import json
import shlex
import shutil
import subprocess
import time

import pytest
from live.rimrock import serving
from live.served import serving as serve
from live.sshd import new_sshd
from support import eventually

from hpcgate.config import config_from

pytestmark = pytest.mark.live

#: As the API's own page has it, but for host, grant and credential.
START = r"""
proxy="`cat {proxy} | base64 | tr -d '\n'`"

curl -k -X POST --data '{{"host":"{host}", "script":"#!/bin/bash\n#SBATCH -A {{grantid}}\necho hello\nexit 0"}}' \
--header "Content-Type:application/json" --header "PROXY:$proxy" {url}/api/jobs
"""
LIST = r"""
proxy="`cat {proxy} | base64 | tr -d '\n'`"
curl -k -X GET --header "PROXY:$proxy" {url}/api/jobs
"""
GET = r"""
proxy="`cat {proxy} | base64 | tr -d '\n'`"
curl -k -X GET --header "PROXY:$proxy" {url}/api/jobs/{job_id}
"""
DELETE = r"""
proxy="`cat {proxy} | base64 | tr -d '\n'`"
curl -k -X DELETE --header "PROXY:$proxy" {url}/api/jobs/{job_id}
"""
ABORT = r"""
proxy="`cat {proxy} | base64 | tr -d '\n'`"
curl -k -X PUT --data '{{"action":"abort"}}' --header "Content-Type:application/json" --header "PROXY:$proxy" \
{url}/api/jobs/{job_id}
"""
CONFIG = """
[sites.here]
scheduler = "local"
aliases = ["prometheus.cyfronet.pl", "ares.cyfronet.pl", "athena.cyfronet.pl"]
poll = {min_s = 0.2, max_s = 5, spool_s = 0.2}
settings = {linger_s = 0}
[dialects.rimrock]
"""
HOSTS = ("prometheus.cyfronet.pl", "ares.cyfronet.pl", "athena.cyfronet.pl")


@contextlib.contextmanager
def served(home, config):
    """A real `hpcgate serve` with its worker; the URL of the dialect, and the file with its admin's token."""
    with serve(home, config) as server:
        yield f"{server.url}/rimrock", home / "admin.token"


def curl(text, **values):
    """Runs lines of shell as a user would paste them; the answer and its status."""
    body, _, status = output(text, **values).rpartition("\n")
    return int(status), json.loads(body) if body else None


def output(text, **values):
    line = text.format(**values).replace("curl -k", "curl -sS -w '\\n%{http_code}' -k")
    return subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=60, check=True).stdout


def test_the_lines_of_the_api_page_do_what_it_says(tmp_path):
    if shutil.which("curl") is None:
        pytest.skip("needs curl: run tests/live/provision.sh")
    with served(tmp_path / "gateway", CONFIG) as (url, token):
        values = {"proxy": shlex.quote(str(token)), "url": url}
        started = [curl(START, host=host, **values) for host in HOSTS]
        assert [status for status, _ in started] == [201] * 3
        ids = [job["job_id"] for _, job in started]
        assert [job_id.partition(".")[2] for job_id in ids] == list(HOSTS)
        first = values | {"job_id": ids[0]}
        _, ended = eventually(lambda: is_status(curl(GET, **first), "FINISHED"), 60)
        assert set(ended) > {"nodes", "cores", "start_time", "end_time", "wall_time", "queue_time"}
        assert output(GET, **values | {"job_id": f"{ids[0]}/stdout"}) == "hello\n\n200"
        status, listed = curl(LIST, **values)
        assert (status, [job["job_id"] for job in listed]) == (200, ids[::-1])
        assert curl(ABORT, **first) == (204, None)
        assert curl(GET, **first) == (200, ended)
        assert curl(DELETE, **first) == (204, None)
        status, told = curl(GET, **first)
        assert (status, told["error_message"]) == (404, f"Job with {ids[0]} id does not exist (not found)")


def is_status(answer, wanted):
    return answer if answer[1]["status"] == wanted else None


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
