"""Output and files of jobs, held inside their folders."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import ANN, BOB, eventually

from hpcgate.errors import InvalidSpec, NotFound
from hpcgate.model.move import JobDraft
from hpcgate.model.spec import ArraySpec, JobSpec
from hpcgate.service.admission import JobRequest


@pytest.fixture
def job(gateway):
    job = gateway.jobs.submit(ANN, JobRequest(spec=JobSpec(command="true"))).job
    work = Path(job.folder) / "work"
    (work / "sub").mkdir(parents=True)
    (work / "a.txt").write_bytes(b"0123456789")
    (work / "sub" / "b.txt").write_bytes(b"b")
    (work / "out").symlink_to("/etc")
    (work / "link.txt").symlink_to("/etc/passwd")
    return job


def test_files_are_listed_and_read(gateway, job):
    assert {item.name for item in gateway.files.list(ANN, job.id)} == {"a.txt", "sub", "out", "link.txt"}
    assert [item.name for item in gateway.files.list(ANN, job.id, "sub")] == ["b.txt"]
    chunk = gateway.files.read(ANN, job.id, "a.txt", offset=3, length=4)
    assert (chunk.data, chunk.offset, chunk.size) == (b"3456", 3, 10)


@pytest.mark.parametrize("path", ["../script", "/etc/passwd", "sub/../../script", "a\0b", "link.txt", "out/passwd"])
def test_no_path_leads_out(gateway, job, path):
    with pytest.raises(InvalidSpec):
        gateway.files.read(ANN, job.id, path)


@pytest.mark.parametrize("path", ["nothing", "sub/nothing"])
def test_what_is_not_there_is_not_found(gateway, job, path):
    with pytest.raises(NotFound):
        gateway.files.read(ANN, job.id, path)


@pytest.mark.parametrize("job_id", [0, -1, 2**63, 2**200])
def test_what_is_no_id_is_not_found_whoever_is_asked(gateway, job_id):
    for ask in (gateway.jobs.get, gateway.files.list, gateway.jobs.delete):
        with pytest.raises(NotFound):
            ask(ANN, job_id)
    with pytest.raises(NotFound):
        gateway.events.after(ANN, 0, job_id=job_id)


def test_output_of_a_job_whose_submit_got_no_answer_is_where_its_spec_says(gateway, fake):
    fake.lose_answer_next_submit()
    spec = JobSpec(command="true", working_directory="sub", stdout_path="out.txt")
    job = gateway.jobs.submit(ANN, JobRequest(spec=spec)).job
    worker = gateway.worker()
    eventually(lambda: worker.step() or gateway.jobs.get(ANN, job.id).native_id)
    path = Path(job.folder) / "work" / "sub" / "out.txt"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"found")
    assert gateway.jobs.output(ANN, job.id, "stdout").data == b"found"


def test_delete_removes_no_folder_that_is_not_the_jobs_own(gateway, fake, tmp_path):
    precious = tmp_path / "precious"
    precious.mkdir()
    draft = JobDraft(
        key="01WRONG0000000000000000000", owner="ann", site="fake", spec=JobSpec(command="true"), folder=str(precious)
    )
    job = gateway.store.jobs.add([draft], actor="ann").jobs[0]
    gateway.jobs.cancel(ANN, [job.id])
    gateway.jobs.delete(ANN, job.id)
    assert precious.is_dir()


def test_a_folder_is_no_file_and_others_see_nothing(gateway, job):
    with pytest.raises(InvalidSpec, match="folder"):
        gateway.files.read(ANN, job.id, "sub")
    with pytest.raises(NotFound):
        gateway.files.list(BOB, job.id)


def test_output_by_offset_from_both_ends(gateway, job):
    assert gateway.jobs.output(ANN, job.id, "stdout").data == b""
    Path(job.stdout_path).write_bytes(b"hello world")
    assert gateway.jobs.output(ANN, job.id, "stdout", offset=6).data == b"world"
    tail = gateway.jobs.output(ANN, job.id, "stdout", offset=-5)
    assert (tail.data, tail.offset, tail.size) == (b"world", 6, 11)
    assert gateway.jobs.output(ANN, job.id, "stdout", offset=100).data == b""
    with pytest.raises(NotFound):
        gateway.jobs.output(BOB, job.id, "stdout")


def test_output_of_an_array_is_asked_for_by_task(gateway, job):
    spec = JobSpec(command="true", array=ArraySpec(start=0, stop=1))
    array = gateway.jobs.submit(ANN, JobRequest(spec=spec)).job
    Path(array.folder).mkdir(parents=True, exist_ok=True)
    (Path(array.folder) / "stdout.1").write_bytes(b"one")
    assert gateway.jobs.output(ANN, array.id, "stdout", task=1).data == b"one"
    spec = JobSpec(command="true", array=ArraySpec(start=0, stop=1), stdout_path=f"{array.folder}/log")
    named = gateway.jobs.submit(ANN, JobRequest(spec=spec)).job
    (Path(array.folder) / "log.0").write_bytes(b"zero")
    assert gateway.jobs.output(ANN, named.id, "stdout", task=0).data == b"zero"
    with pytest.raises(InvalidSpec, match="is an array"):
        gateway.jobs.output(ANN, array.id, "stdout")
    with pytest.raises(NotFound, match="has no task 2; its array is 0-1"):
        gateway.jobs.output(ANN, array.id, "stdout", task=2)
    with pytest.raises(InvalidSpec, match="not an array"):
        gateway.jobs.output(ANN, job.id, "stdout", task=0)
