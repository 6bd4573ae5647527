import json
from dataclasses import replace

import pytest

from hpcgate.errors import ConfigError, Conflict, IdempotencyMismatch, NotFound
from hpcgate.model.move import Claim
from hpcgate.model.query import JobFilter
from hpcgate.model.spec import ArraySpec, Dependency, InputFile, JobSpec, Policies, Resources, Staging
from hpcgate.model.state import JobState
from hpcgate.store import adding
from hpcgate.store.jobs import Idempotency

SPEC = JobSpec(
    name="näme",
    script="#!/bin/sh\necho 'ü' \N{SNOWMAN}\n",
    resources=Resources(nodes=2, walltime_s=60, cpus_range=(1, 4)),
    environment={"A": "1", "B": ""},
    array=ArraySpec(start=0, stop=9, limit=2),
    dependencies=(Dependency(job=1),),
    project="physics",
    labels={"a": "b", "c": ""},
    tags=("t1", "t2", "t1"),
    staging=Staging(inputs=(InputFile(path="in.bin", content=bytes(range(256)), executable=True),)),
    policies=Policies(max_retries=2, priority=-1),
    native={"slurm": {"nice": 10}},
)


def test_a_job_comes_back_as_it_was_given(store, draft):
    given = draft(spec=SPEC, dialect="bsp", dialect_data={"x": [1, {"y": None}]}, account="svc", workflow_id=7)
    (job,) = store.jobs.add([given], actor="ann").jobs
    assert job == store.jobs.get(job.id)
    assert job.spec == SPEC
    assert (job.key, job.owner, job.site, job.folder) == (given.key, "ann", "ares", given.folder)
    assert (job.dialect, job.dialect_data, job.account, job.workflow_id) == ("bsp", given.dialect_data, "svc", 7)
    assert (job.state, job.attempt, job.revision) == (JobState.CREATED, 1, 1)
    assert job.created_at == job.updated_at
    assert store.jobs.by_key(given.key) == job
    assert store.jobs.by_key("nothing") is None


def test_many_come_back_in_their_order(store, draft):
    jobs = store.jobs.add([draft(name=f"n{n}") for n in range(1200)], actor="ann").jobs
    assert [job.spec.name for job in jobs] == [f"n{n}" for n in range(1200)]
    ids = [job.id for job in jobs]
    assert ids == sorted(ids)
    assert store.jobs.get_many([ids[7], 10**9, ids[3]]) == [jobs[7], jobs[3]]
    assert store.jobs.get_many(ids) == list(jobs)
    assert store.jobs.add([], actor="ann").jobs == ()


def test_what_is_not_there_is_not_found(store):
    for read in (store.jobs.get, store.jobs.secrets, store.jobs.attempts):
        with pytest.raises(NotFound, match="there is no job 4711"):
            read(4711)


def test_the_events_of_a_new_job(store, add):
    job = add(name="x")
    sent = add(name="y", state=JobState.SUBMITTING, claim=Claim("me", 50.0))
    events = store.events.after(0, limit=10)
    assert [(event.seq, event.type, event.job_id, event.owner, event.actor) for event in events] == [
        (1, "job.created", job.id, "ann", "ann"),
        (2, "job.created", sent.id, "ann", "ann"),
        (3, "job.state", sent.id, "ann", "ann"),
    ]
    assert events[0].data == {"key": job.key, "name": "x", "site": "ares", "state": "CREATED"}
    assert (events[2].data["old"], events[2].data["new"], events[2].data["attempt"]) == ("CREATED", "SUBMITTING", 1)
    assert sent.state is JobState.SUBMITTING
    (snapshot,) = store.jobs.snapshots("ares", frozenset({JobState.SUBMITTING}))
    assert snapshot.claim == Claim("me", 50.0)


def test_a_taken_key_or_foreign_id_stores_nothing(store, draft):
    first = draft(foreign=("bsp", "ann", "17"))
    store.jobs.add([first], actor="ann")
    for again in (draft(key=first.key), draft(foreign=("bsp", "ann", "17"))):
        with pytest.raises(Conflict, match="is stored already"):
            store.jobs.add([draft(), again], actor="ann")
    assert sum(store.jobs.counts().values()) == 1
    assert store.events.last() == 1
    assert store.foreign.find("bsp", "ann", "17") == ("job", 1)


