"""Changes to jobs as data: what services decide and the store carries out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hpcgate.model.job import JobRef, TaskObservation
from hpcgate.model.quota import Charge, Load
from hpcgate.model.spec import JobSpec
from hpcgate.model.state import JobState, Phase, Reason


@dataclass(frozen=True, slots=True)
class Claim:
    """Who is busy submitting a job. Until ``until`` (epoch seconds) nobody else touches it.

    Args:
        holder: process that holds it, unique over all hosts and restarts.
        until: epoch seconds.
    """

    holder: str
    until: float


@dataclass(frozen=True, slots=True, kw_only=True)
class JobDraft:
    """A job that is to be stored.

    Args:
        key: a fresh ULID.
        site: ``None`` while no site has been chosen.
        folder: absolute path at the site.
        claim: who submits it now and until when; ``None`` leaves it to a worker.
        state: CREATED, or SUBMITTING when whoever stores it submits it at once (both events are written).
        foreign: (dialect, scope, id) under which a dialect knows it.
        charge: what it reserves of its project; ``None`` = it has none.
        load: what it takes of its share; ``None`` = it has none.
        expires_at: epoch seconds from which its files and itself may go, once it has ended.
        retry_of: the job of which it runs some tasks again.
    """

    key: str
    owner: str
    site: str | None
    spec: JobSpec
    folder: str | None
    account: str | None = None
    state: JobState = JobState.CREATED
    claim: Claim | None = None
    dialect: str | None = None
    dialect_data: Mapping[str, Any] = field(default_factory=dict)
    foreign: tuple[str, str, str] | None = None
    workflow_id: int | None = None
    charge: Charge | None = None
    load: Load | None = None
    expires_at: float | None = None
    retry_of: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """One compare-and-swap on a job: carried out only if it is still in ``old`` and ``attempt``.

    Args:
        job_id: the job.
        old: the state it must be in.
        attempt: the attempt it must be in.
        new: its new state; equal to ``old`` for a change that is no move (then no ``job.state`` event is made).
        via: states passed on the way, ``new`` last, each an event (``synthetic`` but for the last);
            empty when ``new`` is ``old``.
        new_attempt: set when the job starts anew; the old attempt is closed.
        changes: job fields to set, by the names of ``model.job.Job`` (``reason``, ``exit_code``, ``native_id``,
            ``nodes``, ``usage``, ...). Fields not named keep their value.
        tasks: tasks to insert or update, in the attempt that holds after the move.
        event: type of an extra event (``job.warning``, ``job.canceling``, ...), with ``event_data``.
        actor: the principal who asked for it.
        claim: a claim to set; ``Claim("", 0)`` clears it, ``Claim("", until)`` keeps everybody off for a while.
        held_claim: the holder whose claim must still stand, so that a submitter that was too slow cannot write;
            ``""`` = nobody's may stand.
        corrected: the move supersedes a LOST final.
    """

    job_id: int
    old: JobState
    attempt: int
    new: JobState
    via: tuple[JobState, ...] = ()
    new_attempt: int | None = None
    changes: Mapping[str, Any] = field(default_factory=dict)
    tasks: tuple[TaskObservation, ...] = ()
    event: str | None = None
    event_data: Mapping[str, Any] = field(default_factory=dict)
    actor: str | None = None
    claim: Claim | None = None
    held_claim: str | None = None
    corrected: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The slim view of an active job that reconcile works on: no spec, so that 10,000 of them are cheap.

    Args:
        ref: handle for plugins.
        absent_since: epoch seconds since when queue, accounting and folder have all denied knowing it.
        cancel_reason: reason of the final to come if it is canceled (by user, admin or gateway).
        claim: who submits it, for SUBMITTING.
        submitting_since: epoch seconds of the last try to submit it.
        absences: how many complete searches since then did not find its key.
        updated_at: epoch seconds of its last change.
    """

    ref: JobRef
    owner: str
    state: JobState
    attempt: int
    phase: Phase | None = None
    native_state: str | None = None
    native_reason: str | None = None
    message: str | None = None
    canceling: bool = False
    cancel_reason: Reason | None = None
    started_at: float | None = None
    nodes: tuple[str, ...] = ()
    absent_since: float | None = None
    claim: Claim | None = None
    submitting_since: float | None = None
    absences: int = 0
    updated_at: float = 0.0
