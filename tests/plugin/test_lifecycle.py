"""Who answers a hook, and what becomes of those who do it badly."""

from dataclasses import replace

import pytest

from hpcgate.errors import (
    CommandTimeout,
    ConfigError,
    InvalidSpec,
    JobRejected,
    NotSupported,
    PluginError,
    SchedulerError,
)
from hpcgate.hookspecs import hookimpl
from hpcgate.model.job import Event
from hpcgate.model.principal import Principal
from hpcgate.model.scheduler import KeySearch, Listing, Presence, SubmitFailed, Submitted
from hpcgate.model.state import JobState
from hpcgate.plugin.lifecycle import Lifecycle
from hpcgate.plugin.manager import PluginHost
from hpcgate.testing.fakes import FakeScheduler
from hpcgate.testing.transports import MemoryTransport

ANN = Principal(name="ann")
EVENT = Event(seq=1, at=1.0, type="job.state", job_id=1, owner="ann")


def lifecycle(*plugins):
    """A lifecycle with these plugins, in order of registration; schedulers go by their own name."""
    extra = [(getattr(getattr(p, "info", None), "name", f"plugin{n}"), p) for n, p in enumerate(plugins)]
    host = PluginHost.load(extra=extra, environ={"HPCGATE_LOAD_PLUGINS": ""})
    assert all(record.status == "ok" for record in host.records if record.distribution is None), host.records
    return Lifecycle(host)


@pytest.fixture
def fake():
    return FakeScheduler()


@pytest.fixture
def life(fake):
    return lifecycle(fake)


@pytest.fixture
def transport():
    return MemoryTransport()


@pytest.fixture
def ref(life, site, job, transport):
    """A job that is in the queue."""
    submitted = life.submit_job(site, job, transport)
    return replace(job, native_id=submitted.native_id).ref


# --- every hook reaches its scheduler -------------------------------------------------------------------------------


def test_hook_render_script(life, site, make_job):
    assert life.render_script(site, make_job(script="#!/bin/sh\necho hello\n")).text == "#!/bin/sh\necho hello\n"


def test_hook_submit_job(life, fake, site, job, transport):
    assert life.submit_job(site, job, transport) == Submitted(
        key="KEY1", native_id="1", stdout_path="/jobs/KEY1/stdout", stderr_path="/jobs/KEY1/stderr"
    )
    assert fake.job("KEY1").state is JobState.QUEUED


def test_hook_submit_jobs(life, fake, site, make_job, transport):
    fake.fail_next("submit", InvalidSpec.of("name", "is bad"))
    first, second = life.submit_jobs(site, [make_job(1), make_job(2)], transport)
    assert first == SubmitFailed(key="KEY1", message="name: is bad", permanent=True)
    assert isinstance(second, Submitted)
    assert second.key == "KEY2"


def test_hook_poll_jobs(life, site, ref, transport):
    listing = life.poll_jobs(site, [ref], transport)
    assert listing.complete
    assert listing.observations[ref.native_id].state is JobState.QUEUED


def test_hook_read_accounting(life, fake, site, ref, transport):
    assert life.read_accounting(site, [ref], transport) == []
    fake.forget(ref)
    fake.account(ref, JobState.COMPLETED)
    assert [row.exit_code for row in life.read_accounting(site, [ref], transport)] == [0]


def test_hook_find_by_key(life, fake, site, ref, transport):
    assert life.find_by_key(site, ref, transport) == KeySearch(presence=Presence.PRESENT, native_id=ref.native_id)
    assert life.find_by_key(site, replace(ref, key="OTHER"), transport).presence is Presence.ABSENT
    fake.searchable = False
    assert life.find_by_key(site, ref, transport).presence is Presence.UNKNOWN


def test_hook_cancel_jobs(life, fake, site, ref, transport):
    life.cancel_jobs(site, [ref], transport)
    assert fake.job(ref).state is JobState.CANCELED


def test_hook_cancel_tasks(life, fake, site, ref, transport):
    with pytest.raises(SchedulerError, match="cannot cancel tasks"):  # it is no array
        life.cancel_tasks(site, ref, [1], transport)
    assert fake.calls["cancel_tasks"] == 1


def test_hook_hold_job(life, fake, site, ref, transport):
    life.hold_job(site, ref, transport)
    assert fake.job(ref).state is JobState.HELD


def test_hook_release_job(life, fake, site, ref, transport):
    life.hold_job(site, ref, transport)
    life.release_job(site, ref, transport)
    assert fake.job(ref).state is JobState.QUEUED


def test_hook_requeue_job(life, fake, site, ref, transport):
    fake.set_state(ref, JobState.RUNNING)
    life.requeue_job(site, ref, transport)
    assert fake.job(ref).seen.restarts == 1
    assert fake.job(ref).state is JobState.QUEUED


