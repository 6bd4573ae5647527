"""Exactly-once submit: what happens between the row and the queue, and after a crash in between."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from dataclasses import replace

import pytest
from support import ANN, BOB, ROOT, eventually

from hpcgate.errors import (
    Conflict,
    IdempotencyMismatch,
    InvalidSpec,
    JobRejected,
    NotFound,
    SchedulerError,
    TransportError,
)
from hpcgate.gateway import Gateway
from hpcgate.model.move import Claim, JobDraft, Move
from hpcgate.model.query import JobFilter
from hpcgate.model.spec import InputFile, JobSpec, Resources, Staging
from hpcgate.model.state import JobState, Reason
from hpcgate.service.admission import JobRequest
from hpcgate.testing.fakes import FakeScheduler

pytestmark = pytest.mark.usefixtures("database_url")

TRUE = JobRequest(spec=JobSpec(command="true"))


def states(gateway: Gateway, job_id: int) -> list[str]:
    return [event.data["new"] for event in gateway.jobs.events(ANN, job_id) if event.type == "job.state"]


def test_a_job_is_queued_with_its_native_id_when_submit_returns(gateway, fake):
    result = gateway.jobs.submit(ANN, TRUE)
    assert result.accepted
    assert not result.replayed
    assert (result.job.state, result.job.native_id) == (JobState.QUEUED, "1")
    assert fake.taken(result.job.key) == 1
    assert states(gateway, result.job.id) == ["SUBMITTING", "QUEUED"]


def test_an_alias_names_its_site(gateway):
    assert gateway.jobs.submit(ANN, replace(TRUE, site="fake.example.org")).job.site == "fake"


def test_an_unknown_site_is_refused_with_the_nearest_name(gateway):
    with pytest.raises(InvalidSpec, match="did you mean 'fake'"):
        gateway.jobs.submit(ANN, replace(TRUE, site="fak"))
    assert gateway.jobs.count(ANN, JobFilter()) == 0


def test_a_field_that_the_scheduler_cannot_honour_is_refused_by_name(gateway):
    with pytest.raises(InvalidSpec) as caught:
        gateway.jobs.submit(ANN, JobRequest(spec=JobSpec(command="true", qos="fast", reservation="r1")))
    assert {error.field for error in caught.value.errors} == {"qos", "reservation"}
    assert gateway.jobs.count(ANN, JobFilter()) == 0


def test_what_the_scheduler_refuses_at_once_is_not_stored(gateway):
    with pytest.raises(InvalidSpec, match="1024"):
        gateway.jobs.submit(ANN, JobRequest(spec=JobSpec(command="true", resources=Resources(cpus_per_node=2000))))
    assert gateway.jobs.count(ANN, JobFilter()) == 0


def test_what_the_scheduler_refuses_at_submit_is_kept_as_failed(gateway, fake):
    fake.fail_next("submit", SchedulerError("account is closed", transient=False))
    with pytest.raises(JobRejected, match="account is closed"):
        gateway.jobs.submit(ANN, TRUE)
    (job,) = gateway.jobs.list(ANN, JobFilter()).items
    assert (job.state, job.reason, job.message) == (JobState.FAILED, Reason.SUBMIT_REJECTED, "account is closed")


class TestIdempotency:
    def test_the_same_request_gives_the_same_job(self, gateway, fake):
        first = gateway.jobs.submit(ANN, TRUE, idempotency_key="k")
        again = gateway.jobs.submit(ANN, TRUE, idempotency_key="k")
        assert again.replayed
        assert again.job.id == first.job.id
        assert len(fake.jobs) == 1

    def test_what_was_accepted_once_stays_accepted(self, make_gateway, fake):
        """The answer to the first request was lost; by now the limit is reached and the scheduler is down."""
        gateway = make_gateway(limits={"max_active_jobs": 1})
        first = gateway.jobs.submit(ANN, TRUE, idempotency_key="k")
        fake.fail_next("submit", SchedulerError("down"), times=100)
        assert gateway.jobs.submit(ANN, TRUE, idempotency_key="k").job.id == first.job.id

    def test_another_request_is_refused(self, gateway):
        gateway.jobs.submit(ANN, TRUE, idempotency_key="k")
        with pytest.raises(IdempotencyMismatch):
            gateway.jobs.submit(ANN, JobRequest(spec=JobSpec(command="false")), idempotency_key="k")

    def test_another_secret_is_another_request(self, gateway):
        def request(value: str) -> JobRequest:
            return JobRequest(spec=JobSpec(command="true", secret_environment={"TOKEN": value}))

        gateway.jobs.submit(ANN, request("a"), idempotency_key="k")
        with pytest.raises(IdempotencyMismatch):
            gateway.jobs.submit(ANN, request("b"), idempotency_key="k")

    def test_keys_of_two_people_have_nothing_to_do_with_each_other(self, gateway):
        mine = gateway.jobs.submit(ANN, TRUE, idempotency_key="k")
        theirs = gateway.jobs.submit(BOB, TRUE, idempotency_key="k")
        assert mine.job.id != theirs.job.id

    def test_fifty_at_once_make_one_job(self, gateway, fake):
        ids = []

        def submit() -> None:
            ids.append(gateway.jobs.submit(ANN, TRUE, idempotency_key="k").job.id)
            gateway.release_thread()

        threads = [threading.Thread(target=submit) for _ in range(50)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(ids) == 50
        assert len(set(ids)) == 1
        assert len(fake.jobs) == 1


class TestLostAnswers:
    def test_a_lost_answer_is_found_by_key_and_never_submitted_again(self, gateway, fake):
        fake.lose_answer_next_submit()
        result = gateway.jobs.submit(ANN, TRUE)
        assert not result.accepted
        assert result.job.state is JobState.SUBMITTING
        worker = gateway.worker()
        job = eventually(lambda: _after(worker, gateway, result.job.id, JobState.QUEUED))
        assert job.native_id == "1"
        assert fake.taken(job.key) == 1

    def test_a_sure_refusal_is_tried_again(self, gateway, fake):
        fake.fail_next("submit", SchedulerError("controller is down"))
        result = gateway.jobs.submit(ANN, TRUE)
        assert not result.accepted
        assert result.job.message == "controller is down"
        worker = gateway.worker()
        job = eventually(lambda: _after(worker, gateway, result.job.id, JobState.QUEUED))
        assert fake.taken(job.key) == 1
        assert fake.calls["find"] == 0

    def test_absence_is_believed_only_after_the_settle_time_and_two_searches(self, make_gateway, fake):
        fake.info = replace(fake.info, message_timeout_s=0.2)
        gateway = make_gateway()
        job = _abandoned(gateway, "OTHER")
        worker = gateway.worker()
        started = time.monotonic()
        eventually(lambda: _after(worker, gateway, job.id, JobState.QUEUED))
        assert fake.calls["find"] >= 2
        assert time.monotonic() - started >= 0.4
        assert fake.taken(job.key) == 1

    def test_an_unknown_presence_is_waited_out(self, gateway, fake):
        fake.searchable = False
        job = _abandoned(gateway, "OTHER")
        worker = gateway.worker()
        eventually(lambda: worker.step() or fake.calls["find"] >= 1)
        assert gateway.jobs.get(ANN, job.id).state is JobState.SUBMITTING
        assert fake.calls["submit"] == 0

    def test_a_live_claim_of_another_process_is_respected(self, gateway, fake):
        job = _abandoned(gateway, "OTHER", until=time.time() + 3600)
        gateway.worker().step()
        assert gateway.jobs.get(ANN, job.id).state is JobState.SUBMITTING
        assert fake.calls["find"] == fake.calls["submit"] == 0

    def test_a_submitter_that_lost_its_claim_cannot_write(self, make_gateway, fake):
        """The first process hangs in the scheduler; a second finds the job; the first's late answer changes nothing."""
        gateway, other = make_gateway(), make_gateway()
        with fake.pause("submit"):
            thread = threading.Thread(target=lambda: (gateway.jobs.submit(ANN, TRUE), gateway.release_thread()))
            thread.start()
            job = eventually(lambda: other.jobs.list(ANN, JobFilter()).items)[0]
            _expire_claim(other, job.id)
            gone = replace(fake.info, message_timeout_s=0.0)
            assert gone.message_timeout_s == 0
            # The scheduler has not got it yet, so the second process's search says absent and it submits itself.
            second = threading.Thread(target=lambda: (other.worker().step(), other.release_thread()))
            second.start()
            eventually(lambda: fake.calls["submit"] == 2)
        thread.join()
        second.join()
        job = gateway.jobs.get(ANN, job.id)
        assert job.state is JobState.QUEUED
        # One of the two native ids stands; the wrapper's claim in the job folder is what stops the other one.
        assert job.native_id in {"1", "2"}
        assert states(gateway, job.id).count("QUEUED") == 1

    def test_a_connection_that_broke_may_have_brought_the_job(self, gateway, fake):
        """The transport cannot tell on which side of the submit it broke, so the key is searched first."""
        fake.fail_next("submit", TransportError("connection lost"))
        job = gateway.jobs.submit(ANN, TRUE).job
        worker = gateway.worker()
        eventually(lambda: _after(worker, gateway, job.id, JobState.QUEUED))
        assert fake.calls["find"] >= 1
        assert fake.taken(job.key) == 1

    def test_a_submit_that_hung_for_too_long_cannot_write_over_a_later_one_of_its_own_process(self, gateway, fake):
        """It comes back with a refusal, long after the worker of the same process brought the job to the queue."""
        with fake.pause("submit") as reached:
            fake.fail_next("submit", SchedulerError("account is closed", transient=False))
            thread = threading.Thread(target=lambda: (_quietly(gateway, TRUE), gateway.release_thread()))
            thread.start()
            assert reached.wait(10)
            (job,) = gateway.jobs.list(ANN, JobFilter()).items
            claim = gateway.store.jobs.snapshots("fake", frozenset({JobState.SUBMITTING}))[0].claim
            taken = gateway._submitter.claim()
            moved = gateway.store.jobs.move(
                [
                    Move(
                        job_id=job.id,
                        old=job.state,
                        attempt=1,
                        new=job.state,
                        claim=taken,
                        held_claim=claim.holder,
                    )
                ]
            )
            assert moved == [True]
        thread.join()
        assert gateway.jobs.get(ANN, job.id).state is JobState.SUBMITTING

    def test_a_cancel_during_the_submit_reaches_the_scheduler_at_once(self, gateway, fake):
        with fake.pause("submit") as reached:
            thread = threading.Thread(target=lambda: (gateway.jobs.submit(ANN, TRUE), gateway.release_thread()))
            thread.start()
            assert reached.wait(10)
            (job,) = gateway.jobs.list(ANN, JobFilter()).items
            gateway.jobs.cancel(ANN, [job.id])
            assert fake.calls["cancel"] == 0
        thread.join()
        assert fake.canceled == ["1"]

    def test_what_is_refused_again_and_again_is_tried_less_and_less_often(self, gateway, fake, monkeypatch):
        fake.fail_next("submit", SchedulerError("down"), times=2)
        job = gateway.jobs.submit(ANN, TRUE).job
        now = job.created_at + 1000.0
        monkeypatch.setattr(gateway._submitter, "_clock", lambda: now)
        gateway.worker().step()
        (waiting,) = gateway.store.jobs.snapshots("fake", frozenset({JobState.SUBMITTING}))
        assert waiting.claim.until - now == 60.0

    def test_a_searcher_that_was_paused_leaves_the_next_ones_claim_alone(self, gateway, fake):
        job = _abandoned(gateway, "OTHER")
        fake.searchable = False
        with fake.pause("find") as reached:
            thread = threading.Thread(target=lambda: (gateway.worker().step(), gateway.release_thread()))
            thread.start()
            assert reached.wait(10)
            _expire_claim(gateway, job.id, "LATER", until=2e9)
        thread.join()
        (snapshot,) = gateway.store.jobs.snapshots("fake", frozenset({JobState.SUBMITTING}))
        assert snapshot.claim == Claim("LATER", 2e9)


