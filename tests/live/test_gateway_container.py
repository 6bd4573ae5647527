"""A whole gateway with a container host over ssh: what it sees, and what happens while it is away."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from live.podman_host import IMAGE
from live.worker import running
from support import ANN, ROOT, eventually

from hpcgate.config import config_from
from hpcgate.gateway import open_gateway
from hpcgate.model.spec import JobSpec, Resources
from hpcgate.model.state import FINAL, JobState, Reason
from hpcgate.service.admission import JobRequest

pytestmark = pytest.mark.live

_WAITS = "#!/bin/sh\necho once >>ran\nwhile [ ! -e go ]; do sleep 0.1; done\n"


@pytest.fixture
def config(podman, sshd, account, tmp_path):
    site = {
        "scheduler": "container",
        "transport": "ssh",
        "work_root": "~/gateway containers",
        "poll": {"min_s": 0.5, "max_s": 5, "spool_s": 0.5},
        "settings": {"engine_command": list(podman.command), "image": IMAGE, "kill_grace_s": 1},
        "ssh": sshd.table(account),
    }
    return config_from({"sites": {"box": site}, "limits": {"lost_grace_s": 3}}, home=tmp_path)


def submit(gateway, **spec):
    return gateway.jobs.submit(ANN, JobRequest(spec=JobSpec(**spec))).job


def ended(gateway, job, timeout_s=30):
    def final():
        found = gateway.jobs.get(ANN, job.id)
        return found if found.state in FINAL else None

    return eventually(final, timeout_s)


def test_an_end_is_seen_within_two_seconds_by_the_event_spool(config):
    config = _slow_poll(config)
    with running(config) as gateway:
        job = submit(gateway, script="#!/bin/sh\nsleep 1\nexit 3\n", secret_environment={"TOKEN": "x"})
        seen = ended(gateway, job)
        assert (seen.state, seen.reason, seen.exit_code) == (JobState.FAILED, Reason.EXIT_NONZERO, 3)
        assert time.time() - (seen.ended_at or 0) < 2
        assert gateway.site_service.check(ROOT, "box").ok


def _slow_poll(config):
    table = config.sites["box"]
    return replace(config, sites={"box": replace(table, poll=replace(table.poll, min_s=20.0, max_s=60.0))})


def test_walltime_and_end_while_no_gateway_runs(config):
    with open_gateway(config) as gateway:  # no worker
        late = submit(gateway, script="#!/bin/sh\nexec sleep 600\n", resources=Resources(walltime_s=1))
        good = submit(gateway, script="#!/bin/sh\necho fine\n")
    time.sleep(2.5)  # the walltime itself
    with running(config) as gateway:
        seen = ended(gateway, late)
        assert (seen.state, seen.reason) == (JobState.FAILED, Reason.TIMEOUT)
        assert ended(gateway, good).state is JobState.COMPLETED
        assert gateway.jobs.output(ANN, good.id, "stdout").data == b"fine\n"


def test_a_container_that_is_removed_is_lost_only_after_the_grace(config, podman):
    with running(config) as gateway:
        job = submit(gateway, script=_WAITS)
        eventually(lambda: gateway.jobs.get(ANN, job.id).state is JobState.RUNNING)
        begun = time.time()
        podman.run("rm", "--force", "--time=0", f"hpcgate-{job.key}")
        seen = ended(gateway, job)
        assert (seen.state, seen.reason) == (JobState.FAILED, Reason.LOST)
        assert time.time() - begun >= 3


def test_a_container_that_is_removed_after_its_end_has_left_its_record(config, podman):
    with open_gateway(config) as gateway:
        job = submit(gateway, script="#!/bin/sh\nexit 4\n")
        eventually(lambda: "exited" in podman.run("inspect", "--format={{.State.Status}}", f"hpcgate-{job.key}"))
    podman.run("rm", f"hpcgate-{job.key}")
    with running(config) as gateway:
        seen = ended(gateway, job)
        assert (seen.state, seen.reason, seen.exit_code) == (JobState.FAILED, Reason.EXIT_NONZERO, 4)


def test_an_engine_that_is_away_fails_no_job(config, podman):
    with running(config) as gateway:
        job = submit(gateway, script=_WAITS)
        eventually(lambda: gateway.jobs.get(ANN, job.id).state is JobState.RUNNING)
        with podman.unreachable():
            eventually(lambda: not gateway.status()["sites"]["box"]["ok"])
            meanwhile = gateway.jobs.submit(ANN, JobRequest(spec=JobSpec(command="true")))
            assert not meanwhile.accepted
            assert gateway.jobs.get(ANN, job.id).state is JobState.RUNNING
        assert ended(gateway, meanwhile.job).state is JobState.COMPLETED
        gateway.jobs.cancel(ANN, [job.id])
        assert ended(gateway, job).state is JobState.CANCELED
