import pytest

from hpcgate.model.state import JobState
from hpcgate.store import adding

S = JobState


def seqs(events):
    return [event.seq for event in events]


def test_after_is_in_order_and_bounded(store, add):
    for owner in ("ann", "bob", "ann", "ann"):
        add(owner=owner)
    assert seqs(store.events.after(0, limit=2)) == [1, 2]
    assert seqs(store.events.after(2, limit=10)) == [3, 4]
    assert seqs(store.events.after(4, limit=10)) == []
    assert seqs(store.events.after(0, limit=10, owner="ann")) == [1, 3, 4]
    assert seqs(store.events.after(1, limit=10, owner="ann")) == [3, 4]
    assert seqs(store.events.after(0, limit=10, job_id=2)) == [2]
    assert seqs(store.events.after(0, limit=10, job_id=2, owner="ann")) == []
    assert store.events.last() == 4


def test_prune_keeps_what_is_young_or_still_to_be_dealt_with(store, opened, add, draft, monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(adding.time, "time", lambda: clock[0])
    plain = opened()
    for clock[0] in (100.0, 200.0, 300.0):
        plain.jobs.add([draft()], actor="ann")
    clock[0] = 400.0
    add()  # with topics, so that it waits in the outbox
    assert plain.events.prune(200.0) == 1
    assert seqs(plain.events.after(0, limit=10)) == [2, 3, 4]
    assert plain.events.prune(1000.0) == 2
    assert seqs(plain.events.after(0, limit=10)) == [4]
    store.outbox.done(item.id for topic in ("hooks", "mail") for item in store.outbox.due(topic, now=500.0, limit=9))
    assert plain.events.prune(1000.0) == 1
    assert plain.events.last() == 4
    plain.jobs.add([draft()], actor="ann")
    assert plain.events.last() == 5


# --- outbox ---------------------------------------------------------------------------------------------------------


def test_each_topic_gets_each_event(store, add):
    job = add()
    (hook,) = store.outbox.due("hooks", now=1e12, limit=10)
    (mail,) = store.outbox.due("mail", now=1e12, limit=10)
    assert hook.event == mail.event == store.events.after(0, limit=1)[0]
    assert (hook.topic, hook.tries, hook.event.job_id) == ("hooks", 0, job.id)
    assert store.outbox.due("other", now=1e12, limit=10) == []
    store.outbox.done([hook.id])
    assert store.outbox.due("hooks", now=1e12, limit=10) == []
    assert store.outbox.depth() == 1


def test_due_is_in_order_and_bounded(store, add):
    for _ in range(5):
        add()
    assert seqs(item.event for item in store.outbox.due("hooks", now=1e12, limit=3)) == [1, 2, 3]
    assert store.outbox.due("hooks", now=0.0, limit=3) == []


def test_a_failed_one_waits_and_so_do_those_behind_it(store, add, goto):
    job, other = add(), add()
    goto(job.id, S.SUBMITTING)
    goto(job.id, S.QUEUED)
    first, second, *_ = store.outbox.due("hooks", now=1e12, limit=10)
    store.outbox.retry(first.id, 2e12, "no answer")
    waiting = store.outbox.due("hooks", now=1e12, limit=10)
    assert [item.event.job_id for item in waiting] == [other.id] == [second.event.job_id]
    again = store.outbox.due("hooks", now=2e12, limit=10)
    assert seqs(item.event for item in again) == [1, 2, 3, 4]
    assert [item.tries for item in again] == [1, 0, 0, 0]
    assert len(store.outbox.due("mail", now=1e12, limit=10)) == 4
    store.outbox.done([first.id])
    assert seqs(item.event for item in store.outbox.due("hooks", now=1e12, limit=10)) == [2, 3, 4]


def test_an_id_that_is_done_is_not_given_again(store, add):
    add()
    (old,) = store.outbox.due("mail", now=1e12, limit=10)
    store.outbox.done([old.id, old.id - 1, old.id + 1])
    add()
    (new,) = store.outbox.due("mail", now=1e12, limit=10)
    store.outbox.done([old.id])
    assert store.outbox.due("mail", now=1e12, limit=10) == [new]


@pytest.mark.parametrize("nothing", [[], [4711]])
def test_done_with_what_is_not_there_is_fine(store, nothing):
    store.outbox.done(nothing)
    assert store.outbox.depth() == 0
