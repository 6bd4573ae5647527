"""The job state machine, as one table.

``STEPS`` holds every single step that a job can take. ``SKIPS`` holds the legal jumps, each with the states that
are filled in as events, so that a listener sees every step even where the scheduler showed only the last one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class JobState(StrEnum):
    """Where a job is in its life. The last three are final."""

    CREATED = "CREATED"
    STAGING_IN = "STAGING_IN"
    SUBMITTING = "SUBMITTING"
    QUEUED = "QUEUED"
    HELD = "HELD"
    RUNNING = "RUNNING"
    SUSPENDED = "SUSPENDED"
    STAGING_OUT = "STAGING_OUT"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELED = "CANCELED"

    @property
    def final(self) -> bool:
        """Whether the job has ended."""
        return self in FINAL


class Phase(StrEnum):
    """A finer step inside a state: STARTING counts as QUEUED, COMPLETING as RUNNING."""

    STARTING = "starting"
    COMPLETING = "completing"


class Issuer(StrEnum):
    """Who caused a job to end other than by success."""

    USER = "user"
    SCHEDULER = "scheduler"
    NODE = "node"
    GATEWAY = "gateway"


class Evidence(StrEnum):
    """What a state rests on. COMPLETED always has one of the first four."""

    QUEUE = "queue"
    ACCOUNTING = "accounting"
    EXIT_FILE = "exit_file"
    PUSH = "push"
    GATEWAY = "gateway"


class Reason(StrEnum):
    """Why a job failed or was canceled. The list is frozen: clients switch on it."""

    EXIT_NONZERO = "EXIT_NONZERO"
    SIGNALED = "SIGNALED"
    TIMEOUT = "TIMEOUT"
    OUT_OF_MEMORY = "OUT_OF_MEMORY"
    LIMIT_EXCEEDED = "LIMIT_EXCEEDED"
    NODE_FAIL = "NODE_FAIL"
    BOOT_FAIL = "BOOT_FAIL"
    PREEMPTED = "PREEMPTED"
    REVOKED = "REVOKED"
    LAUNCH_FAILED = "LAUNCH_FAILED"
    DEADLINE = "DEADLINE"
    SUBMIT_REJECTED = "SUBMIT_REJECTED"
    SUBMIT_TIMEOUT = "SUBMIT_TIMEOUT"
    DEPENDENCY_NEVER_SATISFIED = "DEPENDENCY_NEVER_SATISFIED"
    STAGE_IN_FAILED = "STAGE_IN_FAILED"
    STAGE_OUT_FAILED = "STAGE_OUT_FAILED"
    QUEUE_TIME_EXCEEDED = "QUEUE_TIME_EXCEEDED"
    CANCELED_BY_USER = "CANCELED_BY_USER"
    CANCELED_BY_ADMIN = "CANCELED_BY_ADMIN"
    CANCELED_BY_GATEWAY = "CANCELED_BY_GATEWAY"
    LOST = "LOST"
    GATEWAY_ERROR = "GATEWAY_ERROR"

    @property
    def issuer(self) -> Issuer:
        """Who caused it."""
        return REASONS[self].issuer

    @property
    def retryable(self) -> bool:
        """Whether the same job, unchanged, may well succeed when run again."""
        return REASONS[self].retryable

    @property
    def advice(self) -> str:
        """One sentence for the owner of the job."""
        return REASONS[self].advice


@dataclass(frozen=True, slots=True)
class ReasonInfo:
    """What is fixed about a reason."""

    issuer: Issuer
    retryable: bool
    advice: str


REASONS: Mapping[Reason, ReasonInfo] = {
    Reason.EXIT_NONZERO: ReasonInfo(
        Issuer.USER, False, "The program ended with a non-zero exit code; its stderr usually says why."
    ),
    Reason.SIGNALED: ReasonInfo(
        Issuer.USER, False, "The program was ended by a signal; SIGSEGV and SIGABRT point at a bug, SIGKILL at memory."
    ),
    Reason.TIMEOUT: ReasonInfo(Issuer.SCHEDULER, False, "The job ran into its walltime; ask for more or do less."),
    Reason.OUT_OF_MEMORY: ReasonInfo(Issuer.SCHEDULER, False, "The job used more memory than it had asked for."),
    Reason.LIMIT_EXCEEDED: ReasonInfo(Issuer.SCHEDULER, False, "The job used more of a resource than it may."),
    Reason.NODE_FAIL: ReasonInfo(Issuer.NODE, True, "A node, or what supervised the job there, failed; run it again."),
    Reason.BOOT_FAIL: ReasonInfo(Issuer.NODE, True, "A node did not boot; run the job again."),
    Reason.PREEMPTED: ReasonInfo(Issuer.SCHEDULER, True, "The job gave way to another one; run it again."),
    Reason.REVOKED: ReasonInfo(Issuer.SCHEDULER, True, "A sibling cluster took the job over."),
    Reason.LAUNCH_FAILED: ReasonInfo(
        Issuer.NODE, True, "The program could not be started; check its path, its '#!' line and the folder."
    ),
    Reason.DEADLINE: ReasonInfo(Issuer.SCHEDULER, False, "The job could not end before its deadline."),
    Reason.SUBMIT_REJECTED: ReasonInfo(Issuer.SCHEDULER, False, "The scheduler refused the job; its words are given."),
    Reason.SUBMIT_TIMEOUT: ReasonInfo(Issuer.GATEWAY, True, "The site did not take the job in time; submit it again."),
    Reason.DEPENDENCY_NEVER_SATISFIED: ReasonInfo(
        Issuer.USER, False, "A job that this one waited for ended otherwise than was asked for."
    ),
    Reason.STAGE_IN_FAILED: ReasonInfo(Issuer.GATEWAY, True, "An input could not be brought to the job."),
    Reason.STAGE_OUT_FAILED: ReasonInfo(Issuer.GATEWAY, True, "An output could not be stored."),
    Reason.QUEUE_TIME_EXCEEDED: ReasonInfo(Issuer.GATEWAY, True, "The job waited longer than its policy allows."),
    Reason.CANCELED_BY_USER: ReasonInfo(Issuer.USER, False, "The owner canceled the job."),
    Reason.CANCELED_BY_ADMIN: ReasonInfo(Issuer.USER, False, "Somebody with more rights canceled the job."),
    Reason.CANCELED_BY_GATEWAY: ReasonInfo(Issuer.GATEWAY, True, "The gateway canceled the job."),
    Reason.LOST: ReasonInfo(
        Issuer.GATEWAY, True, "Queue, accounting and job folder answered and none of them knows how the job ended."
    ),
    Reason.GATEWAY_ERROR: ReasonInfo(Issuer.GATEWAY, True, "The gateway could not handle the job; see its log."),
}

_S = JobState

FINAL: frozenset[JobState] = frozenset({_S.COMPLETED, _S.FAILED, _S.CANCELED})
#: States in which a job is not at its scheduler yet, as far as is written down.
ON_THE_WAY: frozenset[JobState] = frozenset({_S.CREATED, _S.STAGING_IN, _S.SUBMITTING})
#: States in which a scheduler has the job, so that a poll can say something about it.
AT_SCHEDULER: frozenset[JobState] = frozenset({_S.QUEUED, _S.HELD, _S.RUNNING, _S.SUSPENDED})
ACTIVE: frozenset[JobState] = frozenset(_S) - FINAL

_ENDS = frozenset({_S.COMPLETED, _S.FAILED, _S.CANCELED})
_STOPS = frozenset({_S.FAILED, _S.CANCELED})

#: Single steps within one attempt.
STEPS: Mapping[JobState, frozenset[JobState]] = {
    _S.CREATED: frozenset({_S.STAGING_IN, _S.SUBMITTING}) | _STOPS,
    _S.STAGING_IN: frozenset({_S.SUBMITTING}) | _STOPS,
    _S.SUBMITTING: frozenset({_S.QUEUED}) | _STOPS,
    _S.QUEUED: frozenset({_S.HELD, _S.RUNNING}) | _STOPS,
    _S.HELD: frozenset({_S.QUEUED}) | _STOPS,
    _S.RUNNING: frozenset({_S.SUSPENDED, _S.STAGING_OUT}) | _ENDS,
    _S.SUSPENDED: frozenset({_S.RUNNING, _S.STAGING_OUT}) | _STOPS,
    _S.STAGING_OUT: _ENDS,
    _S.COMPLETED: frozenset(),
    _S.FAILED: frozenset(),
    _S.CANCELED: frozenset(),
}

#: Legal jumps within one attempt -> the states that are filled in between.
SKIPS: Mapping[tuple[JobState, JobState], tuple[JobState, ...]] = {
    (_S.QUEUED, _S.SUSPENDED): (_S.RUNNING,),
    (_S.QUEUED, _S.STAGING_OUT): (_S.RUNNING,),
    (_S.QUEUED, _S.COMPLETED): (_S.RUNNING,),
    (_S.HELD, _S.RUNNING): (_S.QUEUED,),
    (_S.HELD, _S.SUSPENDED): (_S.QUEUED, _S.RUNNING),
    (_S.HELD, _S.STAGING_OUT): (_S.QUEUED, _S.RUNNING),
    (_S.HELD, _S.COMPLETED): (_S.QUEUED, _S.RUNNING),
    (_S.SUSPENDED, _S.COMPLETED): (_S.RUNNING,),
}

#: The only ways back, each with ``attempt + 1``.
REQUEUES: Mapping[JobState, frozenset[JobState]] = {
    state: frozenset({_S.QUEUED, _S.HELD, _S.RUNNING}) for state in (_S.QUEUED, _S.HELD, _S.RUNNING, _S.SUSPENDED)
}


class IllegalMove(ValueError):
    """A move that the table does not hold; a bug in the caller, never a user's mistake."""


