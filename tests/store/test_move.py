import pytest

from hpcgate.errors import LeaseLost, NotFound
from hpcgate.model.job import TaskObservation, Usage
from hpcgate.model.lease import Lease
from hpcgate.model.move import Claim, Move
from hpcgate.model.query import JobFilter
from hpcgate.model.state import AT_SCHEDULER, Evidence, JobState, Phase, Reason

S = JobState


def new_events(store, seen):
    return [(event.type, dict(event.data)) for event in store.events.after(seen, limit=100)]


def state_data(old, new, **more):
    nothing = dict.fromkeys(("reason", "exit_code", "signal", "evidence", "native_id", "message"))
    return {"old": old, "new": new, "attempt": 1, "site": "ares", "synthetic": False, **nothing, **more}


def test_a_move_sets_what_it_says_and_nothing_else(store, add, goto):
    job = add()
    moved = goto(
        job.id,
        S.RUNNING,
        changes={
            "native_id": "17",
            "native_state": "R",
            "native_reason": "None",
            "message": "runs",
            "phase": Phase.COMPLETING,
            "evidence": Evidence.QUEUE,
            "started_at": 5.5,
            "nodes": ("n1", "n2"),
            "cpu_ids": (0, 1),
            "gpu_ids": ("g0",),
            "usage": Usage(cpu_time_s=1.5, max_rss_kib=9),
            "canceling": True,
            "site": "helios",
            "folder": "/other",
            "account": "svc",
            "dialect_data": {"a": 1},
            "workflow_id": 3,
        },
    )
    assert (moved.state, moved.native_id, moved.native_state, moved.native_reason) == (S.RUNNING, "17", "R", "None")
    assert (moved.message, moved.phase, moved.evidence) == ("runs", Phase.COMPLETING, Evidence.QUEUE)
    assert (moved.started_at, moved.ended_at, moved.submitted_at) == (5.5, None, None)
    assert (moved.nodes, moved.cpu_ids, moved.gpu_ids) == (("n1", "n2"), (0, 1), ("g0",))
    assert moved.usage == Usage(cpu_time_s=1.5, max_rss_kib=9)
    assert (moved.canceling, moved.site, moved.folder, moved.account) == (True, "helios", "/other", "svc")
    assert (moved.dialect_data, moved.workflow_id) == ({"a": 1}, 3)
    assert (moved.revision, moved.created_at, moved.spec) == (2, job.created_at, job.spec)
    assert moved.updated_at >= job.updated_at
    emptied = goto(
        job.id, S.RUNNING, changes={"nodes": (), "usage": None, "phase": None, "dialect_data": {}, "canceling": False}
    )
    assert (emptied.nodes, emptied.usage, emptied.phase, emptied.dialect_data) == ((), None, None, {})
    assert (emptied.canceling, emptied.native_id, emptied.revision) == (False, "17", 3)


@pytest.mark.parametrize("name", ["state", "id", "owner", "spec", "stale", "nonsense"])
def test_what_no_move_may_change(store, add, draft, name):
    job, other = add(), add()
    seen = store.events.last()
    moves = [
        Move(job_id=other.id, old=S.CREATED, attempt=1, new=S.SUBMITTING),
        Move(job_id=job.id, old=S.CREATED, attempt=1, new=S.SUBMITTING, changes={name: "x"}),
    ]
    with pytest.raises(ValueError, match=f"a move cannot change '{name}'"):
        store.jobs.move(moves)
    assert store.jobs.get_many([job.id, other.id]) == [job, other]
    assert store.events.last() == seen


def test_text_that_is_no_unicode_does_not_spoil_a_batch(store, add, goto):
    tasks = (TaskObservation(index=0, state=S.RUNNING, native_id="\ud800"),)
    moved = goto(add().id, S.RUNNING, changes={"message": "é \udcff\0", "nodes": ("\udcff",)}, tasks=tasks)
    assert moved.message == "é ?\N{REPLACEMENT CHARACTER}"
    assert store.jobs.tasks(moved.id, limit=1)[0].native_id == "?"


def test_a_new_attempt_has_a_higher_number(store, add):
    job = add()
    with pytest.raises(ValueError, match="attempt 1 cannot follow attempt 1"):
        store.jobs.move([Move(job_id=job.id, old=S.CREATED, attempt=1, new=S.QUEUED, new_attempt=1)])
    assert store.jobs.get(job.id) == job


def test_only_where_the_job_still_is(store, add):
    job = add()
    seen = store.events.last()
    wrong = [
        Move(job_id=job.id, old=S.QUEUED, attempt=1, new=S.RUNNING),
        Move(job_id=job.id, old=S.CREATED, attempt=2, new=S.SUBMITTING),
        Move(job_id=4711, old=S.CREATED, attempt=1, new=S.SUBMITTING),
        Move(job_id=job.id, old=S.CREATED, attempt=1, new=S.SUBMITTING, held_claim="me"),
    ]
    assert store.jobs.move(wrong) == [False] * 4
    assert store.jobs.get(job.id) == job
    assert store.events.last() == seen
    assert store.jobs.move([]) == []