def _quietly(gateway, request):
    with suppress(JobRejected):
        gateway.jobs.submit(ANN, request)


def _after(worker, gateway, job_id, state):
    worker.step()
    job = gateway.jobs.get(ANN, job_id)
    return job if job.state is state else None


def _abandoned(gateway, holder, until=0.0):
    """A job whose submitter died between the row and the scheduler's answer."""
    draft = JobDraft(
        key="01ABANDONED000000000000000",
        owner="ann",
        site="fake",
        spec=JobSpec(command="true"),
        folder="/nowhere/01ABANDONED000000000000000",
        state=JobState.SUBMITTING,
        claim=Claim(holder, until),
    )
    return gateway.store.jobs.add([draft], actor="ann").jobs[0]


def _expire_claim(gateway, job_id, holder="dead", until=1.0):
    job = gateway.store.jobs.get(job_id)
    moved = gateway.store.jobs.move(
        [Move(job_id=job_id, old=job.state, attempt=1, new=job.state, claim=Claim(holder, until))]
    )
    assert moved == [True]


class TestInputs:
    def test_inputs_stand_in_the_work_folder_before_the_scheduler_hears_of_the_job(self, gateway, fake):
        inputs = (
            InputFile(path="data/in.txt", content=b"42"),
            InputFile(path="run.sh", content=b"#!", executable=True),
        )
        result = gateway.jobs.submit(ANN, JobRequest(spec=JobSpec(command="true", staging=Staging(inputs=inputs))))
        assert states(gateway, result.job.id) == ["STAGING_IN", "SUBMITTING", "QUEUED"]
        assert gateway.files.read(ANN, result.job.id, "data/in.txt").data == b"42"
        assert {(each.name, each.mode & 0o100) for each in gateway.files.list(ANN, result.job.id)} >= {
            ("run.sh", 0o100)
        }

    def test_a_job_left_while_staging_is_taken_up(self, gateway, fake, monkeypatch):
        spec = JobSpec(command="true", staging=Staging(inputs=(InputFile(path="a", content=b"1"),)))
        draft = JobDraft(key="0" * 26, owner="ann", site="fake", spec=spec, folder=str(gateway.config.home / "f"))
        job = gateway.store.jobs.add([draft], actor="ann").jobs[0]
        gateway.worker().step()
        assert gateway.jobs.get(ANN, job.id).state is JobState.QUEUED
        assert gateway.files.read(ANN, job.id, "a").data == b"1"


