"""Rows of the queue as observations."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Final

from hpcgate.model.job import Observation, TaskObservation, Usage
from hpcgate.model.state import Evidence, JobState, Phase, Reason

Row = Mapping[str, Any]

#: The spooler's words -> the gateway's.
STATES: Final = {
    "QUEUED": JobState.QUEUED,
    "HELD": JobState.HELD,
    "STARTING": JobState.QUEUED,
    "RUNNING": JobState.RUNNING,
    "COMPLETED": JobState.COMPLETED,
    "FAILED": JobState.FAILED,
    "CANCELED": JobState.CANCELED,
}


def observe(answer: Mapping[str, Any], evidence: Evidence) -> list[Observation]:
    """What the queue said of its jobs.

    Args:
        answer: of ``Spool.list`` or ``Spool.find``.
        evidence: what it counts as.
    """
    tasks: dict[int, list[Row]] = defaultdict(list)
    for task in answer["tasks"]:
        tasks[task["job_id"]].append(task)
    node = (answer["node"],)
    return [_observation(row, tasks.get(row["id"], ()), node, evidence) for row in answer["jobs"]]


def _observation(row: Row, tasks: Sequence[Row], node: tuple[str, ...], evidence: Evidence) -> Observation:
    word = row["state"]
    if word in ("QUEUED", "HELD"):  # nearly all of a long queue: nothing else is known of them
        return Observation(
            native_id=str(row["id"]),
            state=STATES[word],
            evidence=evidence,
            native_state=word,
            submitted_at=row["submitted_at"],
            restarts=row["attempt"] - 1,
            key=row["key"],
        )
    return Observation(
        native_id=str(row["id"]),
        state=STATES[word],
        evidence=evidence,
        phase=Phase.STARTING if word == "STARTING" else None,
        reason=_reason(row),
        message=row["message"],
        exit_code=row["exit_code"],
        signal=row["signal"],
        native_state=word,
        submitted_at=row["submitted_at"],
        started_at=row["started_at"],
        ended_at=row["ended_at"],
        restarts=row["attempt"] - 1,
        key=row["key"],
        nodes=node if row["started_at"] is not None else (),
        usage=_usage(row),
        tasks=tuple(_task(task, str(row["id"]), node) for task in tasks),
    )


def _task(row: Row, job_id: str, node: tuple[str, ...]) -> TaskObservation:
    return TaskObservation(
        index=row["idx"],
        state=STATES[row["state"]],
        reason=_reason(row),
        exit_code=row["exit_code"],
        signal=row["signal"],
        native_id=f"{job_id}_{row['idx']}",
        started_at=row["started_at"],
        ended_at=row["ended_at"],
        nodes=node,
        usage=_usage(row),
    )


def _reason(row: Row) -> Reason | None:
    return None if row["reason"] is None else Reason(row["reason"])


def _usage(row: Row) -> Usage | None:
    if row["cpu_time_s"] is None:
        return None
    return Usage(cpu_time_s=row["cpu_time_s"], max_rss_kib=row["max_rss_kib"])
