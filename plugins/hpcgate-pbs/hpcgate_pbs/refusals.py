"""What it means when a PBS command fails: its exit status is ``pbs_errno`` modulo 256, its words are on stderr.

A refusal is *permanent* (the same request will be refused again), *transient* (it may work later and was surely not
carried out) or *ambiguous* (it may have been carried out).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from hpcgate.scheduler.command import Answer

UNKNOWN_JOB: Final = 153
FINISHED_JOB: Final = 35
USAGE: Final = 2
PERMISSION: Final = 159
UNKNOWN_SIGNAL: Final = 165
BAD_STATE: Final = 168


class Kind(StrEnum):
    """What may be done about a refusal."""

    PERMANENT = "permanent"
    TRANSIENT = "transient"
    AMBIGUOUS = "ambiguous"


#: Exit statuses of commands that were surely not carried out and may be repeated; ``pbs_errno`` beside each.
TRANSIENT_STATUSES: Final[Mapping[int, str]] = {
    162: "15010 system error in the server",
    163: "15011 internal error of the server",
    185: "15033 too many connections",
    186: "15034 no server to connect to",
    198: "15046 too many jobs of this kind in the queue",
    211: "15059 another server does not answer",
    212: "15060 the server shuts down",
}

_NO_CONNECTION = re.compile(
    r"cannot connect to server|connection refused|no route to host|network is unreachable|name or service not known"
    r"|unknown host|no default server|server shutting down|too many (?:open )?connections|cannot allocate memory"
    r"|resource temporarily unavailable|would exceed .*limit|maximum number of jobs|out of memory"
    r"|no space left|disk quota exceeded|could not create/open tmp file|error writing copy of script"
    r"|copy of script to tmp failed|unable to initialize security library|cannot get full local host name",
    re.IGNORECASE,
)
_BROKEN_OFF = re.compile(
    r"end of file|connection reset|broken pipe|communication failure|protocol (?:\(asn\.1\) )?error"
    r"|connection timed out|premature end|read error",
    re.IGNORECASE,
)
_HISTORY_OFF = re.compile(r"not configured to maintain job history", re.IGNORECASE)
_UNKNOWN = re.compile(r"Unknown Job Id[:,]?\s+(\S+)", re.IGNORECASE)
_FINISHED = re.compile(r"(\S+)\s+Job has finished", re.IGNORECASE)


def kind_of(answer: Answer) -> Kind:
    """What a command that failed leaves open.

    A command that was killed, or whose connection broke after it had begun, may have been carried out. What is
    neither that nor a known passing trouble is the server's considered answer.
    """
    if answer.exit_status < 0 or _BROKEN_OFF.search(answer.stderr):
        return Kind.AMBIGUOUS
    if answer.exit_status in TRANSIENT_STATUSES or _NO_CONNECTION.search(answer.stderr):
        return Kind.TRANSIENT
    if answer.exit_status > 128 and not answer.stderr.strip():
        return Kind.AMBIGUOUS  # a shell's word for a command that was killed
    return Kind.PERMANENT


def unknown_jobs(stderr: str) -> frozenset[str]:
    """The ids of which a command says that PBS does not know them."""
    return frozenset(_UNKNOWN.findall(stderr))


def finished_jobs(stderr: str) -> frozenset[str]:
    """The ids of which a command says that they have finished."""
    return frozenset(_FINISHED.findall(stderr))


def history_off(stderr: str) -> bool:
    """Whether the server says that it keeps no history; it says so with exit status 0."""
    return bool(_HISTORY_OFF.search(stderr))


def complaints(stderr: str) -> list[str]:
    """The lines of a command that say something about other things than unknown or finished jobs, or history."""
    about_jobs = (_UNKNOWN, _FINISHED, _HISTORY_OFF)
    return [line for line in stderr.splitlines() if line.strip() and not any(each.search(line) for each in about_jobs)]
