"""Files are put into a job's folder, removed from it, and fetched all at once; never outside of it."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path

import pytest
from server.apitools import fields, problem
from support import eventually

from hpcgate.model.state import JobState


@pytest.fixture
def job(ann, gateway):
    made = ann.submit()
    work = Path(gateway.store.jobs.get(made["id"]).folder) / "work"
    work.mkdir(parents=True)
    made["work"] = work
    return made


def put(api, job, path, data=b"new", query="", **kwargs):
    return api("PUT", f"jobs/{job['id']}/files/{path}{query}", data=data, **kwargs)


def test_a_file_is_put_replaced_and_removed(ann, job):
    answer = put(ann, job, "in/deep/mesh.dat", b"1\x002")
    assert (answer.status_code, answer.json["name"], answer.json["size"]) == (201, "mesh.dat", 3)
    there = job["work"] / "in/deep/mesh.dat"
    assert (there.read_bytes(), there.stat().st_mode & 0o777) == (b"1\x002", 0o600)
    assert put(ann, job, "in/deep/mesh.dat", b"", "?executable=true").status_code == 200
    assert (there.read_bytes(), there.stat().st_mode & 0o777) == (b"", 0o700)
    assert ann.delete(f"jobs/{job['id']}/files/in").status_code == 204
    assert list(job["work"].iterdir()) == []
    problem(ann.delete(f"jobs/{job['id']}/files/in"), 404, "not_found")


def test_a_reader_never_sees_a_part(ann, job):
    put(ann, job, "data", b"old")
    with (job["work"] / "data").open("rb") as before:
        put(ann, job, "data", b"x" * 100_000)
        assert before.read() == b"old"
    assert [path.name for path in job["work"].iterdir()] == ["data"]


@pytest.mark.parametrize("path", ["out/x", "link/y", "a%00b", "sub/%2e%2e/%2e%2e/script"])
def test_no_path_leads_out(ann, job, tmp_path, path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "x").write_text("kept")
    (job["work"] / "out").symlink_to(outside)
    (job["work"] / "link").symlink_to(outside / "x")
    for answer in (put(ann, job, path), ann.delete(f"jobs/{job['id']}/files/{path}")):
        problem(answer, 422, "invalid_spec")
    assert [(each.name, each.read_text()) for each in outside.iterdir()] == [("x", "kept")]


def test_a_name_that_no_file_can_have(ann, job):
    problem(put(ann, job, "x" * 256), 422, "invalid_spec")
    problem(ann.delete(f"jobs/{job['id']}/files/{'x' * 256}"), 404, "not_found")


def test_a_link_is_removed_and_not_what_it_leads_to(ann, job, tmp_path):
    (tmp_path / "kept").write_text("kept")
    (job["work"] / "link").symlink_to(tmp_path / "kept")
    assert fields(problem(put(ann, job, "link"), 422, "invalid_spec")) == {
        "path": "'link' is a symbolic link; links are not followed"
    }
    assert ann.delete(f"jobs/{job['id']}/files/link").status_code == 204
    assert (tmp_path / "kept").read_text() == "kept"


def test_a_folder_is_no_file_and_a_file_no_folder(ann, job):
    put(ann, job, "folder/file")
    problem(put(ann, job, "folder"), 422, "invalid_spec")
    assert put(ann, job, "folder/file/below").status_code in (422, 502)
    assert (job["work"] / "folder/file").read_bytes() == b"new"


def test_the_body_limit_holds(make_gateway, serve, login):
    gateway = make_gateway(server={"max_body_bytes": 1000})
    ann = login(serve(gateway), "ann")
    made = ann.submit()
    Path(gateway.store.jobs.get(made["id"]).folder).mkdir(parents=True)
    problem(put(ann, made, "big", b"x" * 1001), 413, "body_too_large")
    assert put(ann, made, "big", b"x" * 1000).status_code == 201


def test_what_a_job_left_stays_what_it_was(ann, job, fake, gateway, work):
    put(ann, job, "result")
    fake.set_state(gateway.store.jobs.get(job["id"]), JobState.COMPLETED)
    eventually(lambda: (work(), ann.get(f"jobs/{job['id']}").json["state"] == "COMPLETED")[1])
    assert "has ended" in problem(put(ann, job, "result", b"forged"), 409, "conflict")["detail"]
    assert ann.get(f"jobs/{job['id']}/files/result").data == b"new"
    assert ann.delete(f"jobs/{job['id']}/files/result").status_code == 204, "space may be made"


def test_a_job_that_is_on_its_way_has_no_folder_yet(ann, fake):
    fake.lose_answer_next_submit()
    made = ann.post("jobs", {"script": "#!/bin/sh\n"}).json
    assert made["state"] == "SUBMITTING"
    problem(put(ann, made, "x"), 409, "conflict")
    problem(ann.delete(f"jobs/{made['id']}/files/x"), 409, "conflict")


# --- archives


def unzipped(answer):
    assert answer.status_code == 200, answer.text
    assert answer.content_type == "application/zip"
    archive = zipfile.ZipFile(io.BytesIO(answer.data))
    assert archive.testzip() is None
    return {info.filename: archive.read(info) for info in archive.infolist()}


def test_all_files_come_as_one_archive(ann, job, tmp_path):
    (tmp_path / "secret").write_text("secret")
    put(ann, job, "a.txt", b"a" * 3_000_000)
    put(ann, job, "sub/run.sh", b"#!", "?executable=true")
    put(ann, job, "sub/empty", b"")
    (job["work"] / "link").symlink_to(tmp_path / "secret")
    (job["work"] / "dir").symlink_to(tmp_path)
    os.mkfifo(job["work"] / "pipe")
    answer = ann.get(f"jobs/{job['id']}/files?archive=zip")
    assert answer.headers["Content-Disposition"].startswith(f'attachment; filename="job-{job["id"]}.zip"')
    found = unzipped(answer)
    left_out = found.pop(".hpcgate-left-out.txt")
    assert found == {"a.txt": b"a" * 3_000_000, "sub/": b"", "sub/run.sh": b"#!", "sub/empty": b""}
    assert left_out.decode().splitlines()[1:] == ["pipe"]
    assert unzipped(ann.get(f"jobs/{job['id']}/files/sub?archive=zip")) == {"run.sh": b"#!", "empty": b""}
    run = zipfile.ZipFile(io.BytesIO(ann.get(f"jobs/{job['id']}/files?archive=zip").data)).getinfo("sub/run.sh")
    assert run.external_attr >> 16 & 0o777 == 0o700


def test_an_archive_of_what_is_no_folder(ann, job):
    put(ann, job, "file")
    (job["work"] / "out").symlink_to("/etc")
    problem(ann.get(f"jobs/{job['id']}/files/file?archive=zip"), 404, "not_found")
    problem(ann.get(f"jobs/{job['id']}/files/nope?archive=zip"), 404, "not_found")
    problem(ann.get(f"jobs/{job['id']}/files/out?archive=zip"), 422, "invalid_spec")
    problem(ann.get(f"jobs/{job['id']}/files?archive=tar"), 422, "invalid_spec")


@pytest.mark.parametrize("limits", [{"max_archive_bytes": 10}, {"max_archive_files": 2}])
def test_an_archive_has_its_limits(make_gateway, serve, login, limits):
    gateway = make_gateway(limits=limits)
    ann = login(serve(gateway), "ann")
    made = ann.submit()
    Path(gateway.store.jobs.get(made["id"]).folder).mkdir(parents=True)
    assert unzipped(ann.get(f"jobs/{made['id']}/files?archive=zip")) == {}
    for name in ("a", "b", "c"):
        put(ann, made, name, b"12345")
    found = fields(problem(ann.get(f"jobs/{made['id']}/files?archive=zip"), 422, "invalid_spec"))
    assert "would hold more than" in found["archive"]