class TestBulk:
    def test_one_bad_item_does_not_spoil_the_rest(self, gateway, fake):
        bad = InvalidSpec.of("script", "is empty")
        answers = gateway.jobs.submit_many(ANN, [TRUE, bad, replace(TRUE, site="nope"), TRUE])
        assert answers[1] is bad
        assert isinstance(answers[2], InvalidSpec)
        assert [answers[0].state, answers[3].state] == [JobState.QUEUED] * 2
        assert answers[0].id < answers[3].id

    def test_a_scheduler_that_refuses_one_takes_the_others(self, gateway, fake):
        fake.fail_next("submit", SchedulerError("no", transient=False))
        answers = gateway.jobs.submit_many(ANN, [TRUE, TRUE, TRUE])
        assert [job.state for job in answers] == [JobState.FAILED, JobState.QUEUED, JobState.QUEUED]

    def test_a_repeated_bulk_submit_gives_the_same_jobs(self, gateway, fake):
        first = gateway.jobs.submit_many(ANN, [TRUE] * 600, idempotency_key="b")
        again = gateway.jobs.submit_many(ANN, [TRUE] * 600, idempotency_key="b")
        assert [job.id for job in first] == [job.id for job in again]
        assert len(fake.jobs) == 600

    def test_a_repeated_bulk_submit_gives_the_same_answers_whatever_would_be_said_now(self, make_gateway, fake):
        """By now the limit is reached, one job was deleted, and one that was refused would be accepted."""
        gateway = make_gateway(limits={"max_active_jobs": 4})
        fake.fail_next("render", InvalidSpec.of("command", "no"))
        first = gateway.jobs.submit_many(ANN, [TRUE] * 4, idempotency_key="b")
        assert isinstance(first[0], InvalidSpec)
        gateway.jobs.submit(ANN, TRUE)
        fake.set_state(first[2], JobState.COMPLETED)
        worker = gateway.worker()
        eventually(lambda: _after(worker, gateway, first[2].id, JobState.COMPLETED))
        gateway.jobs.delete(ANN, first[2].id)
        again = gateway.jobs.submit_many(ANN, [TRUE] * 4, idempotency_key="b")
        assert isinstance(again[0], Conflict)
        assert isinstance(again[2], Conflict)
        assert [again[1].id, again[3].id] == [first[1].id, first[3].id]
        assert len(fake.jobs) == 4

    def test_a_long_bulk_submit_lets_go_of_what_others_have_taken_meanwhile(self, gateway, fake, monkeypatch):
        """The first batch takes longer than the claim; a worker takes up the second, whose claim is over."""
        asked, clock = [], [0.0]
        monkeypatch.setattr(gateway._submitter, "_clock", lambda: time.time() + clock[-1])
        submit_jobs = gateway._lifecycle.submit_jobs

        def slow(site, jobs, transport):
            if not asked:
                clock.append(3600.0)
                for job in gateway.store.jobs.snapshots("fake", frozenset({JobState.SUBMITTING}))[200:]:
                    _expire_claim(gateway, job.ref.id, "OTHER", until=2e9)
            asked.append(len(jobs))
            return submit_jobs(site, jobs, transport)

        monkeypatch.setattr(gateway._lifecycle, "submit_jobs", slow)
        gateway.jobs.submit_many(ANN, [TRUE] * 250)
        assert asked == [200]

    def test_too_many_and_none_are_refused(self, make_gateway):
        gateway = make_gateway(limits={"max_bulk_jobs": 2})
        for count in (0, 3):
            with pytest.raises(InvalidSpec, match="from 1 to 2"):
                gateway.jobs.submit_many(ANN, [TRUE] * count)


