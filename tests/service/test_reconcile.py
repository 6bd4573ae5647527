"""Rounds over a site: what is seen is written once, and nothing is ever guessed."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path

import pytest
from support import ANN, BOB, ROOT, eventually

from hpcgate.config import config_from
from hpcgate.errors import Conflict, NotFound, NotSupported, SchedulerError, TransportError
from hpcgate.gateway import open_gateway
from hpcgate.model.job import TaskObservation, Usage
from hpcgate.model.query import JobFilter
from hpcgate.model.spec import ArraySpec, JobSpec
from hpcgate.model.state import Evidence, JobState, Reason
from hpcgate.service.admission import JobRequest
from hpcgate.transport.local import LocalTransport

pytestmark = pytest.mark.usefixtures("database_url")

TRUE = JobRequest(spec=JobSpec(command="true"))


@pytest.fixture
def job(gateway):
    return gateway.jobs.submit(ANN, TRUE).job


@pytest.fixture
def reconciler(gateway):
    return gateway.worker()._loops["fake"]._reconciler


def leave_record(job):
    folder = Path(job.folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "exit.1").write_text(json.dumps({"native_id": job.native_id, "exit_code": 0}))


def raise_away(*_args):
    raise TransportError("no answer")


def step(gateway, until=lambda: True):
    # A worker that begins does not ask sooner than it might have, had it been there all the time.
    eventually(lambda: all(time.time() - (h.polled_at or 0) > 0.02 for h in gateway.store.sites.all().values()))
    worker = gateway.worker()

    def done():
        worker.step()
        return until()

    return eventually(done)


def reload(gateway, job):
    return gateway.jobs.get(ANN, job.id)


def types(gateway, job):
    return [event.type for event in gateway.jobs.events(ANN, job.id)]


class TestTheQueue:
    def test_every_step_is_an_event_and_a_repetition_is_none(self, gateway, fake, job):
        fake.set_state(job, JobState.RUNNING, nodes=("n1",), cpu_ids=(0, 1))
        step(gateway)
        before = gateway.events.last()
        for _ in range(3):
            step(gateway)
        assert gateway.events.last() == before
        job = reload(gateway, job)
        assert (job.state, job.nodes, job.cpu_ids) == (JobState.RUNNING, ("n1",), (0, 1))
        fake.set_state(job, JobState.COMPLETED, usage=Usage(cpu_time_s=1.5, max_rss_kib=10))
        step(gateway)
        job = reload(gateway, job)
        assert (job.state, job.exit_code, job.evidence) == (JobState.COMPLETED, 0, Evidence.QUEUE)
        assert job.usage == Usage(cpu_time_s=1.5, max_rss_kib=10)

    def test_a_failed_poll_changes_freshness_only(self, gateway, fake, job):
        fake.set_state(job, JobState.RUNNING)
        step(gateway)
        fake.fail_next("poll", SchedulerError("controller is down"), times=10_000)
        worker = gateway.worker()
        eventually(lambda: worker.step() or reload(gateway, job).stale)
        assert reload(gateway, job).state is JobState.RUNNING
        assert gateway.site_service.get(ANN, "fake").health.error == "controller is down"
        assert gateway.status()["sites"]["fake"] == {
            "ok": False,
            "error": "controller is down",
            "drained": None,
        }

    def test_commands_per_round_do_not_grow_with_the_jobs(self, gateway, fake):
        gateway.jobs.submit_many(ANN, [TRUE] * 300)
        before = fake.calls.copy()
        step(gateway)
        assert fake.calls["poll"] - before["poll"] == 1
        assert fake.calls["accounting"] == before["accounting"]
        for job in gateway.jobs.list(ANN, JobFilter(), limit=100).items:
            fake.forget(job)
        step(gateway, lambda: fake.calls["accounting"] > before["accounting"])
        assert fake.calls["accounting"] - before["accounting"] == 1, "one question, for all that left the queue"

    def test_an_attempt_ends_and_the_next_begins(self, gateway, fake, job):
        fake.set_state(job, JobState.RUNNING)
        step(gateway)
        gateway.jobs.requeue(ANN, job.id)
        step(gateway)
        job = reload(gateway, job)
        assert (job.state, job.attempt) == (JobState.QUEUED, 2)
        assert [each.attempt for each in gateway.jobs.attempts(ANN, job.id)] == [1, 2]
        assert "job.requeued" in types(gateway, job)


class TestGone:
    def test_accounting_says_how_it_ended(self, gateway, fake, job):
        fake.account(job, JobState.FAILED, exit_code=3, reason=Reason.EXIT_NONZERO, started_at=job.created_at)
        fake.forget(job)
        step(gateway)
        job = reload(gateway, job)
        assert (job.state, job.exit_code, job.evidence) == (JobState.FAILED, 3, Evidence.ACCOUNTING)

    def test_else_the_exit_record_does(self, gateway, fake, job):
        fake.forget(job)
        folder = Path(job.folder)
        folder.mkdir(parents=True)
        record = {"native_id": job.native_id, "exit_code": 0, "started_at": 1.0, "ended_at": 2.0}
        (folder / "exit.1").write_text(json.dumps(record))
        step(gateway)
        job = reload(gateway, job)
        assert (job.state, job.evidence) == (JobState.COMPLETED, Evidence.EXIT_FILE)

    def test_an_exit_record_of_another_run_does_not_count(self, make_gateway, fake):
        gateway = make_gateway(limits={"lost_grace_s": 0.1})
        job = gateway.jobs.submit(ANN, TRUE).job
        fake.forget(job)
        folder = Path(job.folder)
        folder.mkdir(parents=True)
        (folder / "exit.1").write_text(json.dumps({"native_id": "999", "exit_code": 0}))
        step(gateway, lambda: reload(gateway, job).state.final)
        assert reload(gateway, job).reason is Reason.LOST

    def test_lost_only_after_the_grace_time_and_never_completed(self, make_gateway, fake):
        gateway = make_gateway(limits={"lost_grace_s": 0.3})
        job = gateway.jobs.submit(ANN, TRUE).job
        fake.forget(job)
        step(gateway)
        assert reload(gateway, job).state is JobState.QUEUED
        step(gateway, lambda: reload(gateway, job).state.final)
        job = reload(gateway, job)
        assert (job.state, job.reason, job.evidence) == (JobState.FAILED, Reason.LOST, Evidence.GATEWAY)

    def test_silent_accounting_stops_the_clock(self, make_gateway, fake):
        gateway = make_gateway(limits={"lost_grace_s": 0.05})
        job = gateway.jobs.submit(ANN, TRUE).job
        fake.forget(job)
        fake.fail_next("accounting", SchedulerError("slurmdbd is down"), times=10)
        step(gateway, lambda: fake.calls["accounting"] >= 10)
        assert reload(gateway, job).state is JobState.QUEUED
        step(gateway, lambda: reload(gateway, job).state.final)

    def test_an_incomplete_listing_proves_no_absence(self, make_gateway, fake):
        gateway = make_gateway(limits={"lost_grace_s": 0.0})
        job = gateway.jobs.submit(ANN, TRUE).job
        fake.listing_complete = False
        fake.forget(job)
        step(gateway, lambda: fake.calls["poll"] >= 5)
        assert reload(gateway, job).state is JobState.QUEUED

    def test_lost_is_superseded_by_proof(self, make_gateway, fake):
        gateway = make_gateway(limits={"lost_grace_s": 0.0})
        job = gateway.jobs.submit(ANN, TRUE).job
        other = gateway.jobs.submit(ANN, TRUE).job  # keeps the site polled
        fake.forget(job)
        step(gateway, lambda: reload(gateway, job).state.final)
        fake.set_state(job, JobState.COMPLETED)
        step(gateway, lambda: reload(gateway, job).state is JobState.COMPLETED)
        assert "job.corrected" in types(gateway, job)
        assert reload(gateway, job).reason is None
        assert reload(gateway, other).state is JobState.QUEUED

    def test_a_final_never_reopens(self, gateway, fake, job):
        fake.set_state(job, JobState.FAILED, exit_code=1)
        step(gateway)
        other = gateway.jobs.submit(ANN, TRUE).job
        fake.set_state(job, JobState.RUNNING)
        step(gateway, lambda: fake.calls["poll"] >= 4)
        assert reload(gateway, job).state is JobState.FAILED
        assert reload(gateway, other).state is JobState.QUEUED

    def test_accounting_that_lags_behind_denies_nothing(self, make_gateway, fake):
        gateway = make_gateway(limits={"lost_grace_s": 0.0})
        job = gateway.jobs.submit(ANN, TRUE).job
        fake.account(job, JobState.RUNNING)
        fake.forget(job)
        step(gateway, lambda: fake.calls["accounting"] >= 5)
        assert reload(gateway, job).state is JobState.QUEUED

    def test_broken_accounting_keeps_no_other_job_from_its_end(self, gateway, fake, job):
        other = gateway.jobs.submit(ANN, TRUE).job
        fake.forget(job)
        fake.fail_next("accounting", ZeroDivisionError("bug"), times=1000)
        fake.set_state(other, JobState.COMPLETED)
        step(gateway, lambda: reload(gateway, other).state is JobState.COMPLETED)
        assert reload(gateway, job).state is JobState.QUEUED

    def test_a_state_that_cannot_be_keeps_no_other_job_from_its_end(self, gateway, fake, job, caplog):
        other = gateway.jobs.submit(ANN, TRUE).job
        fake.set_state(job, JobState.SUBMITTING)
        fake.set_state(other, JobState.COMPLETED)
        step(gateway, lambda: reload(gateway, other).state is JobState.COMPLETED)
        assert reload(gateway, job).state is JobState.QUEUED
        assert f"job {job.id}" in caplog.text

    def test_slow_folders_are_asked_by_turns(self, make_gateway, fake, monkeypatch):
        monkeypatch.setattr("hpcgate.service.reconcile.FOLDERS_S", 0.0)
        asked = []
        monkeypatch.setattr("hpcgate.service.reconcile.read_exit", lambda ref, transport: asked.append(ref.id))
        gateway = make_gateway()
        jobs = gateway.jobs.submit_many(ANN, [TRUE] * 3)
        for job in jobs:
            fake.forget(job)
        step(gateway, lambda: len(asked) >= 6)
        ids = [job.id for job in jobs]
        assert asked[:6] == [*ids, *ids]


class TestEventSpool:
    def test_the_folder_is_made_for_the_gateways_own_account_alone(self, gateway, job):
        step(gateway)
        assert Path(gateway.sites["fake"].event_spool).stat().st_mode & 0o777 == 0o700

    def test_the_end_of_a_local_job_is_seen_without_a_poll(self, tmp_path):
        """All parts together: the spooler's word, the folder that it is left in, the exit record."""
        poll = {"min_s": 3600.0, "max_s": 3600.0, "spool_s": 0.02}
        site = {"scheduler": "local", "work_root": str(tmp_path / "work"), "poll": poll}
        with open_gateway(config_from({"sites": {"here": site}}, home=tmp_path / "home")) as gateway:
            stop = threading.Event()
            thread = threading.Thread(target=gateway.worker().run, args=(stop,))
            thread.start()
            try:
                waits = gateway.jobs.submit(ANN, JobRequest(spec=JobSpec(command="sleep", args=("1000",)))).job
                spool = Path(gateway.sites["here"].event_spool)
                eventually(lambda: spool.is_dir() and gateway.site_service.get(ANN, "here").health.polled_at)
                job = gateway.jobs.submit(ANN, JobRequest(spec=JobSpec(command="true"))).job
                eventually(lambda: reload(gateway, job).state is JobState.COMPLETED)
                assert reload(gateway, job).evidence is Evidence.EXIT_FILE
                gateway.jobs.cancel(ANN, [waits.id])
                eventually(lambda: reload(gateway, waits).state is JobState.CANCELED)
            finally:
                stop.set()
                thread.join(timeout=10)

    def test_a_file_that_cannot_be_removed_hides_no_other(self, gateway, fake, job, monkeypatch):
        remove = LocalTransport.remove

        def stubborn(self, path):
            if path.endswith("/0bad"):
                raise TransportError("not permitted", transient=False)
            remove(self, path)

        monkeypatch.setattr(LocalTransport, "remove", stubborn)
        spool = Path(gateway.sites["fake"].event_spool)
        spool.mkdir(parents=True, exist_ok=True)
        (spool / "0bad").mkdir()
        (spool / os.fsdecode(b"\xff.done")).touch()
        (spool / job.key).touch()
        step(gateway)
        assert [path.name for path in spool.iterdir()] == ["0bad"]

    def test_an_exit_record_and_a_file_end_the_job_without_a_poll(self, make_gateway, fake, tmp_path):
        table = {"scheduler": "fake", "work_root": str(tmp_path / "w"), "poll": {"min_s": 3600.0, "max_s": 3600.0}}
        gateway = make_gateway(sites={"fake": {**table, "poll": {**table["poll"], "spool_s": 0.01}}})
        job = gateway.jobs.submit(ANN, TRUE).job
        worker = gateway.worker()
        worker.step()
        polls = fake.calls["poll"]
        leave_record(job)
        spool = Path(gateway.sites["fake"].event_spool)
        spool.mkdir(parents=True, exist_ok=True)
        (spool / job.key).touch()
        eventually(lambda: worker.step() or reload(gateway, job).state is JobState.COMPLETED)
        assert fake.calls["poll"] == polls
        assert not list(spool.iterdir())

    def test_word_of_a_job_whose_submit_is_not_written_down_yet_waits_for_it(self, gateway, fake, reconciler):
        """A job may have ended before its native id is known here, and the next poll may be minutes away."""
        spool = Path(gateway.sites["fake"].event_spool)
        spool.mkdir(parents=True)
        with fake.pause("submit") as asked:
            thread = threading.Thread(target=gateway.jobs.submit, args=(ANN, TRUE))
            thread.start()
            assert asked.wait(60)
            (job,) = gateway.jobs.list(ANN, JobFilter()).items
            (spool / job.key).touch()
            assert reconciler.read_event_spool() is False
            assert (spool / job.key).exists()
        thread.join()
        leave_record(reload(gateway, job))
        reconciler.read_event_spool()
        assert reload(gateway, job).state is JobState.COMPLETED
        assert not list(spool.iterdir())

    def test_a_record_that_could_not_be_read_is_looked_at_again(self, gateway, job, reconciler, monkeypatch):
        spool = Path(gateway.sites["fake"].event_spool)
        spool.mkdir(parents=True, exist_ok=True)
        leave_record(job)
        (spool / job.key).touch()
        with monkeypatch.context() as patch:
            patch.setattr("hpcgate.service.reconcile.read_exit", raise_away)
            reconciler.read_event_spool()
        assert not list(spool.iterdir())
        assert reload(gateway, job).state is JobState.QUEUED
        reconciler.read_event_spool()
        assert reload(gateway, job).state is JobState.COMPLETED
        assert reconciler.read_event_spool() is False

    def test_a_file_without_a_record_only_wakes(self, gateway, fake, job):
        spool = Path(gateway.sites["fake"].event_spool)
        spool.mkdir(parents=True, exist_ok=True)
        (spool / job.key).touch()
        (spool / "not-a-key").touch()
        step(gateway)
        assert reload(gateway, job).state is JobState.QUEUED
        assert not list(spool.iterdir())


