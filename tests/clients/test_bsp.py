"""Programs of the BSP service account's users, with jobs that really run: curl, and a portal's module."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from clients.wire import Requests
from live.bsp_life import Portal, is_held_to_the_limit, live, zipped
from support import eventually

pytestmark = pytest.mark.live

HOST = "bspsa.cineca.it"
PROJECT = "hhnb_daint_cscs"
#: What the portal packs: what it runs on the one system, and on the other.
MODEL = zipped(
    ("model_1/ipyparallel.sbatch", "#!/bin/sh\ngrep -c . cells.txt\ncp cells.txt ../output.zip\n"),
    ("model_1/init.py", "import os\nos.makedirs('OUTPUT')\nprint(open('cells.txt').read().count('\\n'))\n"),
    ("model_1/cells.txt", "one\ntwo\n"),
)


def test_a_whole_life_by_curl(served, tmp_path):
    portal = Portal(served[0], tmp_path)
    live(portal)
    is_held_to_the_limit(portal, tmp_path)


@pytest.fixture
def hhnb(someone):
    """job_handler.py of hh-neuron-builder."""

    def logged_in(name):
        server = someone(name)
        return Requests(server.url, HOST, {"Authorization": f"Bearer {server.token}"}), Requests(server.url, HOST, {})

    return logged_in


@pytest.mark.parametrize(
    ("hpc", "what", "stage", "results"),
    [
        (
            "pizdaint",
            {"command": "unzip model_1.zip; cd model_1; chmod +rx *.sbatch; ./ipyparallel.sbatch"},
            "SUCCESSFUL",
            {"/stdout", "/stderr", "/model_1.zip", "/output.zip"},
        ),
        (
            "nsg",
            {"tool": "BLUEPYOPT_EXPANSE", "init_file": "init.py"},
            "COMPLETED",
            {"STDOUT", "STDERR", "output.tar.gz"},
        ),
    ],
)
def test_hh_neuron_builder(hhnb, hpc, what, stage, results):
    module, anybody = hhnb(f"hhnb-{hpc}")
    assert hpc.upper() in [each["id"] for each in anybody("GET", "/hpc/").json]
    offered = [each for each in anybody("GET", "/projects/").json if each["hpc"] == hpc.upper()]
    assert [each["name"] for each in offered if "hhnb" in each["name"]] == [PROJECT]

    month_on = (datetime.now(UTC) + timedelta(days=30)).strftime("%Y-%m-%dT%H:%M:%S")
    payload = {"node_number": 1, "core_number": 12, "runtime": 2, "title": "model_1", "expiration_time": month_on}
    headers = {"Content-Disposition": "attachment;filename=model_1.zip", "payload": json.dumps({**payload, **what})}
    submitted = module.post_file(f"/jobs/{hpc}/{PROJECT}/", headers, "file", "model_1.zip", MODEL)
    assert submitted.status == 201, submitted

    def ended():
        (job,) = module("GET", f"/jobs/{hpc}/{PROJECT}/").json
        datetime.strptime(job["init_date"], "%Y-%m-%dT%H:%M:%SZ")  # noqa: DTZ007 - as it does itself
        return job if job["terminal_stage"] else None

    job = eventually(ended, 60)
    root = f"/files/{hpc}/{PROJECT}/{job['job_id']}"
    assert (job["title"], job["stage"]) == ("model_1", stage)
    listed = module("GET", f"{root}/").json
    by_name = {each: each for each in listed} if hpc == "pizdaint" else {f["filename"]: f["fileid"] for f in listed}
    assert set(by_name) == results
    # One kind of id begins with a slash, and before the other it puts one.
    got = {
        name: module("GET", f"{root}{'' if hpc == 'pizdaint' else '/'}{file_id}/") for name, file_id in by_name.items()
    }
    assert {answer.status for answer in got.values()} == {200}
    assert got.get("/stdout", got.get("STDOUT")).body.endswith(b"2\n")
    if hpc == "pizdaint":
        assert (got["/model_1.zip"].body, got["/output.zip"].body) == (MODEL, b"one\ntwo\n")


def test_hh_neuron_builder_shows_what_is_refused(hhnb):
    module, _ = hhnb("hhnb-refused")
    payload = {"node_number": 1, "core_number": 12, "runtime": 1e9, "title": "x", "command": "true"}
    headers = {"Content-Disposition": "attachment;filename=m.zip", "payload": json.dumps(payload)}
    refused = module.post_file(f"/jobs/pizdaint/{PROJECT}/", headers, "file", "m.zip", MODEL)
    assert refused.status == 400, "at 500 it says that the service is down"
    assert "runtime: " in refused.json
    assert module("GET", f"/files/pizdaint/{PROJECT}/NOTHING/").status == 404