def test_moves_of_one_batch_see_each_other(store, add):
    job, other = add(), add()
    done = store.jobs.move(
        [
            Move(job_id=job.id, old=S.CREATED, attempt=1, new=S.SUBMITTING, changes={"message": "a", "exit_code": 1}),
            Move(job_id=other.id, old=S.CREATED, attempt=1, new=S.FAILED, changes={"exit_code": 2}),
            Move(job_id=job.id, old=S.CREATED, attempt=1, new=S.CANCELED),
            Move(job_id=job.id, old=S.SUBMITTING, attempt=1, new=S.QUEUED, changes={"exit_code": 3}),
            Move(job_id=job.id, old=S.QUEUED, attempt=1, new=S.QUEUED, changes={"message": "b", "exit_code": 4}),
        ]
    )
    assert done == [True, True, False, True, True]
    moved = store.jobs.get(job.id)
    assert (moved.state, moved.message, moved.exit_code, moved.revision) == (S.QUEUED, "b", 4, 4)
    assert store.jobs.get(other.id).exit_code == 2


def test_each_state_passed_is_an_event(store, add, goto):
    job = add()
    goto(job.id, S.QUEUED, changes={"native_id": "17"})
    seen = store.events.last()
    goto(
        job.id,
        S.FAILED,
        via=(S.RUNNING, S.FAILED),
        actor="bob",
        changes={"reason": Reason.EXIT_NONZERO, "exit_code": 3, "evidence": Evidence.ACCOUNTING, "message": "oh"},
    )
    assert new_events(store, seen) == [
        ("job.state", state_data("QUEUED", "RUNNING", synthetic=True)),
        (
            "job.state",
            state_data(
                "RUNNING",
                "FAILED",
                reason="EXIT_NONZERO",
                exit_code=3,
                evidence="accounting",
                message="oh",
                native_id="17",
            ),
        ),
    ]
    assert {event.actor for event in store.events.after(seen, limit=9)} == {"bob"}
    assert {event.owner for event in store.events.after(seen, limit=9)} == {"ann"}


def test_a_change_that_is_no_move_makes_no_event_of_its_own(store, add, goto):
    job = add()
    seen = store.events.last()
    goto(job.id, S.CREATED, changes={"message": "waits"})
    assert new_events(store, seen) == []
    goto(job.id, S.CREATED, changes={"canceling": True}, event="job.canceling", event_data={"by": "bob"})
    assert new_events(store, seen) == [("job.canceling", {"by": "bob"})]


def test_a_new_attempt_starts_afresh(store, add, goto):
    job = add()
    goto(
        job.id,
        S.RUNNING,
        changes={
            "native_id": "17",
            "submitted_at": 1.0,
            "started_at": 2.0,
            "nodes": ("n1",),
            "cpu_ids": (1,),
            "gpu_ids": ("g",),
            "usage": Usage(cpu_time_s=1.0),
            "phase": Phase.COMPLETING,
            "message": "m",
            "native_state": "R",
            "native_reason": "r",
            "evidence": Evidence.QUEUE,
            "reason": Reason.NODE_FAIL,
            "exit_code": 1,
            "signal": 9,
            "absent_since": 3.0,
            "absences": 2,
        },
        tasks=(TaskObservation(index=0, state=S.RUNNING),),
    )
    seen = store.events.last()
    again = goto(
        job.id,
        S.RUNNING,
        new_attempt=2,
        via=(S.QUEUED, S.RUNNING),
        changes={"started_at": 7.0, "native_state": "R"},
        tasks=(TaskObservation(index=0, state=S.QUEUED),),
    )
    assert (again.attempt, again.state, again.started_at, again.native_state) == (2, S.RUNNING, 7.0, "R")
    assert (again.native_id, again.submitted_at) == ("17", 1.0)
    gone = (again.nodes, again.cpu_ids, again.gpu_ids, again.usage, again.phase, again.message, again.native_reason)
    assert gone == ((), (), (), None, None, None, None)
    assert (again.evidence, again.reason, again.exit_code, again.signal, again.ended_at) == (None,) * 5
    (snapshot,) = store.jobs.snapshots("ares", AT_SCHEDULER)
    assert (snapshot.absent_since, snapshot.absences) == (None, 0)
    assert new_events(store, seen) == [
        ("job.requeued", {"old": "RUNNING", "new": "RUNNING", "attempt": 2, "site": "ares"}),
        ("job.state", state_data("RUNNING", "QUEUED", attempt=2, synthetic=True)),
        ("job.state", state_data("QUEUED", "RUNNING", attempt=2, native_id="17")),
    ]
    first, second = store.jobs.attempts(job.id)
    assert (first.attempt, first.state, first.exit_code, first.signal) == (1, S.RUNNING, 1, 9)
    assert (first.reason, first.native_id, first.nodes, first.started_at) == (Reason.NODE_FAIL, "17", ("n1",), 2.0)
    assert first.ended_at is not None
    assert (second.attempt, second.state, second.started_at, second.ended_at) == (2, S.RUNNING, 7.0, None)
    assert [task.state for task in store.jobs.tasks(job.id, limit=5)] == [S.QUEUED]
    assert [task.state for task in store.jobs.tasks(job.id, attempt=1, limit=5)] == [S.RUNNING]
    assert store.jobs.move([Move(job_id=job.id, old=S.RUNNING, attempt=1, new=S.COMPLETED)]) == [False]