def test_the_limit_of_active_jobs_holds(make_gateway):
    gateway = make_gateway(limits={"max_active_jobs": 2})
    gateway.jobs.submit_many(ANN, [TRUE, TRUE])
    with pytest.raises(JobRejected, match="limit of 2"):
        gateway.jobs.submit(ANN, TRUE)
    assert gateway.jobs.submit(BOB, TRUE).accepted


class TestSecrets:
    SPEC = JobSpec(command="true", secret_environment={"TOKEN": "hunter2"})

    def test_a_scheduler_that_repeats_them_is_not_quoted(self, gateway, fake, caplog):
        fake.fail_next("submit", SchedulerError("bad variable TOKEN=hunter2"))
        job = gateway.jobs.submit(ANN, JobRequest(spec=self.SPEC)).job
        assert job.message == "bad variable TOKEN=***"
        assert "hunter2" not in caplog.text

    def test_they_reach_the_scheduler_and_nothing_else(self, gateway, fake):
        job = gateway.jobs.submit(ANN, JobRequest(spec=self.SPEC)).job
        assert fake.job(job.key).job.spec.secret_environment == {"TOKEN": "hunter2"}
        assert dict(gateway.jobs.get(ANN, job.id).spec.secret_environment) == {"TOKEN": "***"}
        assert "hunter2" not in repr(gateway.jobs.events(ANN, job.id))
        assert "hunter2" not in repr(gateway.jobs.validate(ANN, JobRequest(spec=self.SPEC)))
        assert "hunter2" not in gateway.jobs.script(ANN, job.id)
        for path in gateway.config.home.iterdir():
            assert b"hunter2" not in path.read_bytes(), path

    def test_a_worker_that_takes_the_job_up_has_them_too(self, gateway, fake):
        fake.fail_next("submit", SchedulerError("down"))
        job = gateway.jobs.submit(ANN, JobRequest(spec=self.SPEC)).job
        worker = gateway.worker()
        eventually(lambda: _after(worker, gateway, job.id, JobState.QUEUED))
        assert fake.job(job.key).job.spec.secret_environment == {"TOKEN": "hunter2"}

    def test_a_clone_keeps_them_for_the_owner_alone(self, gateway, fake):
        job = gateway.jobs.submit(ANN, JobRequest(spec=self.SPEC)).job
        clone = gateway.jobs.clone(ANN, job.id).job
        assert fake.job(clone.key).job.spec.secret_environment == {"TOKEN": "hunter2"}
        with pytest.raises(Conflict, match="only its owner"):
            gateway.jobs.clone(ROOT, job.id)
        with pytest.raises(NotFound):
            gateway.jobs.clone(BOB, job.id)


