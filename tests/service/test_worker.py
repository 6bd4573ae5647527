"""The worker: what is slow or broken stays where it is."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support import ANN, eventually

from hpcgate.errors import SchedulerError, SchemaTooNew
from hpcgate.gateway import Gateway
from hpcgate.model.move import Claim, JobDraft
from hpcgate.model.spec import JobSpec
from hpcgate.model.state import JobState
from hpcgate.service.admission import JobRequest

pytestmark = pytest.mark.usefixtures("database_url")

TRUE = JobRequest(spec=JobSpec(command="true"))


@contextmanager
def running(gateway: Gateway) -> Iterator[None]:
    """A worker in a thread of its own."""
    stop = threading.Event()
    thread = threading.Thread(target=gateway.worker().run, args=(stop,))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(timeout=10)
        assert not thread.is_alive()


def abandoned(gateway: Gateway, key: str = "01ABANDONED000000000000000") -> int:
    """A job whose submitter died between the row and the scheduler's answer."""
    draft = JobDraft(
        key=key,
        owner="ann",
        site="fake",
        spec=JobSpec(command="true"),
        folder=f"/nowhere/{key}",
        state=JobState.SUBMITTING,
        claim=Claim("dead", 1.0),
    )
    return gateway.store.jobs.add([draft], actor="ann").jobs[0].id


def test_a_round_that_takes_longer_than_the_lease_keeps_it(gateway, fake, monkeypatch):
    """Else two workers at a slow site would take it from each other for ever and write nothing."""
    monkeypatch.setattr("hpcgate.service.leases.LEASE_S", 0.5)
    for module in ("leases", "worker"):
        monkeypatch.setattr(f"hpcgate.service.{module}.RENEW_AFTER_S", 0.1)
    gateway.jobs.submit(ANN, TRUE)
    leases = gateway.store.leases
    with running(gateway), fake.pause("poll") as reached:
        assert reached.wait(10)
        first = leases.get("site:fake")
        late = eventually(lambda: (now := leases.get("site:fake")) and now.until > first.until + 1.0 and now)
        assert (late.holder, late.token) == (first.holder, first.token)


class TestOneBrokenPart:
    def complete(self, gateway, fake, job):
        fake.set_state(job, JobState.COMPLETED)
        with running(gateway):
            eventually(lambda: gateway.jobs.get(ANN, job.id).state is JobState.COMPLETED)

    def test_a_broken_event_spool_stops_no_poll(self, gateway, fake):
        job = gateway.jobs.submit(ANN, TRUE).job
        spool = Path(gateway.sites["fake"].event_spool)
        spool.parent.mkdir(parents=True, exist_ok=True)
        spool.write_text("no folder")
        self.complete(gateway, fake, job)

    def test_a_search_that_breaks_stops_no_poll(self, gateway, fake):
        abandoned(gateway)
        fake.fail_next("find", ZeroDivisionError("bug"), times=100_000)
        self.complete(gateway, fake, gateway.jobs.submit(ANN, TRUE).job)

    def test_a_cancel_that_breaks_stops_no_poll(self, gateway, fake):
        fake.cancel_ends = False
        job, other = (gateway.jobs.submit(ANN, TRUE).job for _ in range(2))
        gateway.jobs.cancel(ANN, [other.id])
        fake.fail_next("cancel", SchedulerError("no"), times=100_000)
        self.complete(gateway, fake, job)


def test_a_lease_from_a_clock_that_was_set_back_is_not_believed(gateway):
    """A holder that died while the clock was an hour ahead would keep everybody off for an hour."""
    leases = gateway.store.leases
    assert leases.acquire("site:x", "dead", 6.0, now=3600.0)
    late = leases.acquire("site:x", "alive", 6.0, now=0.0)
    assert late is not None
    assert late.token == 2


def test_a_worker_ends_when_a_later_version_has_made_the_database_unusable(gateway):
    execute = gateway.store._session.execute
    execute("UPDATE counter SET value = 99 WHERE name = 'schema_floor'")
    try:
        assert gateway.status()["ready"] is False
        with pytest.raises(SchemaTooNew, match="step 99"):
            gateway.worker().run(threading.Event())
    finally:
        execute("UPDATE counter SET value = 1 WHERE name = 'schema_floor'")
