"""A whole gateway with a site over ssh: jobs, output, events, and a host that goes away for a while."""

from __future__ import annotations

import time

import pytest
from live.sshd import new_sshd
from live.worker import running
from support import ANN, ROOT, eventually

from hpcgate.config import config_from
from hpcgate.errors import ConfigError
from hpcgate.gateway import open_gateway
from hpcgate.model.spec import JobSpec
from hpcgate.model.state import FINAL, JobState
from hpcgate.service.admission import JobRequest

pytestmark = pytest.mark.live


@pytest.fixture
def server(account):
    with new_sshd() as server:
        yield server


@pytest.fixture
def config(server, account, tmp_path):
    site = {
        "scheduler": "local",
        "transport": "ssh",
        "work_root": "~/gateway jobs",
        "poll": {"min_s": 0.2, "max_s": 60, "spool_s": 0.5},
        "settings": {"linger_s": 0},
        "ssh": server.table(account, connect_timeout_s=2),
    }
    return config_from({"sites": {"there": site}}, home=tmp_path)


def test_a_job_there(config, account, server):
    with running(config) as gateway:
        script = "#!/bin/sh\nid -un\necho $WORD\ncat input\nexit 3\n"
        spec = JobSpec(script=script, secret_environment={"WORD": "it's a secret"})
        job = gateway.jobs.submit(ANN, JobRequest(spec=spec)).job
        ended = eventually(lambda: _final(gateway, job.id))
        assert (ended.state, ended.exit_code) == (JobState.FAILED, 3)
        assert gateway.jobs.output(ANN, job.id, "stdout").data.decode() == f"{account.name}\nit's a secret\n"
        assert gateway.site_service.check(ROOT, "there").ok
        gateway.jobs.delete(ANN, job.id)
        assert len(server.connections()) == 1, "everything shares one"
    eventually(lambda: not server.connections())


def test_an_end_is_seen_within_two_seconds(config):
    with running(config) as gateway:
        job = gateway.jobs.submit(ANN, JobRequest(spec=JobSpec(script="#!/bin/sh\nsleep 1.5\n"))).job
        ended = eventually(lambda: _final(gateway, job.id))
        assert ended.state is JobState.COMPLETED
        assert time.time() - (ended.ended_at or 0) < 2


def test_a_host_that_goes_away_fails_no_job(config, server):
    with running(config) as gateway:
        script = "#!/bin/sh\nwhile [ ! -e go ]; do sleep 0.1; done\n"
        job = gateway.jobs.submit(ANN, JobRequest(spec=JobSpec(script=script))).job
        eventually(lambda: gateway.jobs.get(ANN, job.id).state is JobState.RUNNING)
        server.stop()
        # A question that was under way breaks first; those after it reach nobody.
        eventually(lambda: "cannot be reached" in (gateway.status()["sites"]["there"]["error"] or ""), 60)
        meanwhile = gateway.jobs.submit(ANN, JobRequest(spec=JobSpec(command="true")))
        assert not meanwhile.accepted
        assert gateway.jobs.get(ANN, job.id).state is JobState.RUNNING
        server.start()
        assert eventually(lambda: _final(gateway, meanwhile.job.id), 60).state is JobState.COMPLETED
        gateway.jobs.cancel(ANN, [job.id])
        assert eventually(lambda: _final(gateway, job.id), 60).state is JobState.CANCELED
        states = [event.data["new"] for event in gateway.jobs.events(ANN, job.id) if event.type == "job.state"]
        assert "FAILED" not in states


def test_a_wrong_key_is_told(config, server):
    server.write("authorized_keys", "")
    with open_gateway(config) as gateway:
        (check,) = gateway.site_service.check(ROOT, "there").checks
    assert not check.ok
    assert "the host refused the account or its key" in check.detail


def test_a_table_that_is_wrong(tmp_path):
    site = {"scheduler": "local", "transport": "ssh", "ssh": {"host": "-oProxyCommand=x", "port": 0, "max_channels": 0}}
    with pytest.raises(ConfigError, match=r"\[sites.there.ssh\] port: 0 .* max_channels: 0 .* host: '-oProxy"):
        config_from({"sites": {"there": site}}, home=tmp_path)


def _final(gateway, job_id):
    job = gateway.jobs.get(ANN, job_id)
    return job if job.state in FINAL else None