def test_validate_says_what_becomes_of_each_field(gateway):
    request = JobRequest(spec=JobSpec(command="true", qos="fast", labels={"a": "b"}))
    answer = gateway.jobs.validate(ANN, request)
    assert not answer.valid
    assert {(item.field, item.verdict) for item in answer.fields} >= {("qos", "unsupported"), ("labels", "honoured")}
    good = gateway.jobs.validate(ANN, TRUE)
    assert good.valid
    assert good.script.startswith("#!")


def test_two_gateways_on_one_database_submit_no_job_twice(make_gateway, fake: FakeScheduler):
    """Both workers race for a hundred jobs that nobody has submitted yet."""
    first, second = make_gateway(), make_gateway()
    drafts = [
        JobDraft(key=f"{n:026}", owner="ann", site="fake", spec=JobSpec(command="true"), folder=f"/nowhere/{n}")
        for n in range(100)
    ]
    first.store.jobs.add(drafts, actor="ann")
    stop = threading.Event()
    threads = [threading.Thread(target=each.worker().run, args=(stop,)) for each in (first, second)]
    for thread in threads:
        thread.start()
    eventually(lambda: first.jobs.count(ANN, JobFilter(states=frozenset({JobState.QUEUED}))) == 100)
    stop.set()
    for thread in threads:
        thread.join()
    assert [fake.taken(draft.key) for draft in drafts] == [1] * 100