def test_hook_signal_job(life, fake, site, ref, transport):
    fake.set_state(ref, JobState.RUNNING)
    life.signal_job(site, ref, "USR1", transport)
    assert fake.job(ref).signals == ["USR1"]


def test_hook_exec_in_job(life, fake, site, ref, transport):
    fake.set_state(ref, JobState.RUNNING)
    assert life.exec_in_job(site, ref, ["ls", "a b"], transport).out == "ls 'a b'\n"


def test_hook_read_output(life, fake, site, ref, transport):
    assert life.read_output(site, ref, "stdout", 0, 10, transport) is None
    fake.job(ref).output["stdout"] = b"0123456789"
    assert life.read_output(site, ref, "stdout", 2, 3, transport).data == b"234"


def test_hook_describe_site(life, site, transport):
    assert [queue.name for queue in life.describe_site(site, transport).queues] == ["main"]


def test_hook_probe_site(life, site, transport):
    assert life.probe_site(site, transport).ok


# --- exactly one scheduler answers ----------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [("fake", "other"), ("other", "fake")])
def test_only_the_scheduler_of_the_site_is_called(order, site, job, transport):
    schedulers = {name: FakeScheduler(name) for name in order}
    life = lifecycle(*schedulers.values())
    life.submit_job(site, job, transport)
    life.submit_job(replace(site, scheduler="other"), job, transport)
    life.submit_job(site, job, transport)
    assert (schedulers["fake"].calls["submit"], schedulers["other"].calls["submit"]) == (2, 1)


def test_plain_implementation_of_another_plugin_is_not_called(fake, site, job, transport):
    class Hijacker:
        @hookimpl(tryfirst=True)
        def hpcgate_submit_job(self, site, job, transport):
            return Submitted(key=job.key, native_id="stolen")

        @hookimpl(tryfirst=True)
        def hpcgate_read_output(self, site, job, stream, offset, length, transport):
            raise AssertionError("was called")

    life = lifecycle(fake, Hijacker())
    assert life.submit_job(site, job, transport).native_id == "1"
    ref = replace(job, native_id="1").ref
    assert life.read_output(site, ref, "stdout", 0, 1, transport) is None


def test_wrapper_of_another_plugin_is_called(fake, site, job, transport):
    seen = []

    class Audit:
        @hookimpl(wrapper=True)
        def hpcgate_submit_job(self, site, job):
            seen.append(("before", job.key))
            answer = yield
            seen.append(("after", answer.native_id))
            return answer

    lifecycle(Audit(), fake).submit_job(site, job, transport)
    assert seen == [("before", "KEY1"), ("after", "1")]


def test_wrapper_of_another_scheduler_is_not_called(fake, site, job, transport):
    class Meddler(FakeScheduler):
        @hookimpl(wrapper=True)
        def hpcgate_hold_job(self):
            raise AssertionError("was called")
            yield

    life = lifecycle(fake, Meddler("other"))
    ref = replace(job, native_id=life.submit_job(site, job, transport).native_id).ref
    life.hold_job(site, ref, transport)
    assert fake.job(ref).state is JobState.HELD


def test_site_whose_scheduler_is_not_there(life, site, job, transport):
    with pytest.raises(ConfigError, match="'condor' is not installed"):
        life.submit_job(replace(site, scheduler="condor"), job, transport)


# --- capabilities ---------------------------------------------------------------------------------------------------


def test_none_means_not_supported(site, job, transport):
    life = lifecycle(FakeScheduler(capabilities=frozenset()))
    ref = replace(job, native_id=life.submit_job(site, job, transport).native_id).ref
    with pytest.raises(NotSupported, match="site 'here' cannot hold job: its scheduler 'fake'"):
        life.hold_job(site, ref, transport)
    with pytest.raises(NotSupported):
        life.exec_in_job(site, ref, ["ls"], transport)
    with pytest.raises(NotSupported):
        life.describe_site(site, transport)
    assert life.read_accounting(site, [ref], transport) is None


def test_false_means_not_taken(site, job, transport):
    class Refuses(FakeScheduler):
        def hpcgate_cancel_jobs(self, site, jobs, transport):
            return False

    with pytest.raises(SchedulerError, match="site 'here' did not take the request to cancel jobs"):
        lifecycle(Refuses()).cancel_jobs(site, [job.ref], transport)


# --- errors ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error", [SchedulerError("busy"), CommandTimeout("slow"), JobRejected("no"), NotSupported("no")]
)
def test_errors_on_purpose_pass_unchanged(life, fake, site, job, transport, error):
    fake.fail_next("submit", error)
    with pytest.raises(type(error)) as caught:
        life.submit_job(site, job, transport)
    assert caught.value is error


