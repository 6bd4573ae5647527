"""PBS's words for where a job is and how it ended, as tables.

``LETTERS`` is what ``job_state`` says, ``SUBSTATES`` what a substate says more exactly, ``EXECUTION_FAILURES`` what the
negative values of ``Exit_status`` mean. ``docs/how-to/pbs.md`` shows the same tables.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from hpcgate.model.state import JobState, Phase, Reason


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a native word means.

    Args:
        state: the gateway's state; ``None`` = the word says nothing about it.
        phase: a finer step inside it.
        reason: why it is there, where the word tells.
        words: for people, where PBS itself has no comment.
    """

    state: JobState | None
    phase: Phase | None = None
    reason: Reason | None = None
    words: str | None = None


#: ``job_state``. The letters of ``ENDED`` are not here: ``Exit_status`` and the substate tell how a job ended.
LETTERS: Final[Mapping[str, Meaning]] = {
    "Q": Meaning(JobState.QUEUED),
    "H": Meaning(JobState.HELD),
    "W": Meaning(JobState.QUEUED, words="it waits for its start time or for its files"),
    "T": Meaning(JobState.QUEUED, words="it is being moved"),
    "M": Meaning(None, words="it was moved to another server"),
    "R": Meaning(JobState.RUNNING),
    "B": Meaning(JobState.RUNNING),
    "S": Meaning(JobState.SUSPENDED),
    "U": Meaning(JobState.SUSPENDED, words="its workstation is used by somebody"),
    "E": Meaning(JobState.RUNNING, Phase.COMPLETING),
}

#: Finished job, finished task of an array, completed job of Torque.
ENDED: Final = frozenset({"F", "X", "C"})

#: Letters of a job that has not begun, or that was put back.
WAITING: Final = frozenset({"Q", "H", "W", "T"})

#: Held by the system itself, until other jobs have come to a point.
DEPENDENCY_HOLD: Final = ("H", 22)

#: ``substate``, where it says more than the letter does.
SUBSTATES: Final[Mapping[tuple[str, int], Meaning]] = {
    DEPENDENCY_HOLD: Meaning(JobState.QUEUED, words="it waits for the jobs that it depends on"),
    ("H", 37): Meaning(JobState.HELD, reason=Reason.STAGE_IN_FAILED, words="its files could not be staged in"),
    ("R", 41): Meaning(JobState.QUEUED, Phase.STARTING),
    ("R", 71): Meaning(JobState.QUEUED, Phase.STARTING, words="its nodes are being provisioned"),
    ("R", 72): Meaning(JobState.QUEUED, Phase.STARTING, words="its nodes join"),
    ("R", 43): Meaning(JobState.SUSPENDED),
    ("R", 45): Meaning(JobState.SUSPENDED),
}

#: Substates of a job that has ended.
TERMINATED: Final = 91
FINISHED: Final = 92
FAILED: Final = 93

#: ``Exit_status`` from here on is 256 + the signal that ended the job; from 129 on, 128 + that of which its shell told.
SIGNAL_BASE: Final = 256
SHELL_SIGNAL_BASE: Final = 128
LAST_SIGNAL: Final = 64


@dataclass(frozen=True, slots=True)
class Failure:
    """A negative ``Exit_status``: PBS itself ended the job, or never started it.

    Args:
        reason: the gateway's word for it.
        words: what happened, for people.
        ran: whether the script may have run.
    """

    reason: Reason
    words: str
    ran: bool = True


EXECUTION_FAILURES: Final[Mapping[int, Failure]] = {
    -1: Failure(Reason.LAUNCH_FAILED, "it could not be started; its files were not set up yet", ran=False),
    -2: Failure(Reason.LAUNCH_FAILED, "it could not be started; its files were set up already", ran=False),
    -3: Failure(Reason.LAUNCH_FAILED, "it could not be started, though it was to be tried again", ran=False),
    -4: Failure(Reason.LAUNCH_FAILED, "it was aborted when the MOM of its node started anew"),
    -5: Failure(Reason.LAUNCH_FAILED, "it was aborted from a checkpoint when the MOM of its node started anew"),
    -6: Failure(Reason.LAUNCH_FAILED, "it was aborted from a movable checkpoint when its MOM started anew"),
    -7: Failure(Reason.LAUNCH_FAILED, "it could not be restarted from its checkpoint"),
    -10: Failure(Reason.LAUNCH_FAILED, "its account is not known on the node", ran=False),
    -11: Failure(Reason.NODE_FAIL, "it was to be run again, and was not"),
    -12: Failure(Reason.LAUNCH_FAILED, "it was checkpointed and killed"),
    -13: Failure(Reason.LAUNCH_FAILED, "the password of its account was not accepted", ran=False),
    -14: Failure(Reason.NODE_FAIL, "one of its nodes failed; it was to be run again, and was not"),
    -15: Failure(Reason.LAUNCH_FAILED, "it was to be restarted from its checkpoint, and was not"),
    -16: Failure(Reason.LAUNCH_FAILED, "a hook of the site failed; it was to be run again, and was not"),
    -17: Failure(Reason.LAUNCH_FAILED, "a hook of the site failed, and the job was deleted"),
    -18: Failure(Reason.NODE_FAIL, "a hook of the site asked for another run, which did not come"),
    -19: Failure(Reason.LAUNCH_FAILED, "a hook of the site deleted it"),
    -20: Failure(Reason.NODE_FAIL, "its first node failed; it was to be run again, and was not"),
    -21: Failure(Reason.LAUNCH_FAILED, "the node refused it for security reasons", ran=False),
    -22: Failure(Reason.LAUNCH_FAILED, "a hook of the site ended with an error"),
    -23: Failure(Reason.LAUNCH_FAILED, "its Kerberos credential could not be set up", ran=False),
    -24: Failure(Reason.LIMIT_EXCEEDED, "it used more cores at once than it had asked for"),
    -25: Failure(Reason.LIMIT_EXCEEDED, "it used more cores over all than it had asked for"),
    -26: Failure(Reason.OUT_OF_MEMORY, "it used more virtual memory than it had asked for"),
    -27: Failure(Reason.OUT_OF_MEMORY, "it used more memory than it had asked for"),
    -28: Failure(Reason.TIMEOUT, "it used more CPU time than it had asked for"),
    -29: Failure(Reason.TIMEOUT, "it ran longer than its walltime"),
    -30: Failure(Reason.LAUNCH_FAILED, "its nodes could not join it", ran=False),
}

#: For values that came after this table.
UNKNOWN_FAILURE: Final = Failure(Reason.LAUNCH_FAILED, "PBS could not carry it out")


def meaning(letter: str, substate: int | None) -> Meaning | None:
    """What a letter and a substate mean; ``None`` = the letter is not known.

    Args:
        letter: ``job_state``, none of ``ENDED``.
        substate: ``substate``, where the job has one.
    """
    if substate is not None and (letter, substate) in SUBSTATES:
        return SUBSTATES[letter, substate]
    return LETTERS.get(letter)
