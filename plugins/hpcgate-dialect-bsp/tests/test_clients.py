"""What real clients send, as they send it: curl by the API's own text, and requests of portals and notebooks."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager

import pytest
from bsptools import DAINT, MODEL, NSG
from live.served import curl
from werkzeug.serving import WSGIRequestHandler, make_server

from hpcgate.model.state import JobState

#: The payloads of the documentation of the API, as they stand there.
INTO_DEFAULT = (
    '{ "command": "ls -lisa", "node_number": "2", "core_number": "6", "runtime": "2.0", "title": "a job title" }'
)
INTO_PROJECT = (
    '{ "tool": "NEURON74_TG", "node_number": "2", "core_number": "6", "runtime": "2.0", "title": "a job title" }'
)
KEYS = {
    *("id", "job_id", "owner", "project", "project_hpc", "project_name", "title", "runtime", "init_date", "end_date"),
    *("stage", "terminal_stage", "failed"),
}


class _Quiet(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"

    def log(self, *_) -> None:
        pass


@contextmanager
def listening(front):
    server = make_server("127.0.0.1", 0, front, threaded=True, request_handler=_Quiet)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/bsp"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.live
def test_the_lines_of_the_documentation_by_curl(service, ann, tmp_path):
    (tmp_path / "job_file.zip").write_bytes(MODEL)
    token = ("-H", f"Authorization: {ann.headers['Authorization']}")
    file = ("--data-binary", f"@{tmp_path / 'job_file.zip'}")
    named = ("-H", "Content-Disposition: attachment; filename=job_file.zip")
    with listening(service.front) as url:
        first = curl("-X", "POST", f"{url}/jobs/pizdaint/", *token, *named, "-H", f"Payload: {INTO_DEFAULT}", *file)
        # The name of the header is misspelt there.
        misspelt = ("-H", "Content-Dispostion: attachment; filename=nsg_job.zip")
        second = curl(
            *("-X", "POST", f"{url}/jobs/nsg/{NSG}/"), *token, *misspelt, "-H", f"Payload: {INTO_PROJECT}", *file
        )
        status = curl(f"{url}/status/")
    assert (first.status, status.status) == (201, 200), first
    assert second.status == 201, second
    job = first.json
    assert set(job) >= KEYS
    assert (second.json["project_hpc"], second.json["project_name"], second.json["stage"]) == ("NSG", NSG, "QUEUE")
    assert second.json["job_id"].startswith("NGBW-JOB-NEURON74_TG-")
    assert [each.path for each in service.job(job).spec.staging.inputs] == ["job_file.zip"]
    told = (job["project_hpc"], job["project_name"], job["title"], job["runtime"], job["stage"], job["end_date"])
    assert told == ("PIZDAINT", DAINT, "a job title", 2.0, "QUEUED", None)
    assert service.job(job).spec.resources.nodes == 2


# --- what is described of clients that are no packages: method, headers and bytes of the body, in their order


def multipart(field: str, name: str, content: bytes) -> dict[str, object]:
    """As python-requests writes a file."""
    boundary = "d41d8cd98f00b204e9800998ecf8427e"
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="{field}"; filename="{name}"\r\n\r\n'
    body = head.encode() + content + f"\r\n--{boundary}--\r\n".encode()
    return {"data": body, "content_type": f"multipart/form-data; boundary={boundary}"}


def test_a_notebook(service, ann):
    """A part of another name, into the default project; then it waits for the end, and downloads by id."""
    payload = {
        "tool": "PY_TG",
        "node_number": "1",
        "core_number": "2",
        "runtime": "0.5",
        "title": "fit",
        "generation_number": "2",
        "offspring_size": "10",
        "init_file": "init.py",
    }
    headers = {"Content-Disposition": "attachment;filename=model.zip", "payload": json.dumps(payload)}
    answer = ann("POST", "/jobs/nsg/", headers=headers, **multipart("input.infile_", "model.zip", MODEL))
    assert answer.status_code == 201, answer.text
    at = f"/nsg/{NSG}/{answer.json['job_id']}/"
    assert not ann.get(f"/jobs{at}")["terminal_stage"]
    service.leaves(answer.json, STDOUT=b"", STDERR=b"", output__tar__gz=b"\x1f\x8b")
    service.says(answer.json, JobState.COMPLETED)
    now = ann.get(f"/jobs{at}")
    assert now["terminal_stage"]
    assert now["stage"] == "COMPLETED"
    names = {each["filename"]: each["fileid"] for each in ann.get(f"/files{at}")}
    assert ann("GET", f"/files{at}{names['output.tar.gz']}/").data == b"\x1f\x8b"


def test_a_page_that_shows_jobs(service, ann, nobody):
    """A browser of another origin: lists, files, and a zip as a blob."""
    page = {"Origin": "https://portal.example.org", "Accept": "application/json, text/plain, */*"}
    job = ann.submit(title="bulb")
    service.leaves(job, bulb__zip=b"PK")
    service.says(job, JobState.COMPLETED)
    listed = ann("GET", f"/jobs/pizdaint/{DAINT}/", headers=page)
    assert listed.headers["Access-Control-Allow-Origin"] == page["Origin"]
    assert [each["stage"] for each in listed.json] == ["SUCCESSFUL"]
    blob = ann("GET", f"/files/pizdaint/{DAINT}/{job['job_id']}/bulb.zip/", headers=page)
    assert (blob.data, blob.headers["Access-Control-Allow-Origin"]) == (b"PK", page["Origin"])
    refused = nobody("GET", f"/jobs/pizdaint/{DAINT}/", headers=page)
    assert (refused.status_code, refused.headers["Access-Control-Allow-Origin"]) == (403, page["Origin"])


def test_a_monitor(ann):
    """Names in upper case, what is left, and a job of its own."""
    (quota,) = ann.get("/quotas/PIZDAINT/")
    assert (quota["project_name"], quota["time_left"]) == (DAINT, 36_000)
    assert ann("GET", f"/jobs/PIZDAINT/{DAINT}/example/").status_code in (200, 201)
