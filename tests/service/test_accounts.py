"""Whose jobs run as which account: shares of one account, a table of several, and calls that go by each."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest
from support import ANN, BOB, ROOT, eventually

from hpcgate.errors import Conflict, Forbidden, InvalidSpec, SchedulerError, TransportError
from hpcgate.model.principal import Principal
from hpcgate.model.query import JobFilter
from hpcgate.model.spec import InputFile, JobSpec, Staging
from hpcgate.model.state import JobState
from hpcgate.plugin.lifecycle import Lifecycle
from hpcgate.service import accounts
from hpcgate.service.admission import JobRequest
from hpcgate.testing.transports import MemoryTransport
from hpcgate.transport.base import CommandResult

TRUE = JobRequest(spec=JobSpec(command="true"))
CAROL = Principal(name="carol")
UIDS = {None: 900, "ann1": 1001, "bob1": 1002, "toor1": 0}


# --- one account


@pytest.fixture
def one(make_gateway, tmp_path):
    def site(folder, **more):
        poll = {"min_s": 0.01, "max_s": 0.05, "spool_s": 0.01}
        return {"scheduler": "fake", "work_root": str(tmp_path / folder), "poll": poll, **more}

    far = {"host": "login", "user": "svc"}
    return make_gateway(
        sites={
            "one": site("one"),
            "two": site("two"),
            "shared": site("shared", identity={"shared_account": True}),
            "far": site("~/jobs", transport="ssh", ssh=far),
        }
    )


def at(site, **spec):
    return JobRequest(spec=JobSpec(command="true", **spec), site=site)


def test_the_first_principal_keeps_an_account_to_itself(one):
    first = one.jobs.submit(ANN, at("one")).job
    one.jobs.submit(ANN, at("one"))
    for who in (BOB, ROOT):
        with pytest.raises(Forbidden, match=r"where there are jobs of another principal, so .* may not run any"):
            one.jobs.submit(who, at("one"))
    answers = one.jobs.submit_many(BOB, [at("one"), at("one")])
    assert all(isinstance(answer, Forbidden) for answer in answers)
    said = one.jobs.validate(BOB, at("one"))
    assert (said.valid, said.errors[0].field) == (False, "site")
    assert one.jobs.get(ANN, first.id).account is None


def test_sites_of_the_same_account_are_one(one):
    one.jobs.submit(ANN, at("one"))
    with pytest.raises(Forbidden):
        one.jobs.submit(BOB, at("two"))
    assert one.jobs.validate(BOB, at("far")).valid, "another host, another account"


def test_an_operator_may_let_them_share(one):
    for who in (ANN, BOB, ROOT):
        one.jobs.submit(who, at("shared"))


def test_an_account_is_free_again_once_nothing_is_left_there(one, fake):
    job = one.jobs.submit(ANN, at("one")).job
    one.jobs.cancel(ANN, [job.id])
    eventually(lambda: one.worker().step() or one.jobs.get(ANN, job.id).state.final)
    with pytest.raises(Forbidden):
        one.jobs.submit(BOB, at("one"))
    one.jobs.delete(ANN, job.id)
    one.jobs.submit(BOB, at("one"))


def test_of_two_who_come_first_one_is(one):
    together, refused = threading.Barrier(2), []

    def submit(who):
        together.wait()
        try:
            one.jobs.submit_many(who, [at("one")] * 20)
        except Forbidden:
            refused.append(who.name)
        finally:
            one.release_thread()

    threads = [threading.Thread(target=submit, args=(who,)) for who in (ANN, BOB)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    owners = {job.owner for job in one.jobs.list(ROOT, JobFilter(), limit=100).items}
    assert len(owners) == 1


# --- jobs as root


@pytest.mark.parametrize("path", ["/etc/passwd", "../../x", "~/.bashrc", "a/../../b", "{root}/../x"])
def test_output_stays_out_of_the_way_where_jobs_run_as_root(make_gateway, monkeypatch, tmp_path, path):
    monkeypatch.setattr(accounts.os, "geteuid", lambda: 0)
    gateway = make_gateway()
    request = at(None, stdout_path=path.format(root=tmp_path / "work"))
    with pytest.raises(InvalidSpec, match="since jobs of site 'fake' run as root"):
        gateway.jobs.submit(ANN, request)
    gateway.jobs.submit(ROOT, request)
    gateway.jobs.submit(ANN, at(None, stdout_path="sub/out", stderr_path=f"{tmp_path}/work/err"))
    gateway.jobs.submit(ANN, at(None, working_directory="/scratch/x", stderr_path="/scratch/x/err"))
    monkeypatch.setattr(accounts.os, "geteuid", lambda: 1000)
    gateway.jobs.submit(ANN, request)


# --- an account each


class Accounts:
    """A host that a test sees whole: each account has a transport of its own to the same files."""

    def __init__(self):
        self.files = MemoryTransport()
        self.used: list[tuple[str, str | None]] = []
        self.broken: set[str | None] = set()

    def open(self, site, account):
        host = self

        class As(MemoryTransport):
            def run(self, argv, **options):
                if account in host.broken:
                    raise TransportError(f"{account} is refused", transient=False)
                assert list(argv) == ["id", "-u"]
                return CommandResult(0, f"{UIDS[account]}\n".encode(), b"")

        transport = As()
        transport.account = account
        transport._entries = self.files._entries
        for verb in ("write", "read", "remove", "mkdir"):
            setattr(transport, verb, self._noting(verb, account, getattr(transport, verb)))
        return transport

    def _noting(self, verb, account, call):
        def noted(path, *args, **options):
            self.used.append((verb, account))
            return call(path, *args, **options)

        return noted


@pytest.fixture
def host():
    return Accounts()


@pytest.fixture
def mapped(make_gateway, fake, host, monkeypatch):
    identity = {"mode": "mapped", "key_dir": "/keys", "accounts": {"ann": "ann1", "bob": "bob1", "eve": "toor1"}}
    site = {
        "scheduler": "fake",
        "transport": "ssh",
        "ssh": {"host": "login", "user": "svc"},
        "work_root": "/jobs",
        "event_spool": "/events",
        "identity": identity,
        "poll": {"min_s": 0.01, "max_s": 0.05, "spool_s": 0.01},
    }
    gateway = make_gateway(sites={"there": site})
    gateway._transports._openers["ssh"] = host.open
    return gateway


@pytest.fixture
def asked(fake, monkeypatch):
    """Which account asked what about which accounts' jobs."""
    calls = []
    for hook in ("submit_jobs", "submit_job", "poll_jobs", "cancel_jobs", "find_by_key", "hold_job", "read_accounting"):
        _watch(fake, hook, calls, monkeypatch)
    return calls