def test_other_exceptions_name_plugin_and_version(life, fake, site, transport):
    bug = KeyError("JobState")
    fake.fail_next("poll", bug)
    with pytest.raises(
        PluginError, match=r"plugin 'fake' 1\.0: hpcgate_poll_jobs raised KeyError: 'JobState'"
    ) as caught:
        life.poll_jobs(site, [], transport)
    assert caught.value.__cause__ is bug


@pytest.mark.parametrize("when", ["before", "after"])
def test_blame_falls_on_the_wrapper_that_raised(fake, site, transport, when):
    class Clumsy:
        @hookimpl(wrapper=True)
        def hpcgate_poll_jobs(self):
            if when == "before":
                raise RuntimeError("clumsy")
            yield
            raise RuntimeError("clumsy")

    host = PluginHost.load(extra=[("fake", fake), ("clumsy", Clumsy())], environ={"HPCGATE_LOAD_PLUGINS": ""})
    with pytest.raises(PluginError, match="plugin 'clumsy' unknown: hpcgate_poll_jobs raised RuntimeError"):
        Lifecycle(host).poll_jobs(site, [], transport)


def test_blame_falls_on_the_scheduler_inside_an_innocent_wrapper(fake, site, transport):
    class Innocent:
        @hookimpl(wrapper=True)
        def hpcgate_poll_jobs(self):
            return (yield)

    life = lifecycle(fake, Innocent())
    fake.fail_next("poll", RuntimeError("mine"))
    with pytest.raises(PluginError, match="plugin 'fake'"):
        life.poll_jobs(site, [], transport)


ANSWERS = {
    "hpcgate_poll_jobs": ({}, lambda life, site, job, t: life.poll_jobs(site, [], t), "dict, not Listing"),
    "hpcgate_submit_job": ("17", lambda life, site, job, t: life.submit_job(site, job, t), "str, not Submitted"),
    "hpcgate_find_by_key": (True, lambda life, site, job, t: life.find_by_key(site, job.ref, t), "bool, not KeySearch"),
    "hpcgate_read_accounting": (
        [1],
        lambda life, site, job, t: life.read_accounting(site, [], t),
        "int, not Observation",
    ),
    "hpcgate_render_script": ("x", lambda life, site, job, t: life.render_script(site, job), "str, not RenderedScript"),
}


@pytest.mark.parametrize("hook", ANSWERS)
def test_answer_of_the_wrong_type_is_a_plugin_error(hook, site, job, transport):
    answer, call, message = ANSWERS[hook]
    arguments = {"hpcgate_render_script": "site, job", "hpcgate_submit_job": "site, job, transport"}
    arguments = arguments.get(hook, "site, job, transport" if "find" in hook else "site, jobs, transport")
    method = eval(f"lambda self, {arguments}: answer", {"answer": answer})
    life = lifecycle(type("Wrong", (FakeScheduler,), {hook: method})())
    with pytest.raises(PluginError, match=f"plugin 'fake' 1.0: {hook} answered with {message}"):
        call(life, site, job, transport)


def test_empty_native_id_is_a_plugin_error(site, job, transport):
    class Empty(FakeScheduler):
        def hpcgate_submit_job(self, site, job, transport):
            return Submitted(key=job.key, native_id="")

    with pytest.raises(PluginError, match="without a native id"):
        lifecycle(Empty()).submit_job(site, job, transport)


# --- a submit is never lost -----------------------------------------------------------------------------------------


class RaisesAfter:
    def __init__(self, error):
        self.error = error

    @hookimpl(wrapper=True, trylast=True)
    def hpcgate_submit_job(self):
        yield
        raise self.error

    @hookimpl(wrapper=True, trylast=True)
    def hpcgate_submit_jobs(self):
        yield
        raise self.error


@pytest.mark.parametrize("error", [RuntimeError("audit log is full"), JobRejected("too late")])
def test_wrapper_that_raises_after_a_submit_does_not_lose_the_native_id(fake, site, job, transport, caplog, error):
    life = lifecycle(fake, RaisesAfter(error))
    assert life.submit_job(site, job, transport).native_id == "1"
    assert "failed after job KEY1 had been submitted" in caplog.text
    assert str(error) in caplog.text


def test_wrapper_that_raises_after_a_bulk_submit_loses_nothing(fake, site, make_job, transport):
    life = lifecycle(fake, RaisesAfter(RuntimeError("full")))
    fake.fail_next("submit", JobRejected("no"))
    answers = life.submit_jobs(site, [make_job(1), make_job(2)], transport)
    assert [type(answer) for answer in answers] == [SubmitFailed, Submitted]


def test_wrapper_that_swallows_the_answer_loses_nothing(fake, site, job, transport):
    class Swallows:
        @hookimpl(wrapper=True)
        def hpcgate_submit_job(self):
            yield

    assert lifecycle(fake, Swallows()).submit_job(site, job, transport).native_id == "1"


