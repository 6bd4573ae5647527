"""The records of the gateway's own jobs follow what becomes of the jobs, however late that is looked at."""

from dataclasses import replace

import pytest
from support import ANN, ROOT

from hpcgate.model.job import TaskObservation, Usage
from hpcgate.model.move import Move
from hpcgate.model.principal import Principal, Role
from hpcgate.model.record import Record, RecordFilter, RecordState, Resource, Source
from hpcgate.model.spec import ArraySpec, JobSpec, Resources
from hpcgate.model.state import JobState, Reason
from hpcgate.service.admission import JobRequest
from hpcgate.service.run_records import number_of

S = JobState
CC = Principal(name="cc", roles=frozenset({Role.API}))


@pytest.fixture
def submit(gateway):
    def one(**fields):
        resources = Resources(nodes=2, cpus_per_node=4, gpus_per_node=1, walltime_s=600)
        spec = JobSpec(**{"command": "true", "name": "wave", "resources": resources, **fields})
        return gateway.jobs.submit(ANN, JobRequest(spec=spec, site="fake")).job

    return one


@pytest.fixture
def goto(gateway):
    def move(job, new, *, via=(), new_attempt=None, tasks=(), **changes):
        now = gateway.store.jobs.get(job.id)
        done = Move(
            job_id=job.id,
            old=now.state,
            attempt=now.attempt,
            new=new,
            via=via or ((new,) if new is not now.state else ()),
            new_attempt=new_attempt,
            tasks=tasks,
            changes=changes,
        )
        assert gateway.store.jobs.move([done]) == [True]
        return gateway.store.jobs.get(job.id)

    return move


@pytest.fixture
def records(gateway):
    """All records, the first one first, once the recorder has seen everything."""

    def read(filter_=RecordFilter()):  # noqa: B008
        gateway.recorder.catch_up()
        assert not gateway.recorder.pending()
        page = gateway.records.list(ROOT, filter_, limit=100, details=True)
        return sorted(page.items, key=lambda each: each.id)

    return read


def test_a_run_is_recorded_with_its_start_its_end_and_what_it_used(gateway, submit, goto, records):
    job = submit()
    assert records() == []  # what waits has no record
    goto(job, S.RUNNING, started_at=1000.7, nodes=("n1", "n2"), native_id="4711.server")
    (running,) = records()
    assert running == Record(
        id=1,
        number=4711,
        job_id=job.id,
        name="wave",
        user="ann",
        cluster="fake",
        site="fake",
        sharing=running.sharing,
        submitted_at=running.submitted_at,
        started_at=1000,
        walltime_s=600,
        num_nodes=2,
        num_hwthreads=8,
        num_accelerators=2,
        resources=(Resource(hostname="n1"), Resource(hostname="n2")),
        source=Source.GATEWAY,
        metadata={"jobName": "wave"},
    )
    assert gateway.records.used_nodes(ROOT, 2000) == {"fake": ["n1", "n2"]}
    goto(job, S.COMPLETED, ended_at=1060.2, usage=Usage(cpu_time_s=120.0, max_rss_kib=2_000_000))
    (done,) = records()
    assert (done.state, done.duration_s, done.monitoring) == (RecordState.COMPLETED, 60, 3)
    assert done.statistics == {
        "cpu_used": {"unit": "cores", "avg": 2.0, "min": 2.0, "max": 2.0},
        "mem_used": {"unit": "GB", "avg": 2.048, "min": 2.048, "max": 2.048},
    }
    assert gateway.records.used_nodes(ROOT, 2000) == {}


@pytest.mark.parametrize(
    ("new", "reason", "state"),
    [
        (S.COMPLETED, None, "completed"),
        (S.FAILED, Reason.EXIT_NONZERO, "failed"),
        (S.FAILED, Reason.TIMEOUT, "timeout"),
        (S.FAILED, Reason.OUT_OF_MEMORY, "out_of_memory"),
        (S.FAILED, Reason.NODE_FAIL, "node_fail"),
        (S.FAILED, Reason.BOOT_FAIL, "boot_fail"),
        (S.FAILED, Reason.DEADLINE, "deadline"),
        (S.FAILED, Reason.PREEMPTED, "preempted"),
        (S.CANCELED, Reason.CANCELED_BY_USER, "cancelled"),
    ],
)
def test_how_it_ended_is_said_in_the_words_of_accounting(submit, goto, records, new, reason, state):
    job = submit()
    goto(job, S.RUNNING, started_at=1000.0)
    goto(job, new, ended_at=1010.0, reason=reason)
    assert [each.state for each in records()] == [state]


def test_what_was_not_seen_to_run_is_recorded_at_once_and_what_never_ran_not_at_all(submit, goto, records):
    short, refused = submit(), submit()
    goto(short, S.COMPLETED, via=(S.RUNNING, S.COMPLETED), started_at=1000.0, ended_at=1001.0)
    goto(refused, S.CANCELED, reason=Reason.CANCELED_BY_USER, ended_at=1001.0)
    (only,) = records()
    assert (only.job_id, only.state, only.duration_s) == (short.id, "completed", 1)