def route(old: JobState, new: JobState, *, ran: bool = True) -> tuple[JobState, ...]:
    """The states that a job passes on its way, the last of them ``new``.

    Args:
        old: the state it is in.
        new: the state it shall be in, within the same attempt.
        ran: whether the job is known to have started; a job that failed or was canceled while it waited
            did not run, so RUNNING is not filled in for it.

    Raises:
        IllegalMove: the table has no such move.
    """
    if ran and new in _STOPS and old in (_S.QUEUED, _S.HELD):
        return (_S.RUNNING, new) if old is _S.QUEUED else (_S.QUEUED, _S.RUNNING, new)
    if new in STEPS[old]:
        return (new,)
    if (old, new) in SKIPS:
        return (*SKIPS[old, new], new)
    raise IllegalMove(f"{old} -> {new}")


def requeue_route(old: JobState, new: JobState) -> tuple[JobState, ...]:
    """The states of the next attempt that a job passes, the last of them ``new``.

    Raises:
        IllegalMove: a job in ``old`` cannot be given a new attempt that is in ``new``.
    """
    if new not in REQUEUES.get(old, frozenset()):
        raise IllegalMove(f"{old} -> {new} with a new attempt")
    return (new,) if new is not _S.RUNNING else (_S.QUEUED, _S.RUNNING)


def may_correct(reason: Reason | None, new: JobState) -> bool:
    """Whether a final with ``reason`` may be superseded by ``new``: LOST alone may, by proof."""
    return reason is Reason.LOST and new in FINAL