def _watch(fake, hook, calls, monkeypatch):
    real = getattr(Lifecycle, hook)

    def noted(self, site, what, transport):
        jobs = what if isinstance(what, (list, tuple)) else [what]
        calls.append((hook, transport.account, [job.account for job in jobs]))
        return real(self, site, what, transport)

    monkeypatch.setattr(Lifecycle, hook, noted)


def step(gateway, until):
    worker = gateway.worker()
    eventually(lambda: worker.step() or until())


def test_each_job_is_submitted_by_its_account(mapped, asked, fake):
    staging = Staging(inputs=(InputFile(path="x", content=b"x"),))
    jobs = [mapped.jobs.submit(who, at(None, staging=staging)).job for who in (ANN, BOB)]
    assert [(job.account, job.state) for job in jobs] == [("ann1", JobState.QUEUED), ("bob1", JobState.QUEUED)]
    assert [call[:2] for call in asked] == [("submit_job", "ann1"), ("submit_job", "bob1")]
    with pytest.raises(Forbidden, match="'carol' has no account at site 'there'"):
        mapped.jobs.submit(CAROL, TRUE)
    with pytest.raises(Forbidden, match="'ann1' has no account"):
        mapped.jobs.submit(Principal(name="ann1"), TRUE)


def test_what_was_left_is_submitted_by_account(mapped, asked, fake):
    fake.fail_next("submit", SchedulerError("busy"), times=4)
    jobs = [mapped.jobs.submit(who, TRUE).job for who in (ANN, BOB, ANN, BOB)]
    asked.clear()
    step(mapped, lambda: all(mapped.jobs.get(ROOT, job.id).state is JobState.QUEUED for job in jobs))
    submits = [call for call in asked if call[0].startswith("submit")]
    assert {account for _, account, _ in submits} == {"ann1", "bob1"}
    assert all(set(of) == {account} for _, account, of in submits)