def test_each_attempt_has_a_record_and_looking_again_changes_nothing(gateway, submit, goto, records):
    job = submit()
    goto(job, S.RUNNING, started_at=1000.0, nodes=("n1",), native_id="7")
    goto(job, S.QUEUED, new_attempt=2)
    goto(job, S.RUNNING, started_at=1100.0, nodes=("n2",), native_id="7")
    goto(job, S.SUSPENDED)
    first, second = records()
    assert (first.attempt, first.state, first.started_at) == (1, "stopped", 1000)
    assert first.resources == (Resource(hostname="n1"),)
    assert (second.attempt, second.state, second.started_at) == (2, "suspended", 1100)
    gateway.recorder.settle([job.id, job.id])
    assert records() == [first, second]


def test_what_is_told_after_the_end_and_what_is_corrected_reaches_the_record(submit, goto, records, gateway):
    job = submit()
    goto(job, S.RUNNING, started_at=1000.0)
    goto(job, S.FAILED, reason=Reason.LOST, ended_at=1500.0)
    assert [(each.state, each.statistics) for each in records()] == [("failed", None)]
    now = gateway.store.jobs.get(job.id)
    late = Move(
        job_id=job.id,
        old=now.state,
        attempt=1,
        new=S.COMPLETED,
        changes={
            "reason": None,
            "started_at": 990.0,
            "ended_at": 1400.0,
            "nodes": ("n9",),
            "usage": Usage(cpu_time_s=41.0),
        },
        corrected=True,
    )
    assert gateway.store.jobs.move([late]) == [True]
    (told,) = records()
    assert (told.state, told.started_at, told.duration_s) == ("completed", 990, 410)
    assert told.statistics["cpu_used"]["avg"] == 0.1
    assert records(RecordFilter(node="n9", started_to=990)) == [told]


def test_a_record_keeps_its_nodes_where_the_end_names_fewer(submit, goto, records):
    job = submit()
    goto(job, S.RUNNING, started_at=1000.0, nodes=("n1", "n2"))
    assert records()[0].num_nodes == 2
    goto(job, S.COMPLETED, ended_at=1001.0, nodes=("n1.example.org",))
    (done,) = records()
    assert (done.num_nodes, [each.hostname for each in done.resources]) == (2, ["n1", "n2"])


def test_of_an_array_each_element_has_a_record(submit, goto, records):
    job = submit(array=ArraySpec(start=0, stop=2))
    seen = [
        TaskObservation(index=0, state=S.COMPLETED, started_at=10.0, ended_at=20.0, nodes=("n1",)),
        TaskObservation(index=1, state=S.RUNNING, started_at=12.0, nodes=("n2",)),
        TaskObservation(index=2, state=S.QUEUED),
    ]
    goto(job, S.RUNNING, started_at=10.0, native_id="50", tasks=tuple(seen))
    assert [(each.array_number, each.array_index, each.state, each.duration_s) for each in records()] == [
        (50, 0, "completed", 10),
        (50, 1, "running", 0),
    ]
    ended = tuple(replace(task, state=S.FAILED, started_at=12.0, ended_at=32.0) for task in seen[1:])
    goto(job, S.FAILED, ended_at=32.0, tasks=ended)
    assert [(each.number, each.array_index, each.state, each.duration_s) for each in records()] == [
        (50, 0, "completed", 10),
        (50, 1, "failed", 20),
        (50, 2, "failed", 20),
    ]


def test_a_run_that_a_client_has_reported_is_not_recorded_twice(gateway, submit, goto, records):
    job = submit()
    host = Resource(hostname="n1", hwthreads=(0, 1))
    reported = gateway.records.start(
        CC, Record(number=88, user="a1234", cluster="fake", started_at=1003, resources=(host,))
    )
    goto(job, S.RUNNING, started_at=1000.0, native_id="88")
    (only,) = records()
    assert (only.id, only.job_id, only.user, only.source) == (reported.id, job.id, "a1234", "reported")
    assert only.resources == (host,)
    goto(job, S.COMPLETED, ended_at=1050.0)
    (only,) = records()
    assert (only.state, only.started_at, only.duration_s) == ("completed", 1003, 47)


def test_a_job_that_is_deleted_has_its_record_first(gateway, submit, goto):
    job = submit()
    goto(job, S.COMPLETED, via=(S.RUNNING, S.COMPLETED), started_at=10.0, ended_at=20.0)
    assert gateway.recorder.pending()
    gateway.store.jobs.delete([job.id], actor="ann")
    page = gateway.records.list(ROOT, RecordFilter(job_id=job.id), limit=5)
    assert [(each.state, each.duration_s) for each in page.items] == [("completed", 10)]
    gateway.recorder.catch_up()
    assert gateway.records.count(ROOT, RecordFilter()) == 1


def test_a_site_may_name_its_cluster(make_gateway):
    gateway = make_gateway(sites={"fake": {"scheduler": "fake", "cluster": "fritz"}})
    job = gateway.jobs.submit(ROOT, JobRequest(spec=JobSpec(command="true"), site="fake")).job
    gateway.store.jobs.move(
        [Move(job_id=job.id, old=job.state, attempt=1, new=S.RUNNING, via=(S.RUNNING,), changes={"started_at": 5.0})]
    )
    gateway.recorder.catch_up()
    assert [each.cluster for each in gateway.records.list(ROOT, RecordFilter(), limit=5).items] == ["fritz"]


@pytest.mark.parametrize(
    ("native", "number"),
    [("123", 123), ("123_4", 123), ("77[].head", 77), ("12.head", 12), ("3fa9c0", 5), ("abc", 5), (None, 5)],
)
def test_the_number_is_what_the_native_id_begins_with(native, number):
    assert number_of(native, 5) == number
