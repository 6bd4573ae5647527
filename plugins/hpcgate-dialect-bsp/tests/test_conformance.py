"""hpcgate's conformance kit on this dialect."""

from __future__ import annotations

import io
import json
import zipfile

import pytest
from hpcgate_dialect_bsp import plugin as dialect

from hpcgate.testing.dialects.facts import Call, DialectFacts, Refused
from hpcgate.testing.dialects.suite import DialectConformance

ROOT = "bsp_pizdaint_01"
PAYLOAD = {"command": "ls -lisa", "node_number": "2", "core_number": "6", "runtime": "2.0", "title": "a job title"}
HEADERS = {"Content-Disposition": "attachment; filename=job_file.zip", "Payload": json.dumps(PAYLOAD)}


def small_zip() -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("job/init.py", "print(42)\n")
    return packed.getvalue()


def check_error(answer):
    """A text as JSON, or, where it is about who asks, an object with ``detail``."""
    assert answer.headers["Content-Type"] == "application/json"
    body = answer.json()
    if answer.status_code == 403:
        assert list(body) == ["detail"]
        body = body["detail"]
    assert isinstance(body, str)
    assert body
    assert len(body) < 500


class TestBspDialect(DialectConformance):
    facts = DialectFacts(
        name="bsp",
        protected=Call("GET", "/jobs/"),
        submit=Call("POST", "/jobs/pizdaint/", small_zip(), HEADERS),
        submitted=lambda answer: answer.json()["job_id"],
        read=(Call("GET", f"/jobs/pizdaint/{ROOT}/{{job}}/"), Call("GET", f"/files/pizdaint/{ROOT}/{{job}}/")),
        change=(Call("DELETE", f"/jobs/pizdaint/{ROOT}/{{job}}"),),
        error=check_error,
        open=tuple(Call("GET", path) for path in ("/status/", "/hpc/", "/projects/", f"/projects/pizdaint/{ROOT}/")),
        refused=Refused(unauthenticated=403),
        settings={
            "hpc": {"PIZDAINT": {"site": "fake", "kind": "command", "projects": [ROOT], "default_project": ROOT}}
        },
        config={"projects": {ROOT: {"site": "fake", "hours": 5000, "space_kb": 10_000_000, "default": True}}},
    )

    @pytest.fixture(scope="class")
    @classmethod
    def plugin(cls):
        return dialect
