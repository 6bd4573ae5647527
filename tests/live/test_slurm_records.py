"""Jobs on a live Slurm leave records, without any client that reports them."""

from __future__ import annotations

import pytest
from live.slurm_gateway import WAIT, AsUser, configured, go, reached, submit
from live.worker import running
from support import ANN, ROOT, eventually

from hpcgate.model.record import RecordFilter, RecordState
from hpcgate.model.spec import ArraySpec
from hpcgate.model.state import JobState

pytestmark = [pytest.mark.live, pytest.mark.timeout(240)]


def test_jobs_appear_as_running_and_as_stopped_records(cluster, user, tmp_path):
    config = configured(tmp_path, f"{user.pw_dir}/records", cluster="torus")
    with running(config, AsUser(cluster, user)) as gateway:

        def recorded(job, *states):
            """The records of a job, once they are in these states."""
            found = gateway.records.list(ANN, RecordFilter(job_id=job.id), limit=10, details=True).items
            return found if sorted(each.state for each in found) == sorted(states) else None

        job = submit(gateway, WAIT, name="wave")
        array = submit(gateway, "exit $SLURM_ARRAY_TASK_ID", array=ArraySpec(start=0, stop=1))
        now = reached(gateway, job, JobState.RUNNING)
        (begun,) = eventually(lambda: recorded(job, "running"))
        assert (begun.number, begun.name, begun.cluster, begun.user) == (int(now.native_id), "wave", "torus", "ann")
        assert tuple(each.hostname for each in begun.resources) == now.nodes != ()
        assert {*now.nodes} <= {*gateway.records.used_nodes(ROOT, begun.started_at + 1)["torus"]}
        go(job)
        reached(gateway, job)
        (stopped,) = eventually(lambda: recorded(job, "completed"))
        assert stopped.id == begun.id

        def agree():
            """Accounting may correct both times later."""
            ended, (record,) = gateway.jobs.get(ANN, job.id), recorded(job, "completed")
            return (record.started_at, record.ended_at) == (int(ended.started_at), int(ended.ended_at))

        eventually(agree)
        reached(gateway, array)
        elements = eventually(lambda: recorded(array, "completed", "failed"))
        assert {each.array_index: each.state for each in elements} == {0: RecordState.COMPLETED, 1: RecordState.FAILED}
        assert len({each.number for each in elements} | {each.array_number for each in elements}) == 1
    cluster.clear()
