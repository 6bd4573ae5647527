"""The state of an array against a second, slower telling of the same rules."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcgate.model.job import TaskObservation
from hpcgate.model.state import FINAL, JobState, Reason, route
from hpcgate.scheduler.tasks import Derived, derive

S = JobState
STATES = [S.QUEUED, S.HELD, S.RUNNING, S.SUSPENDED, S.COMPLETED, S.FAILED, S.CANCELED]


def task(index, state, **more):
    return TaskObservation(index=index, state=state, **more)


@st.composite
def arrays(draw):
    """Indices in any order with any states, some not told."""
    states = draw(st.lists(st.sampled_from(STATES), min_size=1, max_size=8))
    tasks = [
        task(
            7 * n,
            state,
            reason=draw(st.sampled_from(list(Reason))) if state in (S.FAILED, S.CANCELED) else None,
            exit_code=draw(st.integers(1, 255)) if state is S.FAILED else None,
            started_at=draw(st.sampled_from([None, 1.0])) if state is S.CANCELED else None,
        )
        for n, state in enumerate(states)
    ]
    told = draw(st.permutations(tasks))
    return told[draw(st.integers(0, len(told))) :], len(tasks)


@given(arrays())
def test_final_only_when_every_index_is(array):
    tasks, total = array
    everything_ended = len(tasks) == total and all(each.state in FINAL for each in tasks)
    assert (derive(tasks, total).state in FINAL) == everything_ended


@given(arrays())
def test_completed_only_when_every_index_is(array):
    tasks, total = array
    derived = derive(tasks, total)
    assert (derived.state is S.COMPLETED) == (len(tasks) == total and all(t.state is S.COMPLETED for t in tasks))
    assert (derived.exit_code == 0) == (derived.state is S.COMPLETED)


@given(arrays())
def test_the_first_index_that_failed_gives_reason_and_exit_code(array):
    tasks, total = array
    derived = derive(tasks, total)
    failed = sorted((t for t in tasks if t.state is S.FAILED), key=lambda t: t.index)
    if derived.state is S.FAILED:
        assert (derived.reason, derived.exit_code) == (failed[0].reason, failed[0].exit_code)
    elif derived.state is S.CANCELED:
        assert not failed
    elif derived.state not in FINAL:
        assert derived == Derived(derived.state)


@given(arrays())
def test_one_that_runs_makes_the_array_run(array):
    tasks, total = array
    states = {t.state for t in tasks}
    derived = derive(tasks, total).state
    if S.RUNNING in states:
        assert derived is S.RUNNING
    elif S.SUSPENDED in states:
        assert derived is S.SUSPENDED
    elif derived not in FINAL:
        waiting = len(tasks) < total or S.QUEUED in states
        begun = bool(states & {S.COMPLETED, S.FAILED}) or any(t.started_at for t in tasks if t.state is S.CANCELED)
        assert derived is (S.RUNNING if begun else S.QUEUED if waiting else S.HELD)


ORDER = {S.HELD: {S.QUEUED}, S.QUEUED: {S.HELD, S.RUNNING}, S.RUNNING: {S.SUSPENDED}, S.SUSPENDED: {S.RUNNING}}
ENDS = {S.COMPLETED, S.FAILED, S.CANCELED}


@given(st.data(), st.integers(1, 5))
def test_an_array_whose_indices_move_legally_moves_legally(data, total):
    """What an array passes through, index by index, is a way through the state machine of jobs."""
    tasks = {n: task(n, data.draw(st.sampled_from([S.QUEUED, S.HELD]))) for n in range(total)}
    before = derive(list(tasks.values()), total).state
    while not before.final:
        index = data.draw(st.sampled_from([n for n, each in tasks.items() if not each.state.final]))
        old = tasks[index]
        ends = {S.CANCELED} if old.state in (S.QUEUED, S.HELD) else ENDS
        new = data.draw(st.sampled_from(sorted(ORDER[old.state] if data.draw(st.booleans()) else ends)))
        started = old.started_at or (1.0 if new is S.RUNNING else None)
        tasks[index] = task(index, new, started_at=started)
        after = derive(list(tasks.values()), total).state
        if after is not before:
            assert route(before, after)
        before = after


@given(arrays(), st.randoms())
def test_the_order_of_the_indices_does_not_matter(array, random):
    tasks, total = array
    mixed = list(tasks)
    random.shuffle(mixed)
    assert derive(mixed, total) == derive(tasks, total)


@pytest.mark.parametrize(
    ("states", "total", "expected"),
    [
        ([], 3, S.QUEUED),
        ([S.HELD, S.HELD], 2, S.HELD),
        ([S.HELD, S.HELD], 3, S.QUEUED),
        ([S.COMPLETED], 2, S.RUNNING),
        ([S.COMPLETED, S.HELD], 2, S.RUNNING),
        ([S.CANCELED, S.HELD], 2, S.HELD),
        ([S.CANCELED], 2, S.QUEUED),
        ([S.FAILED, S.RUNNING], 2, S.RUNNING),
        ([S.COMPLETED, S.SUSPENDED], 2, S.SUSPENDED),
        ([S.COMPLETED, S.COMPLETED], 2, S.COMPLETED),
        ([S.COMPLETED, S.CANCELED], 2, S.CANCELED),
        ([S.CANCELED, S.FAILED], 2, S.FAILED),
    ],
)
def test_cases_that_people_ask_about(states, total, expected):
    assert derive([task(n, state) for n, state in enumerate(states)], total).state is expected


def test_signal_of_the_first_failure_is_told():
    tasks = [task(0, S.COMPLETED), task(1, S.FAILED, signal=9, reason=Reason.SIGNALED), task(2, S.FAILED, exit_code=3)]
    assert derive(tasks, 3) == Derived(S.FAILED, Reason.SIGNALED, None, 9)


def test_one_index_twice_is_refused():
    with pytest.raises(ValueError, match="cannot be of an array"):
        derive([task(0, S.RUNNING), task(0, S.QUEUED)], 2)


def test_more_tasks_than_there_are_is_refused():
    with pytest.raises(ValueError, match="cannot be of an array"):
        derive([task(0, S.RUNNING), task(1, S.QUEUED)], 1)