def test_root_by_another_name_runs_no_job(mapped, fake):
    with pytest.raises(Exception, match="'toor1' is root at site 'there'"):
        mapped.jobs.submit(Principal(name="eve"), TRUE)
    assert not fake.jobs


def test_cancels_and_verbs_go_by_account(mapped, asked, fake):
    fake.cancel_ends = False
    ann, bob = (mapped.jobs.submit(who, TRUE).job for who in (ANN, BOB))
    mapped.jobs.hold(ANN, ann.id)
    mapped.jobs.cancel(ROOT, [ann.id, bob.id])
    assert ("hold_job", "ann1", ["ann1"]) in asked
    assert {call[1:2] + tuple(call[2]) for call in asked if call[0] == "cancel_jobs"} == {
        ("ann1", "ann1"),
        ("bob1", "bob1"),
    }


def test_a_poller_that_sees_all_asks_once(mapped, asked, fake):
    jobs = [mapped.jobs.submit(who, TRUE).job for who in (ANN, BOB)]
    for job in jobs:
        fake.set_state(job, JobState.COMPLETED)
    asked.clear()
    step(mapped, lambda: all(mapped.jobs.get(ROOT, job.id).state.final for job in jobs))
    assert [call[:2] for call in asked if call[0] == "poll_jobs"] == [("poll_jobs", None)]


def test_a_poller_that_does_not_is_helped_out_by_each_account(mapped, asked, fake, monkeypatch):
    jobs = {who: mapped.jobs.submit(who, TRUE).job for who in (ANN, BOB)}
    _each_sees_its_own(fake, monkeypatch)
    for job in jobs.values():
        fake.set_state(job, JobState.RUNNING)
    step(mapped, lambda: all(mapped.jobs.get(ROOT, job.id).state is JobState.RUNNING for job in jobs.values()))
    assert ("poll_jobs", "ann1", [None]) in asked, "to itself, it is no other account"
    fake.forget(jobs[ANN])
    fake.account(jobs[ANN], JobState.COMPLETED)
    step(mapped, lambda: mapped.jobs.get(ANN, jobs[ANN].id).state is JobState.COMPLETED)
    assert mapped.jobs.get(BOB, jobs[BOB].id).state is JobState.RUNNING
    assert ("read_accounting", "ann1", [None]) in asked


def _each_sees_its_own(fake, monkeypatch):
    real = Lifecycle.poll_jobs

    def poll(self, site, refs, transport):
        listing = real(self, site, refs, transport)
        own = {native_id: seen for native_id, seen in listing.observations.items() if seen.account == transport.account}
        return replace(listing, observations=own, complete=all(ref.account is None for ref in refs))

    monkeypatch.setattr(Lifecycle, "poll_jobs", poll)


def test_an_account_that_is_refused_makes_its_own_jobs_stale(mapped, fake, host, monkeypatch):
    jobs = {who: mapped.jobs.submit(who, TRUE).job for who in (ANN, BOB)}
    _each_sees_its_own(fake, monkeypatch)
    seeing = Lifecycle.poll_jobs

    def poll(self, site, refs, transport):
        if transport.account == "ann1":
            raise TransportError("ann1 is refused")
        return seeing(self, site, refs, transport)

    monkeypatch.setattr(Lifecycle, "poll_jobs", poll)
    monkeypatch.setattr("hpcgate.model.site.STALE_SLACK_S", 0.2)
    step(mapped, lambda: mapped.jobs.get(ANN, jobs[ANN].id).stale)
    assert not mapped.jobs.get(BOB, jobs[BOB].id).stale
    assert mapped.jobs.get(ANN, jobs[ANN].id).state is JobState.QUEUED
    monkeypatch.undo()
    step(mapped, lambda: not mapped.jobs.get(ANN, jobs[ANN].id).stale)


