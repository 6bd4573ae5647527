"""Random moves, against a model that is plain Python."""

from dataclasses import dataclass, field

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hpcgate.model.move import Claim, Move
from hpcgate.model.query import JobFilter
from hpcgate.model.state import JobState, Reason

S = JobState
SOME = [S.CREATED, S.QUEUED, S.RUNNING, S.FAILED]


@dataclass
class Twin:
    """What a job must look like."""

    state: JobState = S.CREATED
    attempt: int = 1
    revision: int = 1
    claim: str = ""
    message: str | None = None
    reason: Reason | None = None
    native_id: str | None = None
    events: list = field(default_factory=lambda: ["job.created"])

    def move(self, move: Move) -> bool:
        if (self.state, self.attempt) != (move.old, move.attempt):
            return False
        if move.held_claim is not None and self.claim != move.held_claim:
            return False
        self.revision += 1
        if move.new_attempt:
            self.events.append("job.requeued")
            self.attempt, self.message, self.reason = move.new_attempt, None, None
        for name, value in move.changes.items():
            setattr(self, name, value)
        if move.claim:
            self.claim = move.claim.holder
        if move.new is not self.state:
            self.events.append(f"{self.state}>{move.new}")
        self.state = move.new
        if move.event:
            self.events.append(move.event)
        return True


moves = st.builds(
    Move,
    job_id=st.integers(1, 4),
    old=st.sampled_from(SOME),
    attempt=st.integers(1, 2),
    new=st.sampled_from(SOME),
    new_attempt=st.sampled_from([None, None, None, 2, 3]),
    changes=st.fixed_dictionaries(
        {},
        optional={
            "message": st.sampled_from(["a", None]),
            "reason": st.sampled_from([Reason.LOST, None]),
            "native_id": st.sampled_from(["1", "2"]),
        },
    ),
    event=st.sampled_from([None, None, "job.warning"]),
    claim=st.sampled_from([None, None, Claim("w", 5.0), Claim("", 0.0)]),
    held_claim=st.sampled_from([None, None, None, "w", ""]),
).filter(lambda move: move.new_attempt is None or move.new_attempt > move.attempt)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=st.lists(st.lists(moves, max_size=12), max_size=6))
def test_the_store_does_what_the_model_does(store, draft, batches):
    added = store.jobs.add([draft(labels={"n": str(n)}) for n in range(4)], actor="ann").jobs
    first, seen = added[0].id, store.events.last() - 4
    twins = {job.id: Twin() for job in added}
    for batch in batches:
        real = [
            Move(
                **{name: getattr(move, name) for name in Move.__dataclass_fields__}
                | {"job_id": first - 1 + move.job_id}
            )
            for move in batch
        ]
        assert store.jobs.move(real) == [twins[move.job_id].move(move) for move in real]
    events = store.events.after(seen, limit=10_000)
    assert [event.seq for event in events] == list(range(seen + 1, seen + 1 + len(events)))
    for id_, twin in twins.items():
        job = store.jobs.get(id_)
        assert (job.state, job.attempt, job.revision) == (twin.state, twin.attempt, twin.revision)
        assert (job.message, job.reason, job.native_id) == (twin.message, twin.reason, twin.native_id)
        (snapshot,) = [each for each in store.jobs.snapshots("ares", frozenset(S)) if each.ref.id == id_]
        assert (snapshot.claim.holder if snapshot.claim else "") == twin.claim
        told = [
            f"{event.data['old']}>{event.data['new']}" if event.type == "job.state" else event.type
            for event in events
            if event.job_id == id_
        ]
        assert told == twin.events
        by_label = JobFilter(labels={"n": str(id_ - first)}, states=frozenset({twin.state}), ids=frozenset({id_}))
        assert store.jobs.count(by_label) == 1
        assert len(store.jobs.attempts(id_)) == 1 + told.count("job.requeued")
