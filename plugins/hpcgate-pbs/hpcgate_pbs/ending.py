"""How a job ended, from its final row: substate, ``Exit_status``, and whether it ever ran."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from hpcgate.model.state import JobState, Reason
from hpcgate_pbs.states import (
    EXECUTION_FAILURES,
    FAILED,
    LAST_SIGNAL,
    SHELL_SIGNAL_BASE,
    SIGNAL_BASE,
    TERMINATED,
    UNKNOWN_FAILURE,
)

_TERMINATED_BY: Final = "terminated by "
_MOST_EXIT_CODE: Final = 255


@dataclass(frozen=True, slots=True)
class Ending:
    """An end.

    Args:
        state: a final.
        reason: why, where it is not COMPLETED.
        exit_code: of the job's shell.
        signal: that ended it.
        words: what PBS's comment does not say.
    """

    state: JobState
    reason: Reason | None = None
    exit_code: int | None = None
    signal: int | None = None
    words: str | None = None


def ending(
    *,
    substate: int | None,
    exit_status: int | None,
    started: bool,
    depends: bool,
    owner: str | None,
    comment: str | None,
) -> Ending | None:
    """How a job ended; ``None`` = its row does not tell.

    A job without ``Exit_status`` has not succeeded, whatever its substate: one that never started was taken out of the
    queue, one that did start left no result behind.

    Args:
        substate: 91 terminated, 92 finished, 93 failed; Torque has others.
        exit_status: ``Exit_status``.
        started: whether it has a start time.
        depends: whether it was to wait for other jobs.
        owner: the account that it belongs to.
        comment: PBS's own words.
    """
    if substate == TERMINATED:
        code, signal = _wait_status(exit_status)
        return Ending(JobState.CANCELED, canceled_by(owner, comment), code, signal)
    if exit_status is None:
        return None if started else _never_ran(substate, depends)
    if exit_status < 0:
        failure = EXECUTION_FAILURES.get(exit_status, UNKNOWN_FAILURE)
        return Ending(JobState.FAILED, failure.reason, words=f"{failure.words} (Exit_status {exit_status})")
    code, signal = _wait_status(exit_status)
    if signal is not None:
        return Ending(JobState.FAILED, Reason.SIGNALED, code, signal)
    if code:
        return Ending(JobState.FAILED, Reason.EXIT_NONZERO, code)
    if substate == FAILED:
        return Ending(JobState.FAILED, Reason.LAUNCH_FAILED, words="PBS calls it failed, with Exit_status 0")
    return Ending(JobState.COMPLETED, exit_code=0)


def canceled_by(owner: str | None, comment: str | None) -> Reason | None:
    """Who deleted a job, from the end of its comment (``... terminated by ann@login``); ``None`` = it does not say."""
    _, found, who = (comment or "").rpartition(_TERMINATED_BY)
    if not found or not who:
        return None
    return Reason.CANCELED_BY_USER if who.partition("@")[0] == owner else Reason.CANCELED_BY_ADMIN


def _never_ran(substate: int | None, depends: bool) -> Ending:
    if substate == FAILED:
        return Ending(JobState.FAILED, Reason.LAUNCH_FAILED, words="PBS never started it")
    if not depends:
        return Ending(JobState.CANCELED, words="it was taken out of the queue before it started")
    return Ending(
        JobState.CANCELED, Reason.DEPENDENCY_NEVER_SATISFIED, words="a job that it waited for ended otherwise"
    )


def _wait_status(status: int | None) -> tuple[int | None, int | None]:
    """Exit code and signal of an ``Exit_status`` that is not negative."""
    if status is None or status < 0:
        return None, None
    if status > SIGNAL_BASE:
        return None, status - SIGNAL_BASE
    if SHELL_SIGNAL_BASE < status <= SHELL_SIGNAL_BASE + LAST_SIGNAL:
        return None, status - SHELL_SIGNAL_BASE
    return min(status, _MOST_EXIT_CODE), None