def test_wrapper_may_refuse_before_the_submit(fake, site, job, transport):
    class Policy:
        @hookimpl(wrapper=True)
        def hpcgate_submit_job(self):
            raise JobRejected("closed")
            yield

    life = lifecycle(fake, Policy())
    with pytest.raises(JobRejected, match="closed"):
        life.submit_job(site, job, transport)
    assert not fake.jobs


def test_answers_of_an_earlier_submit_are_not_taken_for_a_later_one(life, fake, site, make_job, transport):
    life.submit_job(site, make_job(1), transport)
    fake.fail_next("submit", CommandTimeout("slow"))
    with pytest.raises(CommandTimeout):
        life.submit_job(site, make_job(2), transport)


def test_bulk_submit_that_stumbles_half_way_keeps_the_first_half(site, make_job, transport):
    class Stumbles(FakeScheduler):
        def hpcgate_submit_jobs(self, site, jobs, transport):
            for job in jobs:
                if job.key == "KEY2":
                    raise KeyError("stumbled")
                yield self.hpcgate_submit_job(site, job, transport)

    first, second, third = lifecycle(Stumbles()).submit_jobs(site, [make_job(n) for n in (1, 2, 3)], transport)
    assert isinstance(first, Submitted)
    assert second.ambiguous
    assert third.ambiguous


def test_bulk_answers_come_in_the_order_of_the_jobs_and_none_is_missing(site, make_job, transport):
    class Sloppy(FakeScheduler):
        def hpcgate_submit_jobs(self, site, jobs, transport):
            return [self.hpcgate_submit_job(site, job, transport) for job in reversed(jobs[:2])]

    answers = lifecycle(Sloppy()).submit_jobs(site, [make_job(n) for n in (1, 2, 3)], transport)
    assert [answer.key for answer in answers] == ["KEY1", "KEY2", "KEY3"]
    assert [getattr(answer, "ambiguous", None) for answer in answers] == [None, None, True]


# --- broadcasts -----------------------------------------------------------------------------------------------------


class Listener:
    def __init__(self, error=None):
        self.heard, self.error = [], error

    def _hear(self, *what):
        self.heard.append(what)
        if self.error:
            raise self.error

    @hookimpl
    def hpcgate_job_accepting(self, principal, site, spec):
        self._hear("accepting", principal.name, site, spec.command)

    @hookimpl
    def hpcgate_job_state_changed(self, job, event):
        self._hear("changed", job.id, event.seq)

    @hookimpl
    def hpcgate_gateway_started(self, sites):
        self._hear("started", len(sites))

    @hookimpl
    def hpcgate_gateway_stopping(self):
        self._hear("stopping")


BROADCASTS = {
    "job_accepting": (
        lambda life, site, job: life.job_accepting(ANN, None, job.spec),
        ("accepting", "ann", None, "true"),
    ),
    "job_state_changed": (lambda life, site, job: life.job_state_changed(job, EVENT), ("changed", 1, 1)),
    "gateway_started": (lambda life, site, job: life.gateway_started([site]), ("started", 1)),
    "gateway_stopping": (lambda life, site, job: life.gateway_stopping(), ("stopping",)),
}


def _everybody_hears(hook, site, job, caplog):
    listeners = [Listener(), Listener(RuntimeError("deaf")), Listener()]
    call, heard = BROADCASTS[hook]
    call(lifecycle(*listeners), site, job)
    assert [listener.heard for listener in listeners] == [[heard]] * 3
    assert f"hpcgate_{hook} of plugin 'plugin1' unknown failed" in caplog.text
    assert "RuntimeError: deaf" in caplog.text


def test_hook_job_accepting(site, job, caplog):
    _everybody_hears("job_accepting", site, job, caplog)


def test_hook_job_state_changed(site, job, caplog):
    _everybody_hears("job_state_changed", site, job, caplog)


def test_hook_gateway_started(site, job, caplog):
    _everybody_hears("gateway_started", site, job, caplog)


def test_hook_gateway_stopping(site, job, caplog):
    _everybody_hears("gateway_stopping", site, job, caplog)


def test_job_accepting_lets_a_rejection_through(site, job):
    with pytest.raises(JobRejected, match="quota"):
        lifecycle(Listener(), Listener(JobRejected("quota")), Listener(ValueError())).job_accepting(ANN, site, job.spec)


def test_broadcast_wrapper_that_raises_reaches_nobody(site):
    class Wrapper:
        @hookimpl(wrapper=True, tryfirst=True)
        def hpcgate_gateway_started(self):
            raise RuntimeError("first of all")
            yield

    listener = Listener()
    lifecycle(listener, Wrapper()).gateway_started([site])
    assert listener.heard == [("started", 1)]


def test_listing_type_is_what_poll_returns(life, site, transport):
    assert isinstance(life.poll_jobs(site, [], transport), Listing)
