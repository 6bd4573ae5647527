"""hpcgate's conformance kit on this dialect."""

from __future__ import annotations

import base64
import json

import pytest
from hpcgate_dialect_rimrock import plugin as dialect

from hpcgate.testing.dialects.facts import Call, DialectFacts, Refused
from hpcgate.testing.dialects.suite import DialectConformance

KEYS = ["status", "exit_code", "standard_output", "error_output", "error_message", "tag"]
SUBMIT = json.dumps({"host": "fake", "script": "#!/bin/sh\ntrue\n"}).encode()


def check_error(answer):
    """Every error has these six keys, whatever its status."""
    assert answer.headers["Content-Type"] == "application/json"
    told = answer.json()
    assert list(told) == KEYS
    assert told["status"] == "ERROR"
    assert told["error_message"]
    assert told["tag"] is None
    assert isinstance(told["exit_code"], int)


class TestRimrockDialect(DialectConformance):
    facts = DialectFacts(
        name="rimrock",
        protected=Call("GET", "/api/jobs"),
        submit=Call("POST", "/api/jobs", SUBMIT),
        submitted=lambda answer: answer.json()["job_id"],
        read=(Call("GET", "/api/jobs/{job}"), Call("GET", "/api/jobs/{job}/stdout")),
        change=(Call("PUT", "/api/jobs/{job}", b'{"action": "abort"}'), Call("DELETE", "/api/jobs/{job}")),
        error=check_error,
        refused=Refused(unauthenticated=403),
        credential=lambda token: {"PROXY": base64.b64encode(token.encode()).decode()},
    )

    @pytest.fixture(scope="class")
    @classmethod
    def plugin(cls):
        return dialect
