"""hpcgate's conformance kit on this dialect."""

from __future__ import annotations

import pytest
from hpcgate_dialect_clustercockpit import plugin as dialect

from hpcgate.testing.dialects.facts import Call, DialectFacts, Refused
from hpcgate.testing.dialects.suite import DialectConformance

START = b"""{"jobId": @NUMBER@, "user": "@USER@", "cluster": "c1", "numNodes": 1, "startTime": 1700000000,
"resources": [{"hostname": "n1"}]}"""


def check_error(answer):
    """Always two keys: what HTTP calls the status, and what happened."""
    assert answer.headers["Content-Type"] == "application/json"
    body = answer.json()
    assert list(body) == ["status", "error"]
    assert body["error"]


class TestClusterCockpitDialect(DialectConformance):
    facts = DialectFacts(
        name="clustercockpit",
        protected=Call("GET", "/userapi/jobs/"),
        submit=Call("POST", "/api/jobs/start_job/", START),
        reporter="sync",
        read=(Call("GET", "/userapi/jobs/{job}"), Call("POST", "/userapi/jobs/{job}", b"[]")),
        error=check_error,
        refused=Refused(hidden=422),
        config={"clusters": {"c1": {"subclusters": {"main": "n[1-4]"}}}},
    )

    @pytest.fixture(scope="class")
    @classmethod
    def plugin(cls):
        return dialect
