"""What each of Slurm's words for the state of a job means, as one table.

Slurm prints one word, and its flags hide the base state: COMPLETING may stand before a requeue as well as before the
end. A word that is not here keeps the job's last state.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from hpcgate.model.state import JobState, Phase, Reason


@dataclass(frozen=True, slots=True)
class NativeState:
    """What a word means.

    Args:
        code: Slurm's short form.
        state: of hpcgate.
        phase: a finer step inside it.
        reason: why it ended so, unless the exit code says more.
        note: for the table in the docs.
    """

    code: str
    state: JobState
    phase: Phase | None = None
    reason: Reason | None = None
    note: str = ""


_S, _P, _R = JobState, Phase, Reason

STATES: Final[Mapping[str, NativeState]] = {
    "PENDING": NativeState("PD", _S.QUEUED, note="`HELD` where the reason says that it is held"),
    "CONFIGURING": NativeState("CF", _S.QUEUED, _P.STARTING, note="nodes boot or are set up"),
    "POWER_UP_NODE": NativeState("", _S.QUEUED, _P.STARTING, note="a flag"),
    "RUNNING": NativeState("R", _S.RUNNING),
    "RESIZING": NativeState("RS", _S.RUNNING),
    "SIGNALING": NativeState("SI", _S.RUNNING),
    "SUSPENDED": NativeState("S", _S.SUSPENDED, note="its cores are free for others"),
    "STOPPED": NativeState("ST", _S.SUSPENDED, note="it keeps its cores"),
    "COMPLETING": NativeState("CG", _S.RUNNING, _P.COMPLETING, note="also seen before a requeue"),
    "STAGE_OUT": NativeState("SO", _S.RUNNING, _P.COMPLETING, note="burst buffer"),
    "EXPEDITING": NativeState("", _S.RUNNING, _P.COMPLETING, note="expedited requeue"),
    "COMPLETED": NativeState("CD", _S.COMPLETED),
    "FAILED": NativeState("F", _S.FAILED, note="by its exit code: `EXIT_NONZERO`, `SIGNALED` or `LAUNCH_FAILED`"),
    "CANCELLED": NativeState("CA", _S.CANCELED, note="by the uid after it: `CANCELED_BY_USER` or `CANCELED_BY_ADMIN`"),
    "TIMEOUT": NativeState("TO", _S.FAILED, reason=_R.TIMEOUT),
    "OUT_OF_MEMORY": NativeState("OOM", _S.FAILED, reason=_R.OUT_OF_MEMORY),
    "NODE_FAIL": NativeState("NF", _S.FAILED, reason=_R.NODE_FAIL, note="if it is not back in the queue"),
    "PREEMPTED": NativeState("PR", _S.FAILED, reason=_R.PREEMPTED, note="if it is not back in the queue"),
    "BOOT_FAIL": NativeState("BF", _S.FAILED, reason=_R.BOOT_FAIL),
    "DEADLINE": NativeState("DL", _S.FAILED, reason=_R.DEADLINE),
    "LAUNCH_FAILED": NativeState("", _S.FAILED, reason=_R.LAUNCH_FAILED, note="a flag"),
    "RECONFIG_FAIL": NativeState("", _S.FAILED, reason=_R.LAUNCH_FAILED, note="a flag"),
    "REQUEUED": NativeState("RQ", _S.QUEUED, note="a new attempt"),
    "REQUEUE_FED": NativeState("RF", _S.QUEUED, note="a new attempt, on a sibling cluster"),
    "REQUEUE_HOLD": NativeState("RH", _S.HELD, note="a new attempt"),
    "SPECIAL_EXIT": NativeState("SE", _S.HELD, note="a new attempt; a requeue that is held"),
    "RESV_DEL_HOLD": NativeState("RD", _S.HELD, note="its reservation was deleted"),
    "REVOKED": NativeState("RV", _S.CANCELED, reason=_R.REVOKED, note="a sibling cluster has it"),
}  # fmt: skip

#: Flags, which stand beside a base state where Slurm tells both; of several the first one counts, as Slurm prints them.
FLAGS: Final = (
    "COMPLETING", "STAGE_OUT", "CONFIGURING", "POWER_UP_NODE", "EXPEDITING", "RESIZING", "REQUEUED", "REQUEUE_FED",
    "REQUEUE_HOLD", "SPECIAL_EXIT", "STOPPED", "REVOKED", "RESV_DEL_HOLD", "SIGNALING",
)  # fmt: skip
#: Flags that say only why a job failed.
CAUSES: Final = ("LAUNCH_FAILED", "RECONFIG_FAIL")

#: Pending reasons with which a job waits for somebody to release it.
HELD_REASONS: Final = frozenset(
    {
        "JobHeldUser",
        "JobHeldAdmin",
        "JobHoldMaxRequeue",
        "DependencyNeverSatisfied",
        "ReservationDeleted",
        "launch_failed_requeued_held",
        "launch failed requeued held",
        "job_requeued_in_held_state",
        "job requeued in held state",
    }
)

#: Reason of a job that waits for another one; in accounting, also of one that Slurm then canceled.
DEPENDENCY: Final = "Dependency"
#: Reason of a job whose wait cannot end any more.
NEVER_SATISFIED: Final = "DependencyNeverSatisfied"

#: Exit "signal" of a job whose script could not be started (no folder for its output, say).
LAUNCH_SIGNAL: Final = 53


def shown(words: Sequence[str]) -> str:
    """The word that counts among a base state and its flags."""
    base = next((word for word in words if word not in FLAGS and word not in CAUSES), "")
    cause = next((flag for flag in CAUSES if flag in words and base in ("", "FAILED")), base)
    return next((flag for flag in FLAGS if flag in words), cause)


def look_up(word: str) -> tuple[str, NativeState | None]:
    """The word without what Slurm adds to it (``CANCELLED by 1000``, ``RUNNING+``), and what it means."""
    plain = word.split(maxsplit=1)[0].rstrip("+") if word.strip() else ""
    return plain, STATES.get(plain)
