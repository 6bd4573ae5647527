"""Where a job is, in the words of the two kinds of systems: tables that are total over our states."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum, auto
from typing import Final

from hpcgate.model.job import Job
from hpcgate.model.state import JobState, Phase, Reason
from hpcgate_dialect_bsp.settings import Kind


class Step(StrEnum):
    """What both kinds of systems tell, whatever they call it."""

    WAITING = auto()
    RUNNING = auto()
    COLLECTING = auto()
    GOOD = auto()
    BAD = auto()
    CANCELED = auto()
    DELETED = auto()


TERMINAL: Final = frozenset({Step.GOOD, Step.BAD, Step.CANCELED, Step.DELETED})

STEPS: Final[Mapping[JobState, Step]] = {
    JobState.CREATED: Step.WAITING,
    JobState.STAGING_IN: Step.WAITING,
    JobState.SUBMITTING: Step.WAITING,
    JobState.QUEUED: Step.WAITING,
    JobState.HELD: Step.WAITING,
    JobState.RUNNING: Step.RUNNING,
    JobState.SUSPENDED: Step.RUNNING,
    JobState.STAGING_OUT: Step.COLLECTING,
    JobState.COMPLETED: Step.GOOD,
    JobState.FAILED: Step.BAD,
    JobState.CANCELED: Step.CANCELED,
}

WORDS: Final[Mapping[Kind, Mapping[Step, str]]] = {
    Kind.COMMAND: {
        Step.WAITING: "QUEUED",
        Step.RUNNING: "RUNNING",
        Step.COLLECTING: "STAGINGOUT",
        Step.GOOD: "SUCCESSFUL",
        Step.BAD: "FAILED",
        Step.CANCELED: "CANCELED",
        Step.DELETED: "DELETED",
    },
    Kind.TOOL: {
        Step.WAITING: "QUEUE",
        Step.RUNNING: "SUBMITTED",
        Step.COLLECTING: "LOAD_RESULTS",
        Step.GOOD: "COMPLETED",
        Step.BAD: "COMPLETED",
        Step.CANCELED: "CANCELED",
        Step.DELETED: "DELETED",
    },
}


@dataclass(frozen=True, slots=True)
class Stage:
    """What a job object says.

    Args:
        word: the stage.
        terminal: whether nothing changes any more.
        failed: whether it ended badly.
    """

    word: str
    terminal: bool
    failed: bool


def step_of(job: Job) -> Step:
    """Where a job is."""
    if job.state.final and job.folder is None:
        return Step.DELETED
    if job.canceling and not job.state.final:
        return Step.CANCELED  # the wish is kept until the scheduler has fulfilled it
    if job.state is JobState.CANCELED and job.reason is not Reason.CANCELED_BY_USER:
        return Step.BAD  # nobody who could expect it has done it
    if job.state is JobState.RUNNING and job.phase is Phase.COMPLETING:
        return Step.COLLECTING
    return STEPS[job.state]


def stage_of(job: Job, kind: Kind) -> Stage:
    """The stage of a job at a system of some kind."""
    step = step_of(job)
    failed = step is Step.BAD or (step is Step.DELETED and job.state is JobState.FAILED)
    return Stage(WORDS[kind][step], step in TERMINAL, failed)


def first_stage(kind: Kind) -> Stage:
    """What a submit answers, however quick the job is."""
    return Stage(WORDS[kind][Step.WAITING], terminal=False, failed=False)
