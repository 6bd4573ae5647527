"""Plugins that listen: told after the commit, in order, and unable to harm."""

from __future__ import annotations

import pytest
from support import ANN, eventually

from hpcgate.config import config_from
from hpcgate.errors import JobRejected
from hpcgate.gateway import open_gateway
from hpcgate.hookspecs import hookimpl
from hpcgate.model.query import JobFilter
from hpcgate.model.spec import JobSpec
from hpcgate.model.state import JobState
from hpcgate.service.admission import JobRequest

TRUE = JobRequest(spec=JobSpec(command="true"))


class Listener:
    def __init__(self):
        self.heard = []
        self.refuse = None
        self.broken = False

    @hookimpl
    def hpcgate_job_accepting(self, principal, site, spec):
        if self.refuse:
            raise JobRejected(self.refuse)

    @hookimpl
    def hpcgate_job_state_changed(self, job, event):
        self.heard.append((job.id, event.seq, event.type, event.data.get("new")))
        if self.broken:
            raise ZeroDivisionError


@pytest.fixture
def listener():
    return Listener()


@pytest.fixture
def heard_gateway(tmp_path, fake, listener):
    sites = {"fake": {"scheduler": "fake", "work_root": str(tmp_path), "poll": {"min_s": 0.01, "max_s": 0.05}}}
    config = config_from({"sites": sites}, home=tmp_path / "home")
    with open_gateway(config, plugins=[("fake", fake), ("listener", listener)]) as gateway:
        yield gateway


def test_every_change_is_told_once_and_in_order(heard_gateway, fake, listener):
    worker = heard_gateway.worker()
    job = heard_gateway.jobs.submit(ANN, TRUE).job
    fake.set_state(job, JobState.COMPLETED)
    eventually(lambda: worker.step() or heard_gateway.jobs.get(ANN, job.id).state.final)
    worker.step()
    changes = [(kind, new) for _, _, kind, new in listener.heard]
    assert changes == [
        ("job.created", None),
        ("job.state", "SUBMITTING"),
        ("job.state", "QUEUED"),
        ("job.state", "RUNNING"),
        ("job.state", "COMPLETED"),
    ]
    assert heard_gateway.store.outbox.depth() == 0


def test_a_listener_that_raises_loses_nothing(heard_gateway, fake, listener, caplog):
    listener.broken = True
    worker = heard_gateway.worker()
    jobs = [heard_gateway.jobs.submit(ANN, TRUE).job for _ in range(3)]
    worker.step()
    assert {job_id for job_id, *_ in listener.heard} == {job.id for job in jobs}
    assert "ZeroDivisionError" in caplog.text


def test_a_plugin_may_refuse_a_job_before_it_is_stored(heard_gateway, fake, listener):
    listener.refuse = "not on a Sunday"
    with pytest.raises(JobRejected, match="not on a Sunday"):
        heard_gateway.jobs.submit(ANN, TRUE)
    assert heard_gateway.jobs.count(ANN, JobFilter()) == 0
    assert not heard_gateway.jobs.validate(ANN, TRUE).valid
