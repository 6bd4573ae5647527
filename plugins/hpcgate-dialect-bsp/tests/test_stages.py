"""The tables of stages: every state of ours, in both vocabularies."""

from __future__ import annotations

import pytest
from hpcgate_dialect_bsp.settings import Kind
from hpcgate_dialect_bsp.stages import STEPS, WORDS, Stage, Step, first_stage, stage_of

from hpcgate.model.job import Job
from hpcgate.model.spec import JobSpec
from hpcgate.model.state import JobState, Phase, Reason

S, R = JobState, Reason


def job(state: JobState, reason: Reason | None = None, **more) -> Job:
    fields = {"folder": "/x", **more}
    spec = JobSpec(command="true")
    return Job(
        id=1,
        key="K",
        owner="ann",
        site="a",
        spec=spec,
        state=state,
        reason=reason,
        created_at=0,
        updated_at=0,
        **fields,
    )


def test_the_tables_are_total():
    assert set(STEPS) == set(JobState)
    assert {kind: set(words) for kind, words in WORDS.items()} == {kind: set(Step) for kind in Kind}
    for words in WORDS.values():
        assert all(len(word) <= 20 and word == word.upper() for word in words.values())


#: What we know -> (command-type, tool-type, terminal, failed); the rows of the table of stages.
ROWS = [
    (job(S.CREATED), "QUEUED", "QUEUE", False, False),
    (job(S.STAGING_IN), "QUEUED", "QUEUE", False, False),
    (job(S.SUBMITTING), "QUEUED", "QUEUE", False, False),
    (job(S.QUEUED), "QUEUED", "QUEUE", False, False),
    (job(S.QUEUED, phase=Phase.STARTING), "QUEUED", "QUEUE", False, False),
    (job(S.HELD), "QUEUED", "QUEUE", False, False),
    (job(S.RUNNING), "RUNNING", "SUBMITTED", False, False),
    (job(S.SUSPENDED), "RUNNING", "SUBMITTED", False, False),
    (job(S.RUNNING, phase=Phase.COMPLETING), "STAGINGOUT", "LOAD_RESULTS", False, False),
    (job(S.STAGING_OUT), "STAGINGOUT", "LOAD_RESULTS", False, False),
    (job(S.COMPLETED), "SUCCESSFUL", "COMPLETED", True, False),
    *(
        (job(S.FAILED, reason), "FAILED", "COMPLETED", True, True)
        for reason in (R.EXIT_NONZERO, R.TIMEOUT, R.NODE_FAIL, R.OUT_OF_MEMORY, R.PREEMPTED, R.LOST, None)
    ),
    (job(S.CANCELED, R.CANCELED_BY_USER), "CANCELED", "CANCELED", True, False),
    (job(S.CANCELED, R.CANCELED_BY_ADMIN), "FAILED", "COMPLETED", True, True),
    (job(S.CANCELED, R.CANCELED_BY_GATEWAY), "FAILED", "COMPLETED", True, True),
    (job(S.RUNNING, canceling=True), "CANCELED", "CANCELED", True, False),
    (job(S.COMPLETED, canceling=True), "SUCCESSFUL", "COMPLETED", True, False),
    (job(S.COMPLETED, folder=None), "DELETED", "DELETED", True, False),
    (job(S.FAILED, folder=None), "DELETED", "DELETED", True, True),
    (job(S.CANCELED, R.CANCELED_BY_USER, folder=None), "DELETED", "DELETED", True, False),
]


@pytest.mark.parametrize(("known", "command", "tool", "terminal", "failed"), ROWS)
def test_every_row(known, command, tool, terminal, failed):
    assert stage_of(known, Kind.COMMAND) == Stage(command, terminal, failed)
    assert stage_of(known, Kind.TOOL) == Stage(tool, terminal, failed)


def test_no_state_is_left_out():
    assert {known.state for known, *_ in ROWS} == set(JobState)
    assert {first_stage(kind) for kind in Kind} == {Stage("QUEUED", False, False), Stage("QUEUE", False, False)}