class TestControl:
    def test_cancel_is_a_wish_until_the_scheduler_says_so(self, gateway, fake, job):
        fake.cancel_ends = False
        (wished,) = gateway.jobs.cancel(ANN, [job.id])
        assert (wished.state, wished.canceling) == (JobState.QUEUED, True)
        step(gateway)
        assert reload(gateway, job).state is JobState.QUEUED
        fake.set_state(job, JobState.CANCELED)
        step(gateway)
        job = reload(gateway, job)
        assert (job.state, job.reason, job.canceling) == (JobState.CANCELED, Reason.CANCELED_BY_USER, False)

    def test_cancel_by_an_admin_says_so(self, gateway, fake, job):
        gateway.jobs.cancel(ROOT, [job.id])
        step(gateway)
        assert reload(gateway, job).reason is Reason.CANCELED_BY_ADMIN
        wish = next(event for event in gateway.jobs.events(ANN, job.id) if event.type == "job.canceling")
        assert wish.actor == "root"

    def test_a_cancel_that_did_not_get_through_is_repeated(self, gateway, fake, job):
        fake.fail_next("cancel", SchedulerError("down"))
        gateway.jobs.cancel(ANN, [job.id])
        step(gateway, lambda: reload(gateway, job).state is JobState.CANCELED)

    def test_a_job_that_no_scheduler_has_is_canceled_at_once(self, gateway, fake):
        fake.fail_next("submit", SchedulerError("down"), times=1000)
        job = gateway.jobs.submit(ANN, TRUE).job
        assert job.state is JobState.SUBMITTING
        gateway.jobs.cancel(ANN, [job.id])
        step(gateway, lambda: reload(gateway, job).state.final)
        assert reload(gateway, job).reason is Reason.CANCELED_BY_USER
        assert fake.taken(job.key) == 0

    def test_cancel_of_an_ended_job_changes_nothing(self, gateway, fake, job):
        fake.set_state(job, JobState.COMPLETED)
        step(gateway)
        (same,) = gateway.jobs.cancel(ANN, [job.id])
        assert (same.state, same.canceling) == (JobState.COMPLETED, False)

    def test_cancel_matching_takes_only_what_matches_and_what_one_may(self, gateway, fake):
        mine = gateway.jobs.submit_many(ANN, [TRUE] * 5)
        theirs = gateway.jobs.submit(BOB, TRUE).job
        assert gateway.jobs.cancel_matching(ANN, JobFilter()).count == 5
        step(gateway, lambda: gateway.jobs.count(ANN, JobFilter(active=True)) == 0)
        assert gateway.jobs.get(BOB, theirs.id).state is JobState.QUEUED
        assert {reload(gateway, job).state for job in mine} == {JobState.CANCELED}

    def test_hold_and_release(self, gateway, fake, job):
        gateway.jobs.hold(ANN, job.id)
        step(gateway, lambda: reload(gateway, job).state is JobState.HELD)
        gateway.jobs.release(ANN, job.id)
        step(gateway, lambda: reload(gateway, job).state is JobState.QUEUED)

    def test_what_a_state_does_not_allow_is_a_conflict(self, gateway, fake, job):
        with pytest.raises(Conflict, match="RUNNING"):
            gateway.jobs.requeue(ANN, job.id)
        with pytest.raises(Conflict, match="cancel it first"):
            gateway.jobs.delete(ANN, job.id)
        fake.set_state(job, JobState.COMPLETED)
        step(gateway)
        with pytest.raises(Conflict):
            gateway.jobs.requeue(ANN, job.id)

    def test_delete_forgets_the_job_and_its_folder(self, gateway, fake, job):
        Path(job.folder).mkdir(parents=True)
        fake.set_state(job, JobState.COMPLETED)
        step(gateway)
        gateway.jobs.delete(ANN, job.id)
        assert not Path(job.folder).exists()
        with pytest.raises(NotFound):
            reload(gateway, job)
        assert gateway.jobs.submit(ANN, TRUE).job.id > job.id

    def test_what_a_scheduler_cannot_do_is_not_supported(self, make_gateway, fake):
        from dataclasses import replace

        fake.info = replace(fake.info, capabilities=frozenset())
        gateway = make_gateway()
        job = gateway.jobs.submit(ANN, TRUE).job
        with pytest.raises(NotSupported):
            gateway.jobs.hold(ANN, job.id)