def test_the_current_attempt_shows_what_the_job_shows(store, add, goto):
    job = add()
    goto(job.id, S.FAILED, changes={"reason": Reason.TIMEOUT, "ended_at": 9.0, "nodes": ("n",)})
    (attempt,) = store.jobs.attempts(job.id)
    assert (attempt.attempt, attempt.state, attempt.reason) == (1, S.FAILED, Reason.TIMEOUT)
    assert (attempt.ended_at, attempt.nodes) == (9.0, ("n",))


def test_a_lost_job_is_corrected(store, add, goto):
    job = add(labels={"a": "b"})
    goto(job.id, S.FAILED, changes={"reason": Reason.LOST})
    assert [each.ref.id for each in store.jobs.lost("ares")] == [job.id]
    assert store.jobs.lost("helios") == []
    seen = store.events.last()
    proof = {"reason": None, "exit_code": 0, "evidence": Evidence.EXIT_FILE}
    assert goto(job.id, S.COMPLETED, corrected=True, changes=proof).state is S.COMPLETED
    assert new_events(store, seen) == [
        ("job.corrected", state_data("FAILED", "COMPLETED", exit_code=0, evidence="exit_file"))
    ]
    assert store.jobs.lost("ares") == []
    done = JobFilter(labels={"a": "b"}, states=frozenset({S.COMPLETED}))
    assert store.jobs.count(done) == 1


# --- claims and leases ----------------------------------------------------------------------------------------------


def test_a_claim_is_taken_held_and_given_back(store, add):
    job = add()

    def move(**fields):
        return store.jobs.move([Move(job_id=job.id, old=S.CREATED, attempt=1, new=S.CREATED, **fields)])[0]

    def claim():
        (snapshot,) = store.jobs.snapshots("ares", frozenset({S.CREATED}))
        return snapshot.claim

    assert move(claim=Claim("w1", 100.0), held_claim="")
    assert not move(claim=Claim("w2", 100.0), held_claim="")
    assert claim() == Claim("w1", 100.0)
    assert move(changes={"message": "late, but nobody else came"}, held_claim="w1")
    assert move(claim=Claim("w2", 200.0), held_claim="w1")
    assert not move(changes={"message": "too late"}, held_claim="w1")
    assert claim() == Claim("w2", 200.0)
    assert move(claim=Claim("", 0), held_claim="w2")
    assert claim() is None
    assert move(claim=Claim("", 300.0))
    assert claim() == Claim("", 300.0)
    assert move(claim=Claim("w3", 400.0), held_claim="")


def test_a_lost_lease_writes_nothing(store, add):
    job = add()
    old = store.leases.acquire("site:ares", "w1", 10.0, now=0.0)
    new = store.leases.acquire("site:ares", "w2", 10.0, now=20.0)
    move = Move(job_id=job.id, old=S.CREATED, attempt=1, new=S.SUBMITTING)
    for lost in (old, Lease("site:none", "w1", 1, 1e12), Lease("site:ares", "w1", new.token, 1e12)):
        with pytest.raises(LeaseLost, match="no longer holds the lease"):
            store.jobs.move([move], lease=lost)
    assert store.jobs.get(job.id) == job
    assert store.jobs.move([move], lease=new) == [True]
    store.leases.release(new)
    with pytest.raises(LeaseLost):
        store.jobs.move([move], lease=new)


# --- snapshots and tasks --------------------------------------------------------------------------------------------


