"""What an observation means, as pure functions."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcgate.model.job import JobRef, Observation
from hpcgate.model.move import Move, Snapshot
from hpcgate.model.state import AT_SCHEDULER, FINAL, STEPS, Evidence, JobState, Reason, route
from hpcgate.service.decide import Denials, correct, decide, decide_absent, same_job

REF = JobRef(id=1, key="K", native_id="7", folder="/f", submitted_at=1000.0)


def snapshot(state: JobState = JobState.QUEUED, **changes: object) -> Snapshot:
    return Snapshot(ref=REF, owner="ann", state=state, attempt=changes.pop("attempt", 1), **changes)  # type: ignore[arg-type]


def seen(state: JobState | None, **changes: object) -> Observation:
    return Observation(native_id="7", state=state, evidence=Evidence.QUEUE, **changes)  # type: ignore[arg-type]


observations = st.builds(
    seen,
    st.sampled_from([None, *sorted(AT_SCHEDULER | FINAL)]),
    restarts=st.none() | st.integers(0, 3),
    started_at=st.none() | st.just(1001.0),
    ended_at=st.none() | st.just(1002.0),
    exit_code=st.none() | st.integers(0, 255),
)


@given(st.sampled_from(sorted(AT_SCHEDULER)), st.integers(1, 3), st.lists(observations, max_size=12))
def test_any_history_of_observations_gives_a_legal_history_of_states(state, attempt, history):
    job = snapshot(state, attempt=attempt)
    for each in history:
        move = decide(job, each, now=2000.0)
        if move is None:
            continue
        assert (move.old, move.attempt) == (job.state, job.attempt)
        steps = [job.state, *move.via]
        fresh_attempt = move.new_attempt is not None
        for index, (old, new) in enumerate(pairwise(steps)):
            if fresh_attempt and index == 0:
                assert new in (JobState.QUEUED, JobState.HELD, JobState.RUNNING)
            else:
                assert new in STEPS[old], steps
        assert (move.via or (move.new,))[-1] is move.new
        assert (move.new_attempt or job.attempt) >= job.attempt
        if move.new in FINAL:
            assert move.changes["evidence"] is Evidence.QUEUE
            assert move.changes["ended_at"]
            break
        job = snapshot(move.new, attempt=move.new_attempt or job.attempt)


@given(st.sampled_from(sorted(AT_SCHEDULER)), observations)
def test_what_was_accepted_is_no_news_a_second_time(state, observation):
    job = snapshot(state)
    move = decide(job, observation, now=2000.0)
    if move is None or move.new in FINAL:
        return
    after = Snapshot(
        ref=REF,
        owner="ann",
        state=move.new,
        attempt=move.new_attempt or 1,
        native_state=observation.native_state,
        message=observation.message,
        started_at=observation.started_at,
    )
    again = decide(after, observation, now=2001.0)
    assert again is None


def test_a_short_job_passes_through_running():
    move = decide(snapshot(), seen(JobState.COMPLETED, exit_code=0, started_at=1.0, ended_at=2.0), now=3.0)
    assert move.via == (JobState.RUNNING, JobState.COMPLETED)
    assert (move.changes["started_at"], move.changes["ended_at"]) == (1.0, 2.0)


def test_a_job_canceled_while_it_waited_did_not_run():
    job = snapshot(canceling=True, cancel_reason=Reason.CANCELED_BY_USER)
    move = decide(job, seen(JobState.CANCELED), now=3.0)
    assert move.via == (JobState.CANCELED,)
    assert move.changes["reason"] is Reason.CANCELED_BY_USER
    assert move.changes["canceling"] is False


def test_a_job_that_completed_in_spite_of_a_cancel_is_completed():
    job = snapshot(JobState.RUNNING, canceling=True, cancel_reason=Reason.CANCELED_BY_USER)
    move = decide(job, seen(JobState.COMPLETED, exit_code=0), now=3.0)
    assert move.new is JobState.COMPLETED
    assert move.changes["reason"] is None


def test_an_unknown_native_word_keeps_the_state():
    move = decide(snapshot(JobState.RUNNING), seen(None, native_state="WOBBLING"), now=3.0)
    assert move.new is JobState.RUNNING
    assert move.changes == {"native_state": "WOBBLING"}


def test_an_echo_of_an_earlier_attempt_counts_for_nothing():
    assert decide(snapshot(attempt=2), seen(JobState.FAILED, restarts=0, exit_code=1), now=3.0) is None


def test_a_requeue_is_a_new_attempt_also_when_only_its_end_was_seen():
    move = decide(snapshot(JobState.RUNNING), seen(JobState.COMPLETED, restarts=1, exit_code=0), now=3.0)
    assert move.new_attempt == 2
    assert move.via == (JobState.QUEUED, JobState.RUNNING, JobState.COMPLETED)


def test_a_running_job_that_waits_again_was_requeued():
    move = decide(snapshot(JobState.RUNNING), seen(JobState.QUEUED), now=3.0)
    assert (move.new, move.new_attempt) == (JobState.QUEUED, 2)


def test_a_late_answer_with_a_restart_count_moves_nothing_back():
    assert decide(snapshot(JobState.RUNNING), seen(JobState.QUEUED, restarts=0), now=3.0) is None


class TestAbsence:
    def test_grace_begins_when_all_have_answered_and_ends_in_lost(self):
        answered = Denials(queue=True, accounting=True, folder=True)
        note = decide_absent(snapshot(), answered, now=100.0, grace_s=60.0)
        assert note.changes == {"absent_since": 100.0}
        waiting = snapshot(absent_since=100.0)
        assert decide_absent(waiting, answered, now=159.0, grace_s=60.0) is None
        move = decide_absent(waiting, answered, now=160.0, grace_s=60.0)
        assert (move.new, move.changes["reason"]) == (JobState.FAILED, Reason.LOST)

    @pytest.mark.parametrize("missing", ["accounting", "folder"])
    def test_a_source_that_does_not_answer_stops_the_clock(self, missing):
        denials = Denials(**{"queue": True, "accounting": True, "folder": True, missing: False})
        assert decide_absent(snapshot(), denials, now=1e9, grace_s=1.0) is None
        move = decide_absent(snapshot(absent_since=1.0), denials, now=1e9, grace_s=1.0)
        assert move == Move(
            job_id=1, old=JobState.QUEUED, attempt=1, new=JobState.QUEUED, changes={"absent_since": None}
        )

    def test_a_job_that_reappears_is_not_absent_any_more(self):
        move = decide(snapshot(absent_since=5.0), seen(JobState.QUEUED), now=9.0)
        assert move.changes == {"absent_since": None}


def test_only_lost_is_corrected_and_only_by_a_final():
    lost = snapshot(JobState.FAILED)
    move = correct(lost, Reason.LOST, seen(JobState.COMPLETED, exit_code=0), now=3.0)
    assert move.corrected
    assert move.new is JobState.COMPLETED
    assert correct(lost, Reason.EXIT_NONZERO, seen(JobState.COMPLETED), now=3.0) is None
    assert correct(lost, Reason.LOST, seen(JobState.RUNNING), now=3.0) is None


def test_a_stranger_with_our_native_id_is_not_our_job():
    assert same_job(snapshot(), seen(JobState.RUNNING, key="K"))
    assert not same_job(snapshot(), seen(JobState.RUNNING, key="OTHER"))
    assert same_job(snapshot(), seen(JobState.RUNNING, submitted_at=990.0))
    assert not same_job(snapshot(), seen(JobState.COMPLETED, submitted_at=10.0))
    assert not same_job(snapshot(), seen(JobState.RUNNING, submitted_at=9000.0, restarts=0))
    assert same_job(snapshot(), seen(JobState.RUNNING, submitted_at=9000.0, restarts=1)), "a requeue counts as a submit"
    # The clocks of gateway and scheduler may be far apart.
    assert same_job(snapshot(), seen(JobState.COMPLETED, submitted_at=10.0, key="K"))


def test_every_pair_of_states_at_the_scheduler_has_a_route_or_is_a_requeue():
    for old in AT_SCHEDULER:
        for new in AT_SCHEDULER | FINAL:
            if new is old or (
                old in (JobState.RUNNING, JobState.SUSPENDED) and new in (JobState.QUEUED, JobState.HELD)
            ):
                continue
            assert route(old, new)[-1] is new
