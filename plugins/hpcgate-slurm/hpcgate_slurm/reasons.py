"""Why a job waits, in words: Slurm's own reasons are one word each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

REASONS: Final[Mapping[str, str]] = {
    "Priority": "jobs with a higher priority are before it",
    "Resources": "it is next, and waits for its resources to become free",
    "Dependency": "it waits for another job",
    "DependencyNeverSatisfied": "what it waits for can never happen; cancel it",
    "JobHeldUser": "its owner holds it",
    "JobHeldAdmin": "an administrator holds it",
    "JobHoldMaxRequeue": "it was requeued too often and is held",
    "BeginTime": "its start time has not come yet; after a requeue Slurm waits a moment too",
    "JobArrayTaskLimit": "the array's limit of running tasks is reached",
    "PartitionConfig": "it asks for more than the partition has; it will not start as it is",
    "PartitionNodeLimit": "it asks for more or fewer nodes than the partition allows; it will not start as it is",
    "PartitionTimeLimit": "it asks for more time than the partition allows; it will not start as it is",
    "PartitionDown": "the partition is down",
    "PartitionInactive": "the partition is inactive",
    "BadConstraints": "no nodes have what it asks for; it will not start as it is",
    "NodeDown": "a node that it asks for is down",
    "ReqNodeNotAvail": "a node that it asks for is not available",
    "Reservation": "its reservation has not begun",
    "ReservationDeleted": "its reservation was deleted; it is held",
    "InvalidAccount": "its account is not valid; it will not start as it is",
    "InvalidQOS": "its QOS is not valid; it will not start as it is",
    "AccountNotAllowed": "its account may not use the partition; it will not start as it is",
    "QOSNotAllowed": "its QOS may not be used with its account or partition; it will not start as it is",
    "Licenses": "it waits for a license",
    "NodesBusy": "nodes that it needs are busy",
    "Prolog": "the prolog runs",
    "Cleaning": "it was requeued and its last run is still being cleaned up",
    "BurstBufferResources": "it waits for room in the burst buffer",
    "BurstBufferStageIn": "its data are brought to the burst buffer",
    "MaxMemPerLimit": "it asks for more memory than is allowed; it will not start as it is",
    "SchedDefer": "the scheduler puts it off",
    "FrontEndDown": "no front end node can start it",
    "JobLaunchFailure": "it could not be started: is its output path or working directory wrong?",
    "launch_failed_requeued_held": "it could not be started, was put back and is held",
    "job_requeued_in_held_state": "it was put back and is held",
    "SystemFailure": "Slurm itself failed",
}

#: Beginnings of families of reasons: limits of a QOS and of an account.
FAMILIES: Final[Mapping[str, str]] = {
    "QOSMax": "it asks for more than its QOS allows, or its QOS's jobs have that much already",
    "QOSMin": "it asks for less than its QOS allows",
    "QOSGrp": "all jobs of its QOS together have reached a limit",
    "QOS": "a limit of its QOS is reached",
    "AssocMax": "it asks for more than its account allows, or the account's jobs have that much already",
    "AssocGrp": "all jobs of its account together have reached a limit",
    "Assoc": "a limit of its account is reached",
    "ReqNodeNotAvail": "a node that it asks for is not available",
    "MaxCpuPerAccount": "all jobs of its account together have reached a limit",
}


def explain(reason: str) -> str | None:
    """One line about a pending reason: what it means, and Slurm's own word; ``None`` for no reason."""
    if reason in ("", "None", "N/A"):
        return None
    words = REASONS.get(reason) or next((text for start, text in FAMILIES.items() if reason.startswith(start)), None)
    return f"{words} ({reason})" if words else f"it waits: {reason}"
