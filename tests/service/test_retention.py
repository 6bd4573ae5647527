"""What is old goes, and nothing else does."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support import ANN, BOB, ROOT, eventually

from hpcgate.errors import Conflict, EventsGone, InvalidSpec, NotFound, TransportError
from hpcgate.model.files import JobFolder
from hpcgate.model.query import JobFilter
from hpcgate.model.spec import JobSpec
from hpcgate.model.state import JobState
from hpcgate.service import retention as service
from hpcgate.service.admission import JobRequest
from hpcgate.service.retention import DAY_S, Retention
from hpcgate.transport.local import LocalTransport

pytestmark = pytest.mark.usefixtures("database_url")

TRUE = JobRequest(spec=JobSpec(command="true"))


@pytest.fixture
def gateway(make_gateway):
    return make_gateway(retention={"jobs_days": 90, "files_days": 7, "events_days": 30})


@pytest.fixture
def ended(gateway, fake) -> Callable[..., list[Any]]:
    """Jobs that have ended just now, with a file each; and one that runs."""

    def make(count: int = 2) -> list[Any]:
        jobs = [gateway.jobs.submit(ANN, TRUE).job for _ in range(count + 1)]
        for job in jobs:
            work = Path(JobFolder(job.folder).work)
            work.mkdir(parents=True)
            (work / "result").write_text("done")
            fake.set_state(job, JobState.COMPLETED if job is not jobs[-1] else JobState.RUNNING)
        worker = gateway.worker()
        wanted = {JobState.COMPLETED: count, JobState.RUNNING: 1}
        eventually(lambda: worker.step() or gateway.store.jobs.counts(site="fake") == wanted)
        worker.close()
        return jobs

    return make


def after(gateway, days: float) -> Retention:
    """Retention as it will be in some days."""
    return Retention(
        gateway.sites, gateway.store, gateway._transports, gateway.config.retention, gateway.holder,
        clock=lambda: time.time() + days * DAY_S,
    )  # fmt: skip


def everything(retention: Retention) -> service.Pruned:
    done = service.Pruned()
    while True:
        part = retention.step()
        done.add(part)
        if not part.more:
            retention.lease.give_up()
            return done


def test_files_go_first_and_jobs_later_and_what_runs_stays(gateway, ended, monkeypatch):
    monkeypatch.setattr(service, "BATCH", 2)
    *old, running = ended(5)
    assert everything(after(gateway, 6.9)) == service.Pruned()
    soon = after(gateway, 7.1)
    assert (soon.preview().files, soon.preview().jobs) == (5, 0)
    done = everything(soon)
    assert (done.files, done.jobs, done.kept) == (5, 0, 0)
    assert [Path(job.folder).exists() for job in (*old, running)] == [False] * 5 + [True]
    assert gateway.jobs.get(ANN, old[0].id).folder is None
    with pytest.raises(NotFound, match="files of job 1 were removed"):
        gateway.jobs.output(ANN, old[0].id, "stdout")
    assert "job.files_removed" in {event.type for event in gateway.jobs.events(ANN, old[0].id)}
    assert everything(after(gateway, 89)).jobs == 0
    late = after(gateway, 91)
    assert late.preview().jobs == 5
    assert everything(late).jobs == 5
    assert [job.id for job in gateway.jobs.list(ROOT, JobFilter()).items] == [running.id]
    assert Path(running.folder).exists()


def test_an_owner_removes_the_files_and_keeps_the_job(gateway, ended):
    old, running = ended(1)
    with pytest.raises(Conflict, match="cancel it first"):
        gateway.jobs.remove_files(ANN, running.id)
    with pytest.raises(NotFound):
        gateway.jobs.remove_files(BOB, old.id)
    assert Path(old.folder).exists()
    for _ in range(2):
        job = gateway.jobs.remove_files(ANN, old.id)
        assert (job.state, job.folder, job.stdout_path) == (JobState.COMPLETED, None, None)
        assert not Path(old.folder).exists()
    told = [event for event in gateway.jobs.events(ANN, old.id) if event.type == "job.files_removed"]
    assert [event.actor for event in told] == ["ann"]


def test_without_a_table_everything_is_kept(make_gateway, gateway, ended):
    ended(2)
    plain = make_gateway()
    assert everything(after(plain, 100_000)) == service.Pruned()


def test_a_job_that_expires_goes_at_its_time(gateway, ended):
    first, second, running = ended(2)
    now = time.time()
    assert gateway.jobs.expire(ANN, first.id, now + DAY_S).expires_at == now + DAY_S
    gateway.jobs.expire(ANN, second.id, now + DAY_S)
    gateway.jobs.expire(ANN, second.id, None)
    gateway.jobs.expire(ANN, running.id, now)
    with pytest.raises(InvalidSpec, match="epoch seconds"):
        gateway.jobs.expire(ANN, first.id, float("nan"))
    with pytest.raises(NotFound):
        gateway.jobs.expire(BOB, first.id, now)
    assert everything(after(gateway, 0.9)).jobs == 0
    assert everything(after(gateway, 1.1)).jobs == 1
    assert not Path(first.folder).exists()
    with pytest.raises(NotFound):
        gateway.jobs.get(ANN, first.id)
    assert {job.id for job in gateway.store.jobs.get_many([second.id, running.id])} == {second.id, running.id}
    (told,) = [event for event in gateway.events.after(ANN, 0) if event.type == "job.deleted"]
    assert told.actor is None


def test_a_site_that_does_not_answer_keeps_its_jobs_and_stops_nothing_else(gateway, ended, monkeypatch):
    jobs = ended(3)

    def silent(self: Any, path: str) -> None:
        raise TransportError("no route to host")

    with monkeypatch.context() as patch:
        patch.setattr(LocalTransport, "remove", silent)
        retention = after(gateway, 91)
        done = everything(retention)
        assert (done.jobs, done.files) == (0, 0)
        assert done.events > 0
        assert all(Path(job.folder).exists() for job in jobs)
    assert everything(retention).jobs == 0  # left alone for a while
    monkeypatch.setattr(service, "SILENT_S", 0.0)
    assert everything(after(gateway, 91)).jobs == 3


def test_one_folder_that_cannot_be_removed_keeps_no_other(gateway, ended, monkeypatch):
    monkeypatch.setattr(service, "BATCH", 1)
    bad, *others, _ = ended(3)
    remove = LocalTransport.remove

    def refuse_one(self: Any, path: str) -> None:
        if path == bad.folder:
            raise TransportError("not permitted", transient=False)
        remove(self, path)

    monkeypatch.setattr(LocalTransport, "remove", refuse_one)
    retention = after(gateway, 8)
    done = everything(retention)
    assert (done.files, done.kept) == (2, 1)
    assert Path(bad.folder).exists()
    monkeypatch.setattr(LocalTransport, "remove", remove)
    assert everything(retention).files == 1  # its turn comes again
    assert [Path(job.folder).exists() for job in (bad, *others)] == [False] * 3


def test_a_folder_that_is_not_named_by_the_key_is_left(gateway, ended, tmp_path):
    job, _ = ended(1)
    precious = tmp_path / "precious"
    precious.mkdir()
    gateway.store._session.execute("UPDATE job SET folder = ? WHERE id = ?", (str(precious), job.id))
    assert everything(after(gateway, 91)).jobs == 1
    assert precious.exists()


def test_a_cursor_that_is_too_old_is_told_so(gateway, ended):
    ended(2)
    gateway.events.after(ROOT, 1)
    done = everything(after(gateway, 31))
    last = gateway.events.last()  # what was told of it is gone as well, by a clock that is ahead
    assert done.events == last
    assert gateway.events.after(ROOT, 0) == []
    gateway.jobs.submit(ANN, TRUE)
    with pytest.raises(EventsGone, match=f"events up to {last} are not kept any more"):
        gateway.events.after(ROOT, last - 1)
    assert gateway.events.after(ROOT, last)[0].seq == last + 1


def test_one_worker_at_a_time_and_it_gives_the_lease_back(make_gateway, gateway, ended):
    ended(1)
    first, second = gateway.retention(), make_gateway().retention()
    assert first.step() is not None
    assert second.step() is None
    first.lease.give_up()
    assert second.step() is not None
    second.lease.give_up()


def test_workers_do_it_by_themselves(make_gateway, gateway, fake, ended):
    job, _ = ended(1)
    gateway.jobs.expire(ANN, job.id, time.time())
    stop = threading.Event()
    thread = threading.Thread(target=gateway.worker().run, args=(stop,))
    thread.start()
    try:
        eventually(lambda: not gateway.store.jobs.get_many([job.id]))
    finally:
        stop.set()
        thread.join()
    assert gateway.store.leases.get("retention") is None