def test_snapshots_are_slim_views_of_the_jobs(store, add, goto):
    job = add(array=None, account="svc")
    other = add(spec=None, site="helios")
    moved = goto(
        job.id,
        S.RUNNING,
        claim=Claim("me", 5.0),
        changes={
            "native_id": "17",
            "submitted_at": 1.0,
            "started_at": 2.0,
            "nodes": ("n",),
            "canceling": True,
            "cancel_reason": Reason.CANCELED_BY_ADMIN,
            "absent_since": 3.0,
            "submitting_since": 4.0,
            "absences": 6,
            "phase": Phase.STARTING,
            "native_state": "R",
            "native_reason": "x",
            "message": "m",
        },
    )
    (snapshot,) = store.jobs.snapshots("ares", AT_SCHEDULER)
    assert snapshot.ref == moved.ref
    for name in "owner state attempt phase native_state native_reason message canceling started_at nodes".split():
        assert getattr(snapshot, name) == getattr(moved, name), name
    assert (snapshot.absent_since, snapshot.submitting_since, snapshot.absences) == (3.0, 4.0, 6)
    assert (snapshot.cancel_reason, snapshot.claim) == (Reason.CANCELED_BY_ADMIN, Claim("me", 5.0))
    assert store.jobs.snapshots("helios", AT_SCHEDULER) == []
    assert [each.ref.id for each in store.jobs.snapshots("helios", frozenset({S.CREATED}))] == [other.id]


def test_snapshots_of_some_jobs_only(store, add):
    jobs = [add() for _ in range(4)]
    store.jobs.move(
        [Move(job_id=jobs[n].id, old=S.CREATED, attempt=1, new=S.CREATED, changes={"canceling": True}) for n in (0, 2)]
    )

    def found(**only):
        return [each.ref.id for each in store.jobs.snapshots("ares", frozenset({S.CREATED}), **only)]

    assert found(canceling=True) == [jobs[0].id, jobs[2].id]
    assert found(keys=[jobs[3].key, "no such key", jobs[2].key]) == [jobs[2].id, jobs[3].id]
    assert found(keys=[jobs[3].key, jobs[2].key], canceling=True) == [jobs[2].id]
    assert found(keys=[]) == []
    assert store.jobs.snapshots("ares", AT_SCHEDULER, keys=[jobs[0].key]) == []
    assert store.jobs.snapshots("helios", frozenset({S.CREATED}), keys=[jobs[0].key]) == []


def test_tasks_keep_what_is_known_of_them(store, add, goto):
    job = add()
    goto(
        job.id,
        S.RUNNING,
        tasks=(
            TaskObservation(index=1, state=S.RUNNING, native_id="17_1", started_at=2.0, nodes=("n",)),
            TaskObservation(index=0, state=S.QUEUED),
            TaskObservation(index=0, role="ps", state=S.RUNNING),
        ),
    )
    ended = TaskObservation(
        index=1, state=S.FAILED, reason=Reason.TIMEOUT, exit_code=1, ended_at=3.0, usage=Usage(max_rss_kib=4)
    )
    goto(job.id, S.RUNNING, tasks=(ended,))
    zero, one, ps = store.jobs.tasks(job.id, limit=10)
    assert (one.state, one.reason, one.exit_code, one.usage) == (S.FAILED, Reason.TIMEOUT, 1, Usage(max_rss_kib=4))
    assert (one.native_id, one.started_at, one.ended_at, one.nodes) == ("17_1", 2.0, 3.0, ("n",))
    assert (zero.role, zero.index, zero.state, zero.usage) == ("", 0, S.QUEUED, None)
    assert (ps.role, ps.index, ps.job_id, ps.attempt) == ("ps", 0, job.id, 1)
    assert store.jobs.tasks(job.id, limit=2) == [zero, one]
    assert store.jobs.tasks(job.id, after=("", 1), limit=2) == [ps]
    assert store.jobs.tasks(4711, limit=2) == []


# --- delete ---------------------------------------------------------------------------------------------------------


def test_delete_takes_everything_but_the_events(store, add, goto):
    job = add(labels={"a": "b"}, tags=("t",), foreign=("bsp", "ann", "1"), site="ares")
    active = add()
    goto(job.id, S.QUEUED)
    goto(job.id, S.RUNNING, new_attempt=2, tasks=(TaskObservation(index=0, state=S.RUNNING),))
    goto(job.id, S.COMPLETED)
    assert store.jobs.delete([job.id, active.id, 4711], actor="root") == 1
    with pytest.raises(NotFound):
        store.jobs.get(job.id)
    assert store.jobs.get(active.id) == active
    assert store.foreign.find("bsp", "ann", "1") is None
    for table in ("job_spec", "job_mark", "job_task", "job_attempt"):
        assert store._session.rows(f"SELECT * FROM {table} WHERE job_id = ?", (job.id,)) == [], table
    last = store.events.after(0, limit=100)[-1]
    assert (last.type, last.job_id, last.owner, last.actor, last.data) == (
        "job.deleted",
        job.id,
        "ann",
        "root",
        {"key": job.key},
    )
    assert store.jobs.delete([job.id], actor="root") == 0
