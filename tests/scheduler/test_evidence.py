"""Exit records: written by somebody else, so nothing in them is taken on trust."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcgate.model.job import JobRef
from hpcgate.model.state import JobState, Reason
from hpcgate.scheduler.evidence import parse_exit, read_exit
from hpcgate.testing.transports import MemoryTransport

REF = JobRef(id=1, key="K", native_id="7", folder="/f")
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2),
    max_leaves=4,
)
FIELDS = ("exit_code", "signal", "reason", "message", "started_at", "ended_at", "node", "cpu_time_s", "max_rss_kib")


@given(st.dictionaries(st.sampled_from(FIELDS), anything))
def test_no_content_breaks_the_reader_and_only_a_plain_0_is_completed(record):
    seen = parse_exit({"native_id": "7", **record})
    assert seen.state in (JobState.COMPLETED, JobState.FAILED, JobState.CANCELED)
    assert seen.exit_code is None or 0 <= seen.exit_code <= 255
    assert seen.usage.max_rss_kib is None or seen.usage.max_rss_kib <= 2**53
    if seen.state is JobState.COMPLETED:
        assert record["exit_code"] == 0
        assert record["exit_code"] is not False


@pytest.mark.parametrize(
    ("record", "state", "reason"),
    [
        ({"exit_code": 0}, JobState.COMPLETED, None),
        ({"exit_code": 3}, JobState.FAILED, Reason.EXIT_NONZERO),
        ({"signal": 9}, JobState.FAILED, Reason.SIGNALED),
        ({}, JobState.FAILED, Reason.EXIT_NONZERO),
        ({"exit_code": 0, "signal": 9}, JobState.FAILED, Reason.SIGNALED),
        ({"exit_code": 0, "reason": "TIMEOUT"}, JobState.FAILED, Reason.TIMEOUT),
        ({"exit_code": 0, "reason": "WHATEVER"}, JobState.FAILED, Reason.EXIT_NONZERO),
        ({"exit_code": 0, "signal": "9"}, JobState.FAILED, Reason.EXIT_NONZERO),
        ({"exit_code": 0, "reason": 5}, JobState.FAILED, Reason.EXIT_NONZERO),
        ({"exit_code": None, "reason": "CANCELED_BY_USER"}, JobState.CANCELED, Reason.CANCELED_BY_USER),
    ],
)
def test_what_a_record_means(record, state, reason):
    seen = parse_exit({"native_id": "7", **record})
    assert (seen.state, seen.reason) == (state, reason)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"3", b"\xff", b"[" * 60_000, json.dumps({"native_id": "8"}).encode()]
)
def test_a_file_of_another_form_or_run_is_no_record(content):
    transport = MemoryTransport()
    transport.mkdir("/f")
    transport.write("/f/exit.1", content)
    assert read_exit(REF, transport) is None


def test_no_file_is_no_record_and_the_attempt_counts():
    transport = MemoryTransport()
    transport.mkdir("/f")
    transport.write("/f/exit.1", b'{"native_id": "7", "exit_code": 0}')
    assert read_exit(REF, transport).state is JobState.COMPLETED
    assert read_exit(JobRef(id=1, key="K", native_id="7", attempt=2, folder="/f"), transport) is None