def test_array_tasks_are_written_as_they_change(gateway, fake):
    job = gateway.jobs.submit(ANN, JobRequest(spec=JobSpec(command="true", array=ArraySpec(start=0, stop=2)))).job
    done = TaskObservation(index=0, state=JobState.COMPLETED, exit_code=0)
    fake.set_state(job, JobState.RUNNING, tasks=(done,))
    step(gateway)
    failed = TaskObservation(index=2, state=JobState.FAILED, exit_code=4)
    fake.set_state(job, JobState.FAILED, exit_code=4, tasks=(done, failed))
    step(gateway)
    tasks = gateway.jobs.tasks(ANN, job.id).items
    assert [(task.index, task.state, task.exit_code) for task in tasks] == [
        (0, JobState.COMPLETED, 0),
        (2, JobState.FAILED, 4),
    ]


@pytest.fixture
def array(gateway):
    return gateway.jobs.submit(ANN, JobRequest(spec=JobSpec(command="true", array=ArraySpec(start=0, stop=2)))).job


def test_tasks_of_a_write_that_was_overtaken_are_written_later(gateway, fake, array, monkeypatch):
    move = gateway.store.jobs.move
    lost = []

    def overtaken(moves, *, lease=None):
        if not lost and any(each.tasks for each in moves):
            lost.extend(moves)
            return [False] * len(moves)
        return move(moves, lease=lease)

    monkeypatch.setattr(gateway.store.jobs, "move", overtaken)
    fake.set_state(array, JobState.RUNNING, tasks=(TaskObservation(index=0, state=JobState.RUNNING),))
    step(gateway, lambda: gateway.jobs.tasks(ANN, array.id).items)
    assert lost


