"""The state machine: what the table must hold, whatever walks over it."""

from __future__ import annotations

from itertools import pairwise, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcgate.model.state import (
    ACTIVE,
    AT_SCHEDULER,
    FINAL,
    REASONS,
    REQUEUES,
    SKIPS,
    STEPS,
    IllegalMove,
    Issuer,
    JobState,
    Reason,
    may_correct,
    requeue_route,
    route,
)

S = JobState
states = st.sampled_from(S)
PAIRS = list(product(S, S))

#: Every move that a job may make within one attempt, written down a second time, by hand.
LEGAL = {
    S.CREATED: {S.STAGING_IN, S.SUBMITTING, S.FAILED, S.CANCELED},
    S.STAGING_IN: {S.SUBMITTING, S.FAILED, S.CANCELED},
    S.SUBMITTING: {S.QUEUED, S.FAILED, S.CANCELED},
    S.QUEUED: {S.HELD, S.RUNNING, S.SUSPENDED, S.STAGING_OUT, S.COMPLETED, S.FAILED, S.CANCELED},
    S.HELD: {S.QUEUED, S.RUNNING, S.SUSPENDED, S.STAGING_OUT, S.COMPLETED, S.FAILED, S.CANCELED},
    S.RUNNING: {S.SUSPENDED, S.STAGING_OUT, S.COMPLETED, S.FAILED, S.CANCELED},
    S.SUSPENDED: {S.RUNNING, S.STAGING_OUT, S.COMPLETED, S.FAILED, S.CANCELED},
    S.STAGING_OUT: {S.COMPLETED, S.FAILED, S.CANCELED},
    S.COMPLETED: set(),
    S.FAILED: set(),
    S.CANCELED: set(),
}


def legal(old: JobState, new: JobState, *, ran: bool = True) -> bool:
    try:
        route(old, new, ran=ran)
    except IllegalMove:
        return False
    return True


@pytest.mark.parametrize("ran", [True, False])
def test_the_legal_moves_are_those_that_were_agreed(ran):
    assert {old: {new for new in S if legal(old, new, ran=ran)} for old in S} == LEGAL


@pytest.mark.parametrize(("old", "new"), PAIRS)
@pytest.mark.parametrize("ran", [True, False])
def test_a_route_is_made_of_single_steps_and_ends_where_it_should(old, new, ran):
    if not legal(old, new, ran=ran):
        return
    way = route(old, new, ran=ran)
    assert way[-1] is new
    assert len({old, *way}) == len(way) + 1, "no state is passed twice"
    assert all(after in STEPS[before] for before, after in pairwise((old, *way)))
    assert FINAL.isdisjoint(way[:-1])


@given(st.lists(st.tuples(states, st.booleans()), max_size=40))
def test_no_walk_leaves_a_final_or_completes_without_running(wanted):
    here, passed = S.CREATED, [S.CREATED]
    for new, ran in wanted:
        try:
            way = route(here, new, ran=ran)
        except IllegalMove:
            continue
        assert here not in FINAL
        passed += way
        here = way[-1]
    assert all(after in STEPS[before] for before, after in pairwise(passed))
    assert sum(state in FINAL for state in passed) <= 1
    if S.COMPLETED in passed:
        assert S.RUNNING in passed
        assert passed.index(S.RUNNING) < passed.index(S.COMPLETED)


@pytest.mark.parametrize(("old", "new"), [(S.QUEUED, S.CANCELED), (S.HELD, S.FAILED), (S.HELD, S.CANCELED)])
def test_running_is_filled_in_only_for_a_job_that_ran(old, new):
    assert S.RUNNING in route(old, new, ran=True)
    assert route(old, new, ran=False) == (new,)


def test_the_table_names_every_state_and_every_state_can_end():
    assert set(STEPS) == set(S)
    assert {state for state, after in STEPS.items() if not after} == FINAL
    for start in S:
        seen, todo = set(), [start]
        while todo:
            seen.add(state := todo.pop())
            todo += STEPS[state] - seen
        assert seen & FINAL
        assert start is not S.CREATED or seen == set(S), "every state can be reached"


def test_skips_are_no_single_steps():
    assert not [(old, new) for old, new in SKIPS if new in STEPS[old]]


def test_the_sets_of_states_agree():
    assert FINAL == {S.COMPLETED, S.FAILED, S.CANCELED}
    assert ACTIVE == set(S) - FINAL
    assert AT_SCHEDULER < ACTIVE
    assert all(state.final == (state in FINAL) for state in S)


@pytest.mark.parametrize(("old", "new"), PAIRS)
def test_a_requeue_comes_from_an_active_job_and_goes_to_the_queue(old, new):
    if new in REQUEUES.get(old, ()):
        way = requeue_route(old, new)
        assert way[-1] is new
        assert way[0] in (S.QUEUED, S.HELD)
        assert all(after in STEPS[before] for before, after in pairwise(way))
        assert old not in FINAL
    else:
        with pytest.raises(IllegalMove):
            requeue_route(old, new)


def test_only_jobs_at_the_scheduler_are_requeued():
    assert set(REQUEUES) == AT_SCHEDULER


@given(st.none() | st.sampled_from(Reason), states)
def test_lost_alone_is_corrected_and_by_a_final_alone(reason, new):
    assert may_correct(reason, new) == (reason is Reason.LOST and new in FINAL)


RETRYABLE = {
    Reason.NODE_FAIL,
    Reason.BOOT_FAIL,
    Reason.PREEMPTED,
    Reason.REVOKED,
    Reason.LAUNCH_FAILED,
    Reason.SUBMIT_TIMEOUT,
    Reason.STAGE_IN_FAILED,
    Reason.STAGE_OUT_FAILED,
    Reason.QUEUE_TIME_EXCEEDED,
    Reason.CANCELED_BY_GATEWAY,
    Reason.LOST,
    Reason.GATEWAY_ERROR,
}


def test_the_list_of_reasons_is_frozen():
    assert [reason.value for reason in Reason] == (
        "EXIT_NONZERO SIGNALED TIMEOUT OUT_OF_MEMORY LIMIT_EXCEEDED NODE_FAIL BOOT_FAIL PREEMPTED REVOKED "
        "LAUNCH_FAILED DEADLINE SUBMIT_REJECTED SUBMIT_TIMEOUT DEPENDENCY_NEVER_SATISFIED STAGE_IN_FAILED "
        "STAGE_OUT_FAILED QUEUE_TIME_EXCEEDED CANCELED_BY_USER CANCELED_BY_ADMIN CANCELED_BY_GATEWAY LOST "
        "GATEWAY_ERROR"
    ).split()
    assert {reason for reason in Reason if reason.retryable} == RETRYABLE


@pytest.mark.parametrize("reason", Reason)
def test_a_reason_has_an_issuer_and_one_sentence_of_advice(reason):
    assert set(REASONS) == set(Reason)
    assert isinstance(reason.issuer, Issuer)
    assert reason.advice.endswith(".")
    assert "\n" not in reason.advice


@pytest.mark.parametrize("reason", [Reason.EXIT_NONZERO, Reason.SIGNALED, Reason.CANCELED_BY_USER])
def test_what_a_user_caused_is_not_retried(reason):
    assert reason.issuer is Issuer.USER
    assert not reason.retryable
