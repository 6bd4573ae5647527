"""Every endpoint, request and answer, word for word."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime

import pytest
from bsptools import DAINT, GRANTED_KB, GRANTED_S, MODEL, NSG, TABLES, at, zipped
from hpcgate_dialect_bsp.mapping import number_of

from hpcgate.model.state import JobState
from hpcgate.service.retention import Retention

SECONDS = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ\Z")
UUID = re.compile(r"[0-9A-F]{8}(-[0-9A-F]{4}){3}-[0-9A-F]{12}\Z")
NGBW = re.compile(r"NGBW-JOB-PY_TG-[0-9A-F]{32}\Z")
PIZDAINT = {"id": "PIZDAINT", "name": "Piz Daint"}
FREE = {"hpc": "PIZDAINT", "id": number_of("PIZDAINT", DAINT), "name": DAINT}
HHNB = {"hpc": "PIZDAINT", "id": number_of("PIZDAINT", "hhnb_daint_cscs"), "name": "hhnb_daint_cscs"}
ON_NSG = {"hpc": "NSG", "id": number_of("NSG", NSG), "name": NSG}
SAME_ON_BARE = {"hpc": "BARE", "id": number_of("BARE", DAINT), "name": DAINT}
FIGURES = {"time_left": GRANTED_S, "space_left": float(GRANTED_KB)}


@pytest.mark.parametrize("slash", ["/", ""])
@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("/status", {"bsp-service-account-status": 1}),
        ("/hpc", [PIZDAINT, {"id": "NSG", "name": "NSG"}, {"id": "BARE", "name": "BARE"}]),
        ("/hpc/pizdaint", PIZDAINT),
        ("/hpc/PIZDAINT", PIZDAINT),
        ("/projects", [FREE, HHNB, ON_NSG, SAME_ON_BARE]),
        ("/projects/nsg", [ON_NSG]),
        (f"/projects/PizDaint/{DAINT}", FREE),
    ],
)
def test_what_needs_no_token(shared, path, answer, slash):
    assert shared.nobody().get(path + slash) == answer


def test_projects_show_figures_to_those_who_may_use_them(make):
    service = make(TABLES)
    ann, bob = service.member(), service.newcomer("bob")
    own = {"init_time": 72_000, "time_left": 72_000, "user_time": GRANTED_S}
    space = {"init_space": None, "space_left": None, "user_space": float(GRANTED_KB)}
    assert ann.get(f"/projects/nsg/{NSG}/") == ON_NSG | own | space
    assert bob.get(f"/projects/nsg/{NSG}/") == ON_NSG
    assert bob.get("/projects/pizdaint/")[1] == HHNB
    answer = ann("GET", "/projects/", headers={"Authorization": "Bearer of.bad.news"})
    assert answer.json == [FREE, HHNB, ON_NSG, SAME_ON_BARE]


def test_quotas(ann, bob):
    def quota(project, user):
        name = {"project": project["id"], "project_hpc": project["hpc"], "project_name": project["name"]}
        return {"id": number_of(project["hpc"], project["name"], user.name), "user": user.name, **name, **FIGURES}

    assert ann.get("/quotas") == [quota(each, ann) for each in (FREE, ON_NSG, SAME_ON_BARE)]
    assert bob.get("/quotas/") == [quota(each, bob) for each in (FREE, SAME_ON_BARE)]
    assert ann.get("/quotas/NSG/") == [quota(ON_NSG, ann)]
    assert ann.get(f"/quotas/nsg/{NSG}/") == quota(ON_NSG, ann)


@pytest.mark.parametrize("path", ["/jobs/pizdaint/", "/jobs/PIZDAINT", f"/jobs/pizdaint/{DAINT}/"])
def test_a_job_for_a_system_that_runs_commands(service, ann, path):
    job = ann.submit(path, file=MODEL, name="model.zip", runtime="2.0", node_number="2", core_number="6", title="CA1")
    assert UUID.match(job.pop("job_id"))
    assert SECONDS.match(job["init_date"])
    kept = service.job(job)
    spec = kept.spec
    assert job == {
        "id": kept.id,
        "owner": ann.name,
        "project": FREE["id"],
        "project_hpc": "PIZDAINT",
        "project_name": DAINT,
        "title": "CA1",
        "runtime": 2.0,
        "init_date": job["init_date"],
        "end_date": None,
        "stage": "QUEUED",
        "terminal_stage": False,
        "failed": False,
        "is_advanced": False,
    }
    assert (spec.resources.nodes, spec.resources.cpus_per_node, spec.resources.walltime_s) == (2, 6, 7200)
    assert (spec.command, spec.args) == ("/bin/bash", ("-c", "true"))
    assert [(each.path, each.content) for each in spec.staging.inputs] == [("model.zip", MODEL)]
    assert (spec.project, spec.name) == (DAINT, "CA1")


def test_a_job_for_a_system_that_has_tools(service, ann):
    job = ann.submit("/jobs/nsg/", file=MODEL, name="model.zip", tool="PY_TG", init_file="init.py", runtime=0.5)
    assert NGBW.match(job["job_id"])
    named = (job["project_hpc"], job["project_name"], job["stage"], job["runtime"], job["title"])
    assert named == ("NSG", NSG, "QUEUE", 0.5, "")
    spec = service.job(job).spec
    assert {each.path: each.content for each in spec.staging.inputs} == {
        "model/init.py": b"print(6 * 7)\n",
        "model/data/cells.txt": b"3\n",
    }
    assert "(cd -- model && exec python3 init.py </dev/null)" in spec.args[1]
    assert service.says(job, JobState.RUNNING) is None
    assert ann.get(at(job))["stage"] == "SUBMITTED"


def test_even_an_instant_job_is_answered_as_waiting(service, ann):
    service.fake.on_submit = JobState.RUNNING
    assert ann.submit()["stage"] == "QUEUED"


def test_lists_of_jobs(service, ann, bob):
    daint = ann.submit(title="one")
    nsg = ann.submit("/jobs/nsg", file=MODEL, name="m.zip", tool="PY_TG")
    bob.submit()
    native = service.gateway.jobs
    native.clone(service.gateway.identities.authenticate(ann.token, None), daint["id"])
    for path, wanted in (
        ("/jobs/", [nsg, daint]),
        ("/jobs/pizdaint/", [daint]),
        ("/jobs/NSG", [nsg]),
        (f"/jobs/pizdaint/{DAINT}/", [daint]),
        (f"/jobs/nsg/{NSG}/", [nsg]),
        ("/jobs/bare", []),
    ):
        assert ann.get(path) == wanted
    assert ann.get(at(daint)) == daint
    assert ann.get(at(daint).replace("pizdaint", "PIZDAINT", 1).rstrip("/")) == daint


def test_a_job_is_at_its_own_place_alone(ann):
    job = ann.submit()
    for path in (f"/jobs/bare/{DAINT}/{job['job_id']}/", f"/jobs/nsg/{NSG}/{job['job_id']}/"):
        assert ann.get(path, 404) == "Job not found!"


def test_an_example(service, ann):
    job = ann.get(f"/jobs/PIZDAINT/{DAINT}/example/")
    assert (job["title"], job["stage"]) == ("example", "QUEUED")
    assert service.job(job).spec.command == "/bin/date"
    assert NGBW.match(ann.get(f"/jobs/nsg/{NSG}/example")["job_id"].replace("EXAMPLE", "PY_TG"))
    assert ann("HEAD", f"/jobs/pizdaint/{DAINT}/example/").status_code == 204
    assert len(ann.get("/jobs/")) == 2


def test_cancel_and_delete(service, ann):
    job = ann.submit(runtime=1)
    service.leaves(job, stdout=b"so far")
    canceled = ann.delete(at(job).rstrip("/"))
    assert (canceled["stage"], canceled["terminal_stage"], canceled["failed"]) == ("CANCELED", True, False)
    assert SECONDS.match(canceled["end_date"])
    assert len(service.fake.canceled) == 1
    assert ann.delete(at(job))["stage"] == "CANCELED"
    assert len(service.fake.canceled) == 1, "it was asked for once"
    service.says(job, JobState.CANCELED)
    assert ann.get(at(job))["stage"] == "CANCELED"
    assert ann.get(at(job, "files")) == ["/stdout"]
    for _ in range(2):
        deleted = ann.delete(at(job))
        assert (deleted["stage"], deleted["terminal_stage"]) == ("DELETED", True)
        assert ann.get(at(job, "files"), 404) == "Job files not found!"
        assert ann.get(at(job, "files") + "stdout/", 404) == "Job files not found!"
    assert ann.get("/jobs/") == [deleted], "it stays listed"


def test_files_of_a_system_that_runs_commands(service, ann):
    job = ann.submit(file=MODEL, name="model.zip", title="fit")
    work = service.leaves(job, stdout=b"42\n", stderr=b"", fit__zip=b"PK", output__zip=bytes(range(256)))
    (work / "folder").mkdir()
    (work / "link").symlink_to("stdout")
    files = ann.get(at(job, "files"))
    assert files == ["/stdout", "/stderr", "/fit.zip", "/model.zip", "/output.zip"]
    for name, content in (("/output.zip", bytes(range(256))), ("/stdout", b"42\n"), ("/stderr", b"")):
        # As clients do: the listing's path, the file's, and a slash.
        for path in (f"{at(job, 'files').rstrip('/')}{name}/", f"{at(job, 'files')}{name.lstrip('/')}"):
            answer = ann("GET", path)
            assert (answer.status_code, answer.data) == (200, content)
            assert answer.content_type == "application/octet-stream"
    part = ann("GET", f"{at(job, 'files')}output.zip", headers={"Range": "bytes=-2"})
    assert (part.status_code, part.data) == (206, b"\xfe\xff")
    for name in ("nothing", "folder", "link", "..", "folder%2Fx"):
        assert ann("GET", f"{at(job, 'files')}{name}").status_code == 404


def test_files_of_a_system_that_has_tools(service, ann):
    job = ann.submit("/jobs/nsg/", file=MODEL, name="model.zip", tool="PY_TG")
    service.leaves(job, STDOUT=b"42\n", STDERR=b"")
    service.says(job, JobState.RUNNING)
    for file in ann.get(at(job, "files")):
        assert set(file) == {"filename", "length", "modified"}
        assert SECONDS.match(file["modified"])
    assert ann("GET", at(job, "files") + "STDOUT").data == b"42\n"
    service.leaves(job, output__tar__gz=b"\x1f\x8b")
    service.says(job, JobState.COMPLETED)
    files = ann.get(at(job, "files"))
    assert [(each["filename"], each["length"]) for each in files] == [
        ("STDOUT", "3"),
        ("STDERR", "0"),
        ("output.tar.gz", "2"),
    ]
    assert all(set(each) == {"fileid", "filename", "length"} and each["fileid"].isdigit() for each in files)
    for each, content in zip(files, (b"42\n", b"", b"\x1f\x8b"), strict=True):
        assert ann("GET", f"{at(job, 'files')}{each['fileid']}/").data == content


def test_expiration_drives_retention(service, ann):
    at_s = int(time.time()) + 3600
    text = datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    kept, going = ann.submit(expiration_time=""), ann.submit(expiration_time=text)
    assert service.job(kept).expires_at is None
    assert service.job(going).expires_at == at_s
    for job in (kept, going):
        service.leaves(job, stdout=b"x")
        service.says(job, JobState.COMPLETED)
    gateway = service.gateway
    for now, left in ((at_s - 1, [going, kept]), (at_s + 1, [kept])):
        parts = (gateway._transports, gateway.config.retention, gateway.holder)
        Retention(gateway.sites, gateway.store, *parts, clock=lambda now=now: now).step()
        assert [job["id"] for job in ann.get("/jobs/")] == [job["id"] for job in left]
    assert "is over already" in ann.submit(expiration_time="2001-01-01T00:00:00", status=400)


def test_pages_of_a_portal_may_call(ann, nobody):
    asked = {
        "Origin": "https://portal.example.org",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-disposition,content-type,payload",
    }
    answer = nobody("OPTIONS", "/jobs/pizdaint/", headers=asked)
    assert answer.status_code == 204
    allowed = {each.strip().lower() for each in answer.headers["Access-Control-Allow-Headers"].split(",")}
    assert {"authorization", "content-type", "content-disposition", "payload"} <= allowed
    listed = ann("GET", "/jobs/", headers={"Origin": "https://portal.example.org"})
    assert listed.headers["Access-Control-Allow-Origin"] == "https://portal.example.org"
    other = ann("GET", "/jobs/", headers={"Origin": "https://elsewhere.example.org"})
    assert "Access-Control-Allow-Origin" not in other.headers


def test_a_tool_finds_its_start_file_and_keeps_empty_folders(service, ann):
    packed = zipped(("m/init.hoc", b"x"), ("m/empty/", b""), ("__MACOSX/m/._init.hoc", b"y"), ("m/.DS_Store", b"z"))
    job = ann.submit("/jobs/nsg/", file=packed, name="m.zip", tool="NEURON74_TG")
    spec = service.job(job).spec
    assert [each.path for each in spec.staging.inputs] == ["m/init.hoc"]
    assert spec.args[1].startswith("mkdir -p -- m/empty || exit\n(cd -- m && exec python3 -B init.hoc </dev/null)\n")