def test_a_task_that_is_as_before_is_written_for_the_next_attempt_too(gateway, fake, array):
    waits = TaskObservation(index=0, state=JobState.QUEUED)
    worker = gateway.worker()
    for restarts, state in ((0, JobState.RUNNING), (1, JobState.QUEUED)):
        fake.set_state(array, state, restarts=restarts, tasks=(waits,))
        eventually(lambda state=state: worker.step() or reload(gateway, array).state is state)
    for attempt in (1, 2):
        assert [task.index for task in gateway.jobs.tasks(ANN, array.id, attempt=attempt).items] == [0]


class TestWorkers:
    def test_two_workers_poll_a_site_as_one(self, make_gateway, fake):
        gateways = [make_gateway(), make_gateway()]
        job = gateways[0].jobs.submit(ANN, TRUE).job
        workers = [each.worker() for each in gateways]
        workers[0].step()
        polls = fake.calls["poll"]
        for _ in range(5):
            workers[1].step()
        assert fake.calls["poll"] == polls
        assert gateways[0].store.leases.get("site:fake").holder == gateways[0].holder
        assert reload(gateways[0], job).state is JobState.QUEUED

    def test_a_running_worker_follows_a_job_to_its_end_and_stops_when_told(self, gateway, fake):
        stop = threading.Event()
        thread = threading.Thread(target=gateway.worker().run, args=(stop,))
        thread.start()
        try:
            job = gateway.jobs.submit(ANN, TRUE).job
            fake.set_state(job, JobState.RUNNING)
            eventually(lambda: reload(gateway, job).state is JobState.RUNNING)
            fake.set_state(job, JobState.COMPLETED)
            eventually(lambda: reload(gateway, job).state is JobState.COMPLETED)
        finally:
            stop.set()
            thread.join(timeout=10)
        assert not thread.is_alive()
        assert gateway.store.leases.acquire("site:fake", "other", 1.0, 0.0) is not None

    def test_a_round_that_raises_is_logged_and_the_worker_goes_on(self, gateway, fake, caplog):
        fake.fail_next("poll", ZeroDivisionError("bug"), times=1)
        stop = threading.Event()
        thread = threading.Thread(target=gateway.worker().run, args=(stop,))
        thread.start()
        try:
            job = gateway.jobs.submit(ANN, TRUE).job
            fake.set_state(job, JobState.COMPLETED)
            eventually(lambda: reload(gateway, job).state is JobState.COMPLETED)
        finally:
            stop.set()
            thread.join(timeout=10)
        assert "ZeroDivisionError" in caplog.text or "fake" in caplog.text
