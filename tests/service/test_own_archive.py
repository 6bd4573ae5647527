"""From an own job to its file, by the parts of a worker."""

from __future__ import annotations

import json

import pytest
from support import ANN

from hpcgate.model.job import Usage
from hpcgate.model.move import Move
from hpcgate.model.spec import JobSpec
from hpcgate.model.state import JobState, Reason
from hpcgate.service.admission import JobRequest

S = JobState


@pytest.fixture
def archiving(make_gateway, tmp_path):
    return make_gateway(
        records={"archive": str(tmp_path / "archive")}, clusters={"fake": {"subclusters": {"main": "n[1-9]"}}}
    )


@pytest.fixture
def work(archiving):
    """Does what a worker does when it is woken."""

    def once():
        duties = {duty.name: duty for duty in archiving._duties()}
        for name in ("records", "archive"):
            duties[name].round()
            duties[name].lease.give_up()
        duties["webhooks"]._part.close()

    return once


def test_an_own_job_is_archived_with_what_it_used_and_again_when_that_is_told_later(archiving, work, tmp_path):
    store = archiving.store
    job = archiving.jobs.submit(ANN, JobRequest(spec=JobSpec(command="true", name="wave"), site="fake")).job

    def goto(new, **changes):
        now = store.jobs.get(job.id)
        via = (new,) if new is not now.state else ()
        move = Move(job_id=job.id, old=now.state, attempt=1, new=new, via=via, changes=changes)
        assert store.jobs.move([move]) == [True]
        work()

    goto(S.RUNNING, started_at=1_700_000_000.5, nodes=("n7",), native_id="4711.server")
    assert not (tmp_path / "archive").exists()
    goto(S.FAILED, reason=Reason.TIMEOUT, ended_at=1_700_000_100.0, usage=Usage(cpu_time_s=150.0))

    path = tmp_path / "archive/fake/4/711/1700000000/meta.json"
    meta = json.loads(path.read_text())
    assert (meta["user"], meta["subCluster"], meta["jobState"], meta["duration"]) == ("ann", "main", "timeout", 100)
    assert meta["statistics"] == {"cpu_used": {"unit": {"base": "cores"}, "avg": 1.5, "min": 1.5, "max": 1.5}}
    assert meta["hpcgate"] == {"name": "wave", "attempt": 1, "source": "gateway", "site": "fake"}
    assert [record.monitoring for record in store.archiving.after(0, 9)] == [3]

    def told(**changes):
        move = Move(job_id=job.id, old=S.FAILED, attempt=1, new=S.FAILED, changes=changes, event="job.usage")
        assert store.jobs.move([move]) == [True]
        work()

    told(usage=Usage(cpu_time_s=150.0, max_rss_kib=2_000_000))
    assert json.loads(path.read_text())["statistics"]["mem_used"]["avg"] == 2.048

    # Accounting knows better when it began: there is one file still, at its right place.
    told(started_at=1_700_000_050.0)
    assert not path.parent.exists()
    path = tmp_path / "archive/fake/4/711/1700000050/meta.json"
    assert json.loads(path.read_text())["duration"] == 50

    # The record goes: the file stays.
    assert store.records.delete([1]) == 1
    work()
    assert path.exists()
