"""Golden answers: the tables of states, ids, sizes, times and paths."""

from __future__ import annotations

from datetime import UTC
from zoneinfo import ZoneInfo

import pytest
from hpcgate_dialect_rimrock import mapping
from hpcgate_dialect_rimrock.schemas import STATUSES

from hpcgate.errors import InvalidSpec
from hpcgate.model.job import Attempt, Job
from hpcgate.model.spec import JobSpec, Resources
from hpcgate.model.state import JobState, Reason

START = 1772356502.4  # 2026-03-01 09:15:02 UTC


def job(**fields):
    data = {"home": "/home/ada", "tag": "vapor", "nodes": 1, "cores": 4, "host": "ares.cyfronet.pl"}
    base = {
        "id": 7,
        "key": "K",
        "owner": "ada",
        "site": "ares",
        "spec": JobSpec(script="#!/bin/sh\n"),
        "state": JobState.QUEUED,
        "native_id": "48213",
        "stdout_path": "/home/ada/.hpcgate/48213/stdout",
        "stderr_path": "~/.hpcgate/48213/stderr",
        "created_at": START - 40,
        "submitted_at": START - 37,
        "updated_at": START,
        "dialect_data": data,
    }
    return Job(**base | fields)


@pytest.mark.parametrize(
    ("state", "reason", "status"),
    [
        ("CREATED", None, "QUEUED"),
        ("STAGING_IN", None, "QUEUED"),
        ("SUBMITTING", None, "QUEUED"),
        ("QUEUED", None, "QUEUED"),
        ("HELD", None, "QUEUED"),
        ("RUNNING", None, "RUNNING"),
        ("SUSPENDED", None, "RUNNING"),
        ("STAGING_OUT", None, "RUNNING"),
        ("COMPLETED", None, "FINISHED"),
        ("FAILED", "EXIT_NONZERO", "ERROR"),
        ("FAILED", "TIMEOUT", "ERROR"),
        ("FAILED", "NODE_FAIL", "ERROR"),
        ("FAILED", "PREEMPTED", "ERROR"),
        ("FAILED", "OUT_OF_MEMORY", "ERROR"),
        ("FAILED", "BOOT_FAIL", "ERROR"),
        ("FAILED", "DEADLINE", "ERROR"),
        ("FAILED", "LOST", "ERROR"),
        ("CANCELED", "CANCELED_BY_USER", "ABORTED"),
        ("CANCELED", "CANCELED_BY_ADMIN", "ERROR"),
        ("CANCELED", "SUBMIT_TIMEOUT", "ERROR"),
    ],
)
def test_statuses(state, reason, status):
    assert mapping.status_of(JobState(state), reason and Reason(reason)) == status


def test_the_table_of_states_is_total():
    for state in JobState:
        for reason in (None, *Reason):
            assert mapping.status_of(state, reason) in STATUSES
    assert {mapping.status_of(s, r) for s in JobState for r in (None, *Reason)} == set(STATUSES)


@pytest.mark.parametrize(
    ("native_id", "job_id"),
    [
        ("48213", "48213.ares.cyfronet.pl"),
        ("50463091.batch.grid.cyf-kr.edu.pl", "50463091.batch.grid.cyf-kr.edu.pl"),
        ("17[].pbs", "17[].pbs"),
        ("12+0", "12+0.ares.cyfronet.pl"),
    ],
)
def test_job_ids(native_id, job_id):
    assert mapping.job_id_of(native_id, "ares.cyfronet.pl") == job_id


def test_a_job_from_its_submit_to_its_end():
    brief = {
        "job_id": "48213.ares.cyfronet.pl",
        "stdout_path": "/home/ada/.hpcgate/48213/stdout",
        "stderr_path": "/home/ada/.hpcgate/48213/stderr",
        "status": "QUEUED",
        "tag": "vapor",
    }
    assert shown(job()) == brief
    started = {"nodes": "1", "cores": "4", "start_time": "2026-03-01 09:15:02", "queue_time": "00:00:37"}
    running = job(state=JobState.RUNNING, started_at=START, nodes=("c1",))
    assert shown(running) == brief | {"status": "RUNNING"} | started
    ended = job(state=JobState.COMPLETED, started_at=START, ended_at=START + 100, nodes=("c1",))
    end = {"end_time": "2026-03-01 09:16:42", "wall_time": "00:01:40"}
    assert shown(ended) == brief | {"status": "FINISHED"} | started | end
    assert list(mapping.brief(ended, "x")) == list(brief)


def test_the_nodes_are_at_least_those_that_were_asked_for():
    data = {"nodes": 2}
    for nodes, told in (((), "2"), (("c1",), "2"), (("c1", "c2", "c3"), "3")):
        assert shown(job(started_at=START, nodes=nodes, dialect_data=data))["nodes"] == told


def test_what_was_known_stays_while_a_job_waits_for_its_next_attempt():
    earlier = Attempt(job_id=7, attempt=1, state=JobState.QUEUED, started_at=START, nodes=("c1", "c2"))
    again = shown(job(attempt=2), earlier=earlier)
    assert (again["status"], again["start_time"], again["nodes"]) == ("QUEUED", "2026-03-01 09:15:02", "2")


def test_a_job_that_never_started_has_an_end_alone():
    known = set(shown(job(state=JobState.CANCELED, reason=Reason.CANCELED_BY_USER, ended_at=START)))
    assert known - set(shown(job())) == {"end_time"}


def test_paths_that_are_not_known_are_null():
    assert shown(job(stdout_path=None, stderr_path=None))["stdout_path"] is None


def shown(of, earlier=None):
    return mapping.from_job(of, "48213.ares.cyfronet.pl", UTC, earlier)


def test_times_are_those_of_the_zone():
    assert mapping.moment(START, ZoneInfo("Europe/Warsaw")) == "2026-03-01 10:15:02"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-3, "00:00:00"), (0.4, "00:00:00"), (100, "00:01:40"), (86_399, "23:59:59"), (90_061, "1-01:01:01")],
)
def test_durations(seconds, text):
    assert mapping.duration(seconds) == text


@pytest.mark.parametrize(
    ("wanted", "size"),
    [
        ({}, (1, 1)),
        ({"nodes": 2, "tasks": 3}, (2, 3)),
        ({"nodes": 2, "tasks_per_node": 4, "cpus_per_task": 3}, (2, 24)),
        ({"tasks": 4, "cpus_per_task": 2}, (1, 8)),
        ({"nodes": 3, "cpus_per_node": 12}, (3, 36)),
        ({"nodes": 2, "total_cpus_range": (9, 9)}, (2, 9)),
    ],
)
def test_sizes(wanted, size):
    assert mapping.size_of(Resources(**wanted)) == size


@pytest.mark.parametrize(
    ("given", "folder"),
    [
        (None, None),
        ("", None),
        ("/people/ada/testjob", "/people/ada/testjob"),
        ("~", "/home/ada"),
        ("~/run one/", "/home/ada/run one"),
        ("run", "/home/ada/run"),
        ("/", "/"),
        ("/it's; rm -rf $HOME", "/it's; rm -rf $HOME"),
    ],
)
def test_working_directories(given, folder):
    assert mapping.folder_of(given, "/home/ada") == folder


@pytest.mark.parametrize("given", ["~bob/x", "$SCRATCH/x"])
def test_a_directory_that_only_a_shell_could_find_is_refused(given):
    with pytest.raises(InvalidSpec, match=r"working_directory: .* is not expanded"):
        mapping.folder_of(given, "/home/ada")