def test_ids_are_never_given_again(store, add, goto):
    job = add()
    goto(job.id, JobState.CANCELED)
    assert store.jobs.delete([job.id], actor="ann") == 1
    assert add().id > job.id


# --- secrets --------------------------------------------------------------------------------------------------------


def test_secrets_are_named_but_not_shown(store, add, url):
    job = add(secret_environment={"PASSWORD": "hunter2-hunter2"}, environment={"A": "1"})
    shown = {"PASSWORD": "***"}
    assert job.spec.secret_environment == shown
    assert store.jobs.get(job.id).spec.secret_environment == shown
    assert store.jobs.get_many([job.id])[0].spec.secret_environment == shown
    assert store.jobs.page(JobFilter(), cursor=None, limit=5).items[0].spec.secret_environment == shown
    assert store.jobs.secrets(job.id) == {"PASSWORD": "hunter2-hunter2"}
    assert store.jobs.secrets(add().id) == {}
    events = json.dumps([dict(event.data) for event in store.events.after(0, limit=10)])
    assert "hunter2" not in events


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_secrets_are_not_in_the_file_in_the_clear(store, add, tmp_path):
    add(secret_environment={"PASSWORD": "hunter2-hunter2"}, name="findable")
    store.close()
    written = b"".join(path.read_bytes() for path in tmp_path.glob("hpcgate.db*"))
    assert b"findable" in written
    assert b"hunter2" not in written


def test_without_a_cipher_secrets_are_refused(opened, store, draft, add):
    plain = opened()
    with pytest.raises(ConfigError, match="secret_environment cannot be stored"):
        plain.jobs.add([draft(), draft(secret_environment={"A": "b"})], actor="ann")
    assert plain.jobs.counts() == {}
    with pytest.raises(ConfigError, match="secret_environment cannot be read"):
        plain.jobs.secrets(add(secret_environment={"A": "b"}).id)


# --- idempotency ----------------------------------------------------------------------------------------------------


def test_the_same_request_again_gives_the_same_jobs(store, draft, goto):
    key = Idempotency("ann", "k1", "digest")
    first = store.jobs.add([draft(), draft()], actor="ann", idempotency=key)
    assert not first.replayed
    moved = goto(first.jobs[0].id, JobState.SUBMITTING)
    again = store.jobs.add([draft(), draft()], actor="ann", idempotency=key)
    assert again.replayed
    assert again.jobs == (moved, first.jobs[1])
    assert store.events.last() == 3


def test_the_same_key_for_another_request_is_refused(store, draft):
    key = Idempotency("ann", "k1", "digest")
    store.jobs.add([draft()], actor="ann", idempotency=key)
    with pytest.raises(IdempotencyMismatch, match="'k1' was used for another request"):
        store.jobs.add([draft()], actor="ann", idempotency=replace(key, fingerprint="other"))
    assert not store.jobs.add([draft()], actor="bob", idempotency=replace(key, principal="bob")).replayed
    assert sum(store.jobs.counts().values()) == 2


def test_a_key_is_forgotten_after_a_day(store, draft, monkeypatch):
    now = [1_000_000.0]
    monkeypatch.setattr(adding.time, "time", lambda: now[0])
    key = Idempotency("ann", "k1", "digest")
    first = store.jobs.add([draft()], actor="ann", idempotency=key)
    now[0] += 86_399
    assert store.jobs.prune_idempotency(now[0]) == 0
    assert store.jobs.add([draft()], actor="ann", idempotency=key).jobs == first.jobs
    now[0] += 2
    second = store.jobs.add([draft()], actor="ann", idempotency=replace(key, fingerprint="other"))
    assert not second.replayed
    now[0] += 86_401
    assert store.jobs.prune_idempotency(now[0]) == 1
    assert not store.jobs.add([draft()], actor="ann", idempotency=key).replayed


def test_a_failed_request_does_not_use_the_key_up(store, draft):
    key = Idempotency("ann", "k1", "digest")
    taken = draft()
    store.jobs.add([taken], actor="ann")
    with pytest.raises(Conflict):
        store.jobs.add([draft(key=taken.key)], actor="ann", idempotency=key)
    assert not store.jobs.add([draft()], actor="ann", idempotency=key).replayed
