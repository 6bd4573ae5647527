"""The ids by which dialects know jobs."""

import pytest

from hpcgate.errors import Conflict, IdempotencyMismatch, NotFound
from hpcgate.model.principal import Principal, Role
from hpcgate.model.query import JobFilter
from hpcgate.model.spec import JobSpec
from hpcgate.service.admission import JobRequest, Origin

ANN, BOB = Principal(name="ann"), Principal(name="bob")
SUPPORT = Principal(name="sue", roles=frozenset({Role.SUPPORT}))


def request(foreign_id="A1", **more):
    return JobRequest(spec=JobSpec(command="true"), origin=Origin(dialect="x", foreign_id=foreign_id, **more))


def test_a_job_is_found_by_the_id_it_came_with(gateway):
    job = gateway.jobs.submit(ANN, request(data={"title": "mine"})).job
    found = gateway.foreign.job(ANN, "x", "A1")
    assert (found.id, found.dialect, found.dialect_data) == (job.id, "x", {"title": "mine"})
    assert gateway.foreign.job(SUPPORT, "x", "A1").id == job.id
    for principal, dialect, foreign_id in ((BOB, "x", "A1"), (ANN, "y", "A1"), (ANN, "x", "A2"), (ANN, "x", "")):
        with pytest.raises(NotFound):
            gateway.foreign.job(principal, dialect, foreign_id)


def test_an_id_is_one_jobs_alone_within_its_scope(gateway):
    first = gateway.jobs.submit(ANN, request(scope="ann")).job
    with pytest.raises(Conflict):
        gateway.jobs.submit(ANN, request(scope="ann"))
    second = gateway.jobs.submit(ANN, request(scope="bob")).job
    assert gateway.foreign.job(ANN, "x", "A1", scope="ann").id == first.id
    assert gateway.foreign.job(ANN, "x", "A1", scope="bob").id == second.id
    kept = [job.id for job in gateway.jobs.list(ANN, JobFilter()).items]
    assert kept == [second.id, first.id], "what was refused left no job behind"


def test_an_id_that_comes_later(gateway):
    job = gateway.jobs.submit(ANN, request(None)).job
    other = gateway.jobs.submit(ANN, request(None)).job
    gateway.foreign.give(ANN, job.id, "x", "17.host")
    gateway.foreign.give(ANN, job.id, "x", "17.host")
    with pytest.raises(Conflict):
        gateway.foreign.give(ANN, other.id, "x", "17.host")
    with pytest.raises(NotFound):
        gateway.foreign.give(BOB, job.id, "x", "18.host")
    assert gateway.foreign.names("x", [job, other]) == {job.id: "17.host"}
    assert gateway.foreign.names("x", []) == {}


def test_many_jobs_have_their_ids(gateway):
    jobs = gateway.jobs.submit_many(ANN, [request("B1"), request("B2")])
    assert gateway.foreign.names("x", jobs) == {jobs[0].id: "B1", jobs[1].id: "B2"}


def test_the_origin_is_part_of_what_a_key_stands_for(gateway):
    job = gateway.jobs.submit(ANN, request(), idempotency_key="k").job
    assert gateway.jobs.submit(ANN, request(), idempotency_key="k").job.id == job.id
    with pytest.raises(IdempotencyMismatch):
        gateway.jobs.submit(ANN, request("A2"), idempotency_key="k")


def test_the_jobs_of_a_scope_and_those_that_are_forgotten(gateway):
    first, second = (gateway.jobs.submit(ANN, request(name, scope="s")).job for name in ("A1", "A2"))
    bobs = gateway.jobs.submit(BOB, request("B1", scope="s")).job

    def known(principal, **more):
        return {name: job.id for name, job in gateway.foreign.jobs(principal, "x", scope="s", **more).items()}

    assert list(known(ANN).items()) == [("A2", second.id), ("A1", first.id)]
    assert known(SUPPORT) == {"A1": first.id, "A2": second.id, "B1": bobs.id}
    assert known(ANN, among=["A1", "B1", "C1"]) == {"A1": first.id}
    assert known(ANN, among=[]) == {}
    for principal, name in ((ANN, "B1"), (SUPPORT, "A1"), (ANN, "C1")):
        with pytest.raises(NotFound):
            gateway.foreign.forget(principal, "x", name, scope="s")
    gateway.foreign.forget(ANN, "x", "A1", scope="s")
    assert known(ANN) == {"A2": second.id}
    assert gateway.jobs.get(ANN, first.id).id == first.id, "the job itself stays"