def test_accounting_that_hides_jobs_of_others_is_asked_by_their_own(mapped, asked, fake, monkeypatch):
    real = Lifecycle.read_accounting

    def hiding(self, site, refs, transport):
        return [row for row in real(self, site, refs, transport) or () if row.account == transport.account]

    monkeypatch.setattr(Lifecycle, "read_accounting", hiding)
    job = mapped.jobs.submit(ANN, TRUE).job
    fake.forget(job)
    fake.account(job, JobState.FAILED, exit_code=2)
    step(mapped, lambda: mapped.jobs.get(ANN, job.id).state.final)
    assert mapped.jobs.get(ANN, job.id).exit_code == 2


def test_secrets_that_a_job_leaves_are_removed_by_its_account(mapped, fake, host):
    job = mapped.jobs.submit(ANN, JobRequest(spec=JobSpec(command="true", secret_environment={"A": "hush-hush"}))).job
    fake.set_state(job, JobState.FAILED, exit_code=None, signal=15, message="killed with hush-hush in its hands")
    host.used.clear()
    step(mapped, lambda: mapped.jobs.get(ANN, job.id).state.final)
    assert ("remove", "ann1") in host.used
    assert mapped.jobs.get(ANN, job.id).message == "killed with *** in its hands"


def test_a_message_with_secrets_is_no_news_each_time(gateway, fake):
    job = gateway.jobs.submit(ANN, JobRequest(spec=JobSpec(command="true", secret_environment={"A": "hush-hush"}))).job
    fake.set_state(job, JobState.QUEUED, message="waits for hush-hush")
    step(gateway, lambda: gateway.jobs.get(ANN, job.id).message == "waits for ***")
    revision = gateway.jobs.get(ANN, job.id).revision
    polls = fake.calls["poll"]
    step(gateway, lambda: fake.calls["poll"] > polls + 2)
    assert gateway.jobs.get(ANN, job.id).revision == revision
    assert "hush" not in str(gateway.jobs.events(ANN, job.id))


# --- what just ended


def test_a_verb_that_comes_too_late_is_a_conflict(gateway, fake):
    job = gateway.jobs.submit(ANN, TRUE).job
    fake.set_state(job, JobState.RUNNING)
    step(gateway, lambda: gateway.jobs.get(ANN, job.id).state is JobState.RUNNING)
    fake.set_state(job, JobState.COMPLETED)
    with pytest.raises(Conflict, match="site 'fake' refused to signal job 1: cannot signal job 1: it is COMPLETED"):
        gateway.jobs.signal(ANN, job.id, "TERM")
    with pytest.raises(Conflict):
        gateway.jobs.requeue(ANN, job.id)
    fake.fail_next("signal", SchedulerError("busy"))
    with pytest.raises(SchedulerError, match="busy"):
        gateway.jobs.signal(ANN, job.id, "TERM")


# --- the memory of polls


def test_a_process_that_comes_and_goes_asks_no_more_often(make_gateway, fake, tmp_path):
    site = {"scheduler": "fake", "work_root": str(tmp_path), "poll": {"min_s": 60.0, "max_s": 120.0}}
    gateway = make_gateway(sites={"fake": site})
    job = gateway.jobs.submit(ANN, TRUE).job
    for _ in range(3):
        worker = gateway.worker()
        worker.step()
        worker.close()
    assert fake.calls["poll"] == 1
    assert gateway.jobs.get(ANN, job.id).state is JobState.QUEUED
    gateway.store.sites.polled("fake", 9e9)
    gateway.worker().step()
    assert fake.calls["poll"] == 2, "a clock that was set back makes nobody wait"
