"""Golden pairs: what may stand behind the question mark of a list."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from cctools import T0

from hpcgate.model.record import RecordState


@pytest.fixture(scope="module", autouse=True)
def jobs(api):
    """Sixty of two clusters, of which the odd ones have failed; the last two began at the same time."""
    for number in range(60):
        cluster, project = ("fritz", "p1") if number < 40 else ("open", "p2")
        sent = api.start(
            jobId=number, cluster=cluster, project=project, startTime=T0 + min(number, 58), metaData={"n": str(number)}
        )
        if number % 2:
            api.ask("POST", f"/api/jobs/stop_job/{sent['id']}", {"stopTime": T0 + 100, "jobState": "failed"})


def numbers(api, query):
    return [job["jobId"] for job in api.listed(query)]


NEWEST = list(range(59, -1, -1))


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", NEWEST[:25]),
        ("page=2", NEWEST[25:50]),
        ("page=3", NEWEST[50:]),
        ("page=4", []),
        ("page=9223372036854775807", []),
        ("items-per-page=7&page=2", NEWEST[7:14]),
        ("items-per-page=-1", NEWEST),
        ("items-per-page=10000000", NEWEST),
        ("items-per-page=10000000&page=2", []),
        ("items-per-page=9999999&state=running&page=1&with-metadata=false", NEWEST[1::2]),
        ("items-per-page=-1&state=failed", NEWEST[::2]),
        ("items-per-page=-1&state=failed&state=running", NEWEST),
        ("state=completed", []),
        ("state=pending&state=suspended&state=deadline&state=boot_fail&state=node_fail", []),
        ("items-per-page=-1&cluster=open", NEWEST[:20]),
        ("cluster=nowhere", []),
        ("items-per-page=-1&cluster=open&cluster=fritz", NEWEST[:20]),
        ("project=p1&items-per-page=-1", NEWEST[20:]),
        (f"start-time={T0 + 3}-{T0 + 5}", [5, 4, 3]),
        (f"start-time={T0 + 5}-{T0 + 3}", []),
        (f"start-time={T0 + 58}-{T0 + 99}", [59, 58]),
        (f"cluster=fritz&state=failed&start-time={T0}-{T0 + 4}", [3, 1]),
    ],
)
def test_which_jobs_a_query_finds(api, query, expected):
    assert numbers(api, query) == expected


@pytest.mark.parametrize("state", RecordState)
def test_every_state_may_be_asked_for(api, state):
    assert all(job["jobState"] == state for job in api.listed(f"state={state}"))


def test_the_answer_says_what_was_asked_for(api):
    assert {**api.ask("GET", "/api/jobs"), "jobs": []} == {"jobs": [], "items": 25, "page": 1}
    page = api.ask("GET", "/api/jobs/?items-per-page=100&page=9")
    assert page == {"jobs": [], "items": 100, "page": 9}
    everything = api.ask("GET", "/api/jobs/?items-per-page=-1")
    assert (everything["items"], everything["page"], len(everything["jobs"])) == (-1, 1, 60)


def test_metadata_comes_where_it_is_wanted(api):
    for query, wanted in (("", None), ("with-metadata=false&", None), ("with-metadata&", {"n": "59"})):
        assert api.listed(f"{query}items-per-page=1")[0]["metaData"] == wanted
    assert api.listed("with-metadata=true&items-per-page=1")[0]["metaData"] == {"n": "59"}


def test_statistics_come_once_a_job_is_archived(api):
    failed, running = api.listed("items-per-page=2")
    assert (failed["monitoringStatus"], failed["statistics"]) == (3, {})
    assert running["monitoringStatus"] == 1
    assert "statistics" not in running


REFUSED = {
    "state=": "state",
    "state=lost": "lost",
    "start-time=5": "start-time",
    "start-time=1-2-3": "start-time",
    "start-time=-5": "start-time",
    "start-time=5-": "start-time",
    "start-time=a-b": "start-time",
    "items-per-page=x": "items-per-page",
    "items-per-page=0": "items-per-page",
    "items-per-page=-2": "items-per-page",
    "page=0": "page",
    "page=-1": "page",
    "page=": "page",
    "page=99999999999999999999": "page",
    "user=ada": "invalid query parameter: user",
    "items_per_page=5": "invalid query parameter: items_per_page",
    quote("startTime[from]") + "=5": "invalid query parameter: startTime[from]",
}


@pytest.mark.parametrize("query", REFUSED)
def test_a_query_that_is_refused(api, query):
    assert REFUSED[query] in api.ask("GET", f"/api/jobs/?{query}", status=400)
