"""Every row of the table of errors: the status, and a short text in the right shape."""

from __future__ import annotations

import pytest
from bsptools import DAINT, MODEL, NSG, OPERATOR, TABLES, at
from hpcgate_dialect_bsp.errors import render

from hpcgate.errors import QuotaExceeded, SchedulerError
from hpcgate.server.errors import problem_of

SUBMIT = "/jobs/pizdaint/"
TOOL = {"path": "/jobs/nsg/", "file": MODEL, "name": "m.zip", "tool": "PY_TG"}


@pytest.fixture
def untouched(ann):
    """No refusal costs anything, or leaves a job."""
    before = [ann.quota(), ann.quota("nsg", NSG), ann.get("/jobs/")]
    yield ann
    assert [ann.quota(), ann.quota("nsg", NSG), ann.get("/jobs/")] == before


@pytest.mark.parametrize("path", ["/jobs/", "/quotas/", f"/files/pizdaint/{DAINT}/X/", "/jobs/nowhere/"])
def test_who_is_not_known_is_refused_in_json(service, nobody, path):
    banned = service.member()
    service.gateway.identities.update_user(OPERATOR, banned.name, locked=True)
    for token in (None, "Bearer x", "Basic abc", f"Bearer {banned.token}"):
        answer = nobody("GET", path, headers={} if token is None else {"Authorization": token})
        assert answer.status_code == 403
        assert list(answer.json) == ["detail"]
        assert answer.json["detail"]
    assert nobody("POST", SUBMIT).status_code == 403


@pytest.mark.parametrize(
    "path", [f"/jobs/nsg/{NSG}/", f"/quotas/nsg/{NSG}/", f"/jobs/nsg/{NSG}/X", f"/files/nsg/{NSG}/X"]
)
def test_a_project_that_is_not_ones_own(bob, path):
    assert bob.get(path, 403) == {"detail": f"You do not have permission to use project {NSG}"}
    assert bob("POST", f"/jobs/nsg/{NSG}/").status_code == 403


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/hpc/nowhere/", "HPC not found!"),
        ("/projects/nowhere/", "HPC not found!"),
        ("/quotas/nowhere/", "HPC not found!"),
        ("/jobs/nowhere/", "HPC not found!"),
        ("/projects/pizdaint/nothing/", "Project not found!"),
        ("/projects/pizdaint/not-made-yet/", "Project not found!"),
        ("/quotas/pizdaint/native/", "Project not found!"),
        ("/jobs/pizdaint/nothing", "Project not found!"),
        (f"/jobs/pizdaint/{NSG}", "Project not found!"),
        (f"/jobs/pizdaint/{DAINT}/NOTHING/", "Job not found!"),
        (f"/files/pizdaint/{DAINT}/NOTHING/", "Job not found!"),
        (f"/files/pizdaint/{DAINT}/NOTHING/stdout/", "Job not found!"),
        ("/no/such/path", "there is no such path"),
    ],
)
def test_what_is_not_there(ann, path, text):
    assert ann.get(path, 404) == text


def test_a_submit_to_what_is_not_there(untouched):
    assert untouched.submit("/jobs/nowhere/", 404) == "HPC not found!"
    assert untouched.submit("/jobs/pizdaint/nothing/", 404) == "Project not found!"
    assert untouched.submit("/jobs/bare/", 404) == "Project not found! BARE has no default project"


def test_a_file_that_is_not_there(ann):
    assert ann.get(at(ann.submit(), "files") + "stdout/", 404) == "File not found!"


def test_the_job_of_somebody_else(service, ann, bob):
    job = ann.submit()
    for method, path in (("GET", at(job)), ("DELETE", at(job)), ("GET", at(job, "files"))):
        answer = bob(method, path)
        assert (answer.status_code, answer.json) == (404, "Job not found!")
    assert not service.job(job).canceling


