"""What the gateway cannot see of a live Slurm, or sees in the wrong place, makes no job LOST or another one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from live.slurm_gateway import WAIT, AsUser, configured, go, history, reached, submit, wait_for_polls
from live.worker import running
from support import ANN, ROOT, eventually

from hpcgate.model.move import JobDraft
from hpcgate.model.spec import JobSpec
from hpcgate.model.state import Evidence, JobState

pytestmark = [pytest.mark.live, pytest.mark.timeout(240)]


def test_jobs_of_others_are_hidden(cluster, user, account, tmp_path):
    """With ``PrivateData=jobs`` an account that is no operator sees its own jobs alone."""
    cluster.add_user(account.name)
    config = configured(tmp_path, f"{account.home}/private", event_spool=None)
    plugin = AsUser(cluster, user)
    with cluster.changed(PrivateData="jobs"):
        with running(config, plugin) as gateway:
            job = _submit_as(gateway, account.name)
            assert cluster.run("squeue", "-h", user=user.pw_name).stdout == ""
            assert not gateway.site_service.check(ROOT, "kit").sees_all_jobs
            reached(gateway, job, JobState.RUNNING)  # asked as its own account
        plugin.closed = True
        with running(config, plugin) as gateway:
            go(job)
            eventually(Path(job.folder, "exit.1").exists, 30)
            wait_for_polls(gateway, 4)
            assert gateway.jobs.get(ANN, job.id).state is JobState.RUNNING, "nobody could tell"
        _set_rights(cluster, user.pw_name, "operator")
        try:
            with running(config, plugin) as gateway:
                assert reached(gateway, job).state is JobState.COMPLETED, "an operator sees everybody's"
                told = history(gateway, job)
        finally:
            _set_rights(cluster, user.pw_name, "none")
        assert told == ["SUBMITTING", "QUEUED", "RUNNING", "COMPLETED"]
    cluster.clear()


def _submit_as(gateway, account):
    """A job that runs as another account than the one that polls."""
    folder = f"{gateway.sites['kit'].work_root}/job"
    spec = JobSpec(script=f"#!/bin/sh\n{WAIT}")
    draft = JobDraft(key="01" + "0" * 24, owner="ann", site="kit", spec=spec, folder=folder, account=account)
    (job,) = gateway.store.jobs.add([draft], actor="ann").jobs
    return reached(gateway, job, JobState.QUEUED)


def _set_rights(cluster, name, level):
    cluster.run("sacctmgr", "-i", "modify", "user", "where", f"name={name}", "set", f"adminlevel={level}", check=True)


def test_an_id_that_a_stranger_was_given(cluster, user, tmp_path):
    """A controller that lost its state begins anew with its ids, while the gateway is away."""
    config, plugin = configured(tmp_path, f"{user.pw_dir}/reuse"), AsUser(cluster, user)
    with running(config, plugin) as gateway:
        job = submit(gateway, WAIT)
        reached(gateway, job, JobState.RUNNING)
    go(job)
    record = Path(job.folder, "exit.1")
    eventually(record.exists, 30)
    record.unlink()  # so that accounting alone can tell
    columns = ("-nPX", "-j", job.native_id, "-o", "State,SubmitLine")
    eventually(lambda: re.match(rf"COMPLETED.*{job.key}", cluster.run("sacct", *columns).stdout), 30)
    cluster.forget_all_jobs()
    strangers = []
    while job.native_id not in strangers:
        command = [
            "sbatch",
            "--parsable",
            "--comment=hpcgate:another",
            "--output=/dev/null",
            "--chdir=/",
            "--wrap=sleep 9",
        ]
        strangers.append(cluster.run(*command, check=True, user=user.pw_name).stdout.strip())
        assert len(strangers) < 1000
    with running(config, plugin) as gateway:
        ended = reached(gateway, job)
        assert (ended.state, ended.evidence) == (JobState.COMPLETED, Evidence.ACCOUNTING)
        assert history(gateway, job) == ["SUBMITTING", "QUEUED", "RUNNING", "COMPLETED"]
    cluster.clear()
