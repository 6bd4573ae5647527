"""Programs of Rimrock's users: the lines of its page by curl, its own monitoring probe, and a portal's module."""

from __future__ import annotations

import base64
import json
import shlex
import shutil
import subprocess

import pytest
from clients.wire import Httplib, Requests
from support import eventually

pytestmark = pytest.mark.live

#: As the API's own page has it, but for host, grant and credential.
PROXY = "proxy=\"`cat {proxy} | base64 | tr -d '\\n'`\"\n"
START = r"""
curl -k -X POST --data '{{"host":"{host}", "script":"#!/bin/bash\n#SBATCH -A {{grantid}}\necho hello\nexit 0"}}' \
--header "Content-Type:application/json" --header "PROXY:$proxy" {url}/api/jobs
"""
LIST = 'curl -k -X GET --header "PROXY:$proxy" {url}/api/jobs'
GET = 'curl -k -X GET --header "PROXY:$proxy" {url}/api/jobs/{job_id}'
DELETE = 'curl -k -X DELETE --header "PROXY:$proxy" {url}/api/jobs/{job_id}'
ABORT = r"""
curl -k -X PUT --data '{{"action":"abort"}}' --header "Content-Type:application/json" --header "PROXY:$proxy" \
{url}/api/jobs/{job_id}
"""
HOSTS = ("prometheus.cyfronet.pl", "ares.cyfronet.pl", "athena.cyfronet.pl")
HELLO = "#!/bin/bash\necho hello\nexit 0"


def curl(text, **values):
    """Runs lines of shell as a user would paste them; the answer and its status."""
    body, _, status = output(text, **values).rpartition("\n")
    return int(status), json.loads(body) if body else None


def output(text, **values):
    line = (PROXY + text).format(**values).replace("curl -k", "curl -sS -w '\\n%{http_code}' -k")
    return subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=60, check=True).stdout


def header(server):
    """Its header: base64 of what a user has instead of a proxy file."""
    return {"PROXY": base64.b64encode(server.token.encode()).decode()}


def test_the_lines_of_the_api_page_do_what_it_says(someone, tmp_path):
    if shutil.which("curl") is None:
        pytest.skip("needs curl: run tests/live/provision.sh")
    server, token = someone("ada"), tmp_path / "proxy file"
    token.write_text(server.token)
    values = {"proxy": shlex.quote(str(token)), "url": f"{server.url}/rimrock"}
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


def test_the_probe(someone):
    """rimrock_probe.py, which Nagios runs: a command, a job to its end, and one that is deleted."""
    server = someone("nagios")
    probe = Httplib(server.url, "rimrock.plgrid.pl", {"Content-type": "application/json", **header(server)})
    told = probe("POST", "/api/process", {"host": "zeus.cyfronet.pl", "command": "pwd"}).json
    assert told.pop("standard_output").startswith("/")
    assert told == {"status": "OK", "exit_code": 0, "error_output": "", "error_message": None}

    job = {"host": "zeus.cyfronet.pl", "script": HELLO}
    ids = []
    for _ in range(2):
        started = probe("POST", "/api/jobs", job)
        assert (started.status, started.json["status"]) == (201, "QUEUED")
        ids.append(started.json["job_id"])
        assert [each["job_id"] for each in probe("GET", "/api/jobs").json] == ids[::-1]
    # It looks once, after 3 s, and takes anything but these two for a failure.
    status = eventually(lambda: (now := probe("GET", f"/api/jobs/{ids[0]}").json["status"]) != "RUNNING" and now)
    assert status in ("QUEUED", "FINISHED")

    assert probe("DELETE", f"/api/jobs/{ids[1]}").status == 204
    gone = probe("GET", f"/api/jobs/{ids[1]}")
    assert (gone.status, gone.json["status"]) == (404, "ERROR")
    assert "does not exist" in gone.json["error_message"]


def test_a_header_of_20_kilobytes_arrives_and_stays_out_of_the_log(served):
    server, home = served
    secret = "certificate and key of somebody " * 640
    header = {"PROXY": base64.b64encode(f"-----BEGIN CERTIFICATE-----\n{secret}".encode()).decode()}
    refused = Httplib(server.url, "rimrock.plgrid.pl", header)("GET", "/api/jobs")
    assert (refused.status, refused.json["status"]) == (403, "ERROR")
    assert "X.509 proxies are not taken here" in refused.json["error_message"]
    log = (home / "log").read_text()
    assert "serving" in log
    assert not [part for part in (secret[:31], header["PROXY"][64:128]) if part in log]


def test_the_module_of_yaptide(someone):
    """plgrid/rimrock_methods.py: submit with a tag, look at one and at all with the tag, delete."""
    server = someone("yaptide")
    module = Requests(server.url, "rimrock.plgrid.pl", header(server))
    job = {"host": "ares.cyfronet.pl", "script": HELLO, "tag": "yaptide_job"}
    submitted = module("POST", "/api/jobs", data=job)
    assert submitted.status == 201
    job_id = submitted.json["job_id"]
    number, _, host = job_id.partition(".")
    assert (number.isdigit(), host) == (True, "ares.cyfronet.pl")
    # Its enumeration has three of the statuses, and the last one is what it waits for.
    seen = []
    eventually(lambda: seen.append(module("GET", f"/api/jobs/{job_id}").json["status"]) or seen[-1] == "FINISHED", 60)
    assert set(seen) <= {"QUEUED", "RUNNING", "FINISHED"}
    listed = module("GET", "/api/jobs?tag=yaptide_job")
    assert (listed.status, [each["job_id"] for each in listed.json]) == (200, [job_id])
    assert module("DELETE", f"/api/jobs/{job_id}").status == 204
    assert module("GET", "/api/jobs?tag=yaptide_job").json == []
    again = module("DELETE", f"/api/jobs/{job_id}")
    assert again.status == 404
    assert again.json.keys() >= {"error_message", "error_output", "exit_code"}