@pytest.mark.parametrize(
    ("payload", "text"),
    [
        ("", "Payload: is required"),
        ("{", "Payload: it is no JSON"),
        ("[]", "Payload: must be a JSON object"),
        ('{"command": "ls", "runtime": NaN}', "Payload: it is no JSON"),
        ("{}", "runtime: missing data"),
        ('{"command": "ls"}', "runtime: missing data"),
        ('{"command": "ls", "runtime": ""}', "runtime: missing data"),
        ('{"command": "ls", "runtime": "two"}', "runtime: not a valid number"),
        ('{"command": "ls", "runtime": true}', "runtime: not a valid number"),
        ('{"command": "ls", "runtime": 0}', "runtime: 0 is out of range"),
        ('{"command": "ls", "runtime": "-1"}', "runtime: -1 is out of range"),
        ('{"command": "ls", "runtime": "nan"}', "runtime: special numeric values"),
        ('{"command": "ls", "runtime": "inf"}', "runtime: special numeric values"),
        ('{"command": "ls", "runtime": 1e9}', "runtime: 3600000000000 is out of range"),
        ('{"runtime": 1}', "command: is required"),
        ('{"runtime": 1, "command": "  "}', "command: is required"),
        ('{"runtime": 1, "tool": "PY_TG"}', "command: is required"),
        ('{"command": "ls", "runtime": 1, "node_number": 0}', "node_number: 0 is out of range"),
        ('{"command": "ls", "runtime": 1, "node_number": "1.5"}', "node_number: '1.5' is not a whole number"),
        ('{"command": "ls", "runtime": 1, "core_number": "x"}', "core_number: not a valid number"),
        ('{"command": "ls", "runtime": 1, "core_number": 2000}', "core_number: 2000 cores are wanted"),
        ('{"command": "ls", "runtime": 1, "expiration_time": "soon"}', "expiration_time: 'soon' is no time"),
        ('{"command": "ls", "runtime": 1, "title": "a\\nb"}', "title: must be one line"),
        ('{"command": "ls", "runtime": 1, "title": "' + "x" * 101 + '"}', "title: longer than"),
    ],
)
def test_a_payload_that_is_wrong(untouched, payload, text):
    said = untouched.submit(SUBMIT, 400, payload=payload)
    assert said.startswith(text), said
    assert len(said) < 300


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"tool": None}, "tool: is required"),
        ({"tool": "NEURON99_TG"}, "tool: there is no tool 'NEURON99_TG'; did you mean 'NEURON74_TG'?"),
        ({"core_number": 25}, "core_number: 25 is out of range; it must be from 1 to 24"),
        ({"node_number": "73"}, "node_number: 73 is out of range; it must be from 1 to 72"),
        ({"runtime": 48.5}, "runtime: 48.5 is out of range; it must be from 0 to 48"),
        ({"init_file": "other.py"}, "init_file: 'other.py' is not in the zip"),
        ({"init_file": "../../etc/passwd"}, "init_file: '../../etc/passwd' is not in the zip"),
        ({"file": None, "name": None}, "file: is required"),
    ],
)
def test_a_tool_that_cannot_run(untouched, changed, text):
    assert untouched.submit(status=400, **{**TOOL, **changed}).startswith(text)


def test_a_least_number_of_cores_where_the_system_says_so(untouched):
    wanted = "core_number: 6 is out of range; it must be at least 12"
    assert untouched.submit(f"/jobs/bare/{DAINT}", 400, core_number="6") == wanted


@pytest.mark.parametrize(
    ("file", "name", "text"),
    [
        (b"", "x.zip", "file: 'x.zip' was announced, but is missing or empty"),
        (b"no zip", "x.zip", "file: 'x.zip' is no zip archive"),
        (b"text", "stdout", "file: cannot be called 'stdout'"),
        (b"text", "..", "file: '..' is no name of a file"),
    ],
)
def test_a_file_that_is_wrong(untouched, file, name, text):
    assert untouched.submit(SUBMIT, 400, file=file, name=name).startswith(text)


def test_a_file_without_a_name_of_a_zip_is_not_looked_at(service, ann):
    job = ann.submit(file=b"no zip", name="run.sh")
    assert [each.path for each in service.job(job).spec.staging.inputs] == ["run.sh"]


def test_not_enough_quota(make):
    ann = make(TABLES).member()
    assert ann.submit(SUBMIT, 401, runtime=10.5) == "Quota not enough! 36000 s left, 37800 s asked for"
    assert ann.quota()[0] == 36_000
    assert ann.get("/jobs/") == []


def test_not_enough_of_all_users_together_and_of_space():
    for quota, text in (
        ("total_time", "Quota not enough! The project has 1 s left, 2 s asked for"),
        ("space", "Quota not enough! 1 KB left, 2 KB asked for"),
        ("total_space", "Quota not enough! The project has 1 KB left, 2 KB asked for"),
    ):
        answer = render(problem_of(QuotaExceeded("x", project="p", quota=quota, asked=2, left=1)))
        assert (answer.status_code, answer.json) == (401, text)


def test_what_the_batch_system_refuses(service, untouched):
    service.fake.fail_next("submit", SchedulerError("sbatch: error: Invalid qos", transient=False))
    said = untouched.submit(SUBMIT, 400, file=MODEL, name="m.zip")
    assert "sbatch: error: Invalid qos" in said


def test_a_site_that_does_not_answer():
    answer = render(problem_of(SchedulerError("the site does not answer")))
    assert (answer.status_code, answer.json) == (502, "the site does not answer")


def test_other_methods_are_told_which_go(ann):
    answer = ann("PUT", "/jobs/pizdaint/")
    assert answer.status_code == 405
    assert set(answer.headers["Allow"].split(", ")) >= {"GET", "POST"}
    assert isinstance(answer.json, str)
