"""Containers as observations: what an engine says of them, and where that is not enough, what their folders say."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from hpcgate.model.files import JobFolder
from hpcgate.model.job import Observation, TaskObservation
from hpcgate.model.state import Evidence, JobState, Phase, Reason
from hpcgate.scheduler.evidence import MAX_RECORD_BYTES, parse_exit
from hpcgate.scheduler.tasks import Derived, derive
from hpcgate.scheduler.wrapper import CLAIMED_EXIT, SETUP_EXIT
from hpcgate.transport.base import Transport
from hpcgate_container import labels
from hpcgate_container.engine import Seen
from hpcgate_container.script import RECORDED_EXIT

#: The engines' words -> the gateway's; for what is new and what has ended see below.
STATES: Final[Mapping[str, tuple[JobState, Phase | None]]] = {
    "running": (JobState.RUNNING, None),
    "restarting": (JobState.RUNNING, None),
    "stopping": (JobState.RUNNING, Phase.COMPLETING),
    "paused": (JobState.SUSPENDED, None),
}

#: Exit statuses of the batch script that mean "read what it has written down".
RECORDED: Final = frozenset({RECORDED_EXIT, CLAIMED_EXIT, SETUP_EXIT})
#: Exit statuses of a shell or an engine that could not start a program.
UNSTARTED: Final[Mapping[int, str]] = {
    125: "the engine could not run it",
    126: "a program could not be run in the image",
    127: "a program was not found in the image",
}
#: 128 + the last signal.
_LAST_SIGNAL: Final = 192
#: Clocks of engine and container agree, but a start is noted a moment late.
_SLACK_S: Final = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """How a container ended.

    Args:
        state: a final.
        reason, message, exit_code, signal: as of an observation.
        evidence: where it was read.
    """

    state: JobState
    reason: Reason | None = None
    message: str | None = None
    exit_code: int | None = None
    signal: int | None = None
    evidence: Evidence = Evidence.QUEUE


class Folders:
    """The job folders of one site, during one poll.

    Args:
        work_root: absolute, or below ``~/``.
        transport: the way there.
    """

    def __init__(self, work_root: str, transport: Transport) -> None:
        self._work_root = work_root
        self._transport = transport
        self._canceled: dict[str, bool] = {}

    def of(self, key: str) -> JobFolder:
        """The folder of a job."""
        return JobFolder.of(self._work_root, key)

    def canceled(self, key: str) -> bool:
        """Whether the gateway was asked to end the job before it had ended."""
        if key not in self._canceled:
            self._canceled[key] = self._transport.stat(cancel_mark(self.of(key))) is not None
        return self._canceled[key]

    def record(self, kind: str, seen: Seen) -> Mapping[str, Any] | None:
        """The ``exit`` or ``stopped`` record of a container; ``None`` = there is none."""
        folder, attempt, index = self.of(key_of(seen)), attempt_of(seen), index_of(seen)
        path = folder.exit(attempt, index) if kind == "exit" else folder.stopped(attempt, index)
        try:
            record = json.loads(self._transport.read(path, length=MAX_RECORD_BYTES).data)
        except FileNotFoundError:
            return None
        except (ValueError, RecursionError):
            return None  # the job's own account may have written anything there
        native_id = labels.native_id(key_of(seen))
        return record if isinstance(record, dict) and record.get("native_id") == native_id else None

    def remove_secrets(self, key: str) -> None:
        """Removes what an ended job may not have removed itself."""
        self._transport.remove(self.of(key).secrets)


def cancel_mark(folder: JobFolder) -> str:
    """The file that says that a job was to be ended."""
    return f"{folder.root}/canceled"


def key_of(seen: Seen) -> str:
    """The key of the job that a container belongs to."""
    return seen.labels[labels.KEY]


def attempt_of(seen: Seen) -> int:
    """Its attempt."""
    return int(seen.labels.get(labels.ATTEMPT, "1"))


def index_of(seen: Seen) -> int | None:
    """Its index in an array; ``None`` = it is a whole job."""
    text = seen.labels.get(labels.INDEX)
    return None if text is None else int(text)


# --- one container ------------------------------------------------------------------------------------------------


def end_of(seen: Seen, folders: Folders) -> End | None:
    """How a container ended; ``None`` = it has not."""
    if seen.new:
        return _unstarted(seen, folders)
    if not seen.ended:
        return None
    if seen.exit_code is None or seen.exit_code < 0:
        return _unknown(seen, folders)
    if seen.oom_killed:
        return _failed(seen.exit_code, Reason.OUT_OF_MEMORY, "it used more memory than its limit")
    if seen.exit_code == 0:
        return End(state=JobState.COMPLETED, exit_code=0)
    if seen.exit_code in RECORDED and (end := _recorded(seen, folders)) is not None:
        return end
    if folders.canceled(key_of(seen)):
        return _canceled(seen.exit_code)
    if seen.exit_code in UNSTARTED and folders.record("exit", seen) is None:
        words = UNSTARTED[seen.exit_code]
        return _failed(seen.exit_code, Reason.LAUNCH_FAILED, f"{words}: {seen.error}" if seen.error else words)
    if signal_of(seen.exit_code) is not None and _over_time(seen):
        return _failed(seen.exit_code, Reason.TIMEOUT, None)
    return _failed(seen.exit_code, None, UNSTARTED.get(seen.exit_code))


def signal_of(exit_code: int) -> int | None:
    """The signal that a shell reports as 128 + its number."""
    return exit_code - 128 if 128 < exit_code <= _LAST_SIGNAL else None


def _failed(exit_code: int, reason: Reason | None, message: str | None) -> End:
    signal = signal_of(exit_code)
    told = reason or (Reason.EXIT_NONZERO if signal is None else Reason.SIGNALED)
    code = exit_code if signal is None and exit_code not in RECORDED else None
    return End(state=JobState.FAILED, reason=told, message=message, exit_code=code, signal=signal)


def _canceled(exit_code: int | None) -> End:
    signal = None if exit_code is None else signal_of(exit_code)
    return End(state=JobState.CANCELED, reason=Reason.CANCELED_BY_USER, signal=signal)


def _unstarted(seen: Seen, folders: Folders) -> End | None:
    """A container that could not be started has a record; one that was canceled before its start will never be."""
    if (record := folders.record("exit", seen)) is not None:
        return _of_record(record)
    return _canceled(None) if folders.canceled(key_of(seen)) else None


def _unknown(seen: Seen, folders: Folders) -> End:
    """The engine does not know the exit status: it ended the container by its own clock, or was itself interrupted."""
    if (record := folders.record("exit", seen)) is not None:
        return _of_record(record)
    if folders.canceled(key_of(seen)):
        return _canceled(None)
    if _over_time(seen):
        return End(state=JobState.FAILED, reason=Reason.TIMEOUT)
    words = "the engine or its host went down while it ran; its result is not known"
    return End(state=JobState.FAILED, reason=Reason.NODE_FAIL, message=words)


def _recorded(seen: Seen, folders: Folders) -> End | None:
    """What the batch script has written down; ``None`` = nothing that says how it ended."""
    if (record := folders.record("exit", seen)) is not None:
        return _of_record(record)
    if folders.canceled(key_of(seen)):
        return None
    record = folders.record("stopped", seen)
    if record is None:
        return None
    # It was told to end, by somebody at the engine, and did.
    return _of_record(record, Evidence.QUEUE)


def _of_record(record: Mapping[str, Any], evidence: Evidence = Evidence.EXIT_FILE) -> End:
    told = parse_exit(record, evidence)
    assert told.state is not None
    return End(
        state=told.state,
        reason=told.reason,
        message=told.message,
        exit_code=told.exit_code,
        signal=told.signal,
        evidence=evidence,
    )


def _over_time(seen: Seen) -> bool:
    walltime_s = int(seen.labels.get(labels.WALLTIME, "0"))
    if not walltime_s or seen.started_at is None or seen.ended_at is None:
        return False
    return seen.ended_at - seen.started_at >= walltime_s - _SLACK_S


def _now(seen: Seen) -> tuple[JobState | None, Phase | None]:
    """Where a container that has not ended is."""
    if seen.new:
        held = labels.HOLD in seen.labels
        return (JobState.HELD, None) if held else (JobState.QUEUED, Phase.STARTING)
    return STATES.get(seen.status, (None, None))


# --- one job ------------------------------------------------------------------------------------------------------


def observe(containers: Sequence[Seen], ends: Mapping[str, End]) -> Observation | None:
    """What is known of a job; ``None`` = an array of which containers are missing, so that nothing can be said.

    Args:
        containers: all of the job's.
        ends: how those that have ended did, by name.
    """
    first = containers[0]
    if index_of(first) is None:
        return _single(first, ends.get(first.name))
    return _array(sorted(containers, key=lambda seen: index_of(seen) or 0), ends)


def _single(seen: Seen, end: End | None) -> Observation:
    state, phase = (end.state, None) if end else _now(seen)
    return Observation(
        native_id=labels.native_id(key_of(seen)),
        state=state,
        evidence=end.evidence if end else Evidence.QUEUE,
        phase=phase,
        reason=end.reason if end else None,
        message=end.message if end else None,
        exit_code=end.exit_code if end else None,
        signal=end.signal if end else None,
        native_state=seen.status,
        native_reason=seen.error or None,
        submitted_at=seen.created_at,
        started_at=seen.started_at,
        ended_at=seen.ended_at if end else None,
        key=key_of(seen),
        nodes=(seen.node,) if seen.started_at is not None and seen.node else (),
    )


def _array(containers: Sequence[Seen], ends: Mapping[str, End]) -> Observation | None:
    total = int(containers[0].labels.get(labels.TASKS, "0"))
    if len(containers) < total:
        return None
    tasks = [task for seen in containers if (task := _task(seen, ends.get(seen.name))) is not None]
    found: Derived | None = derive(tasks, total) if len(tasks) == total else None
    final = found is not None and found.state.final
    over = [end for seen in containers if (end := ends.get(seen.name)) is not None and end.message]
    return Observation(
        native_id=labels.native_id(key_of(containers[0])),
        state=found.state if found else None,
        evidence=Evidence.QUEUE,
        reason=found.reason if found else None,
        message=over[0].message if final and over else None,
        exit_code=found.exit_code if found else None,
        signal=found.signal if found else None,
        native_state=",".join(sorted({seen.status for seen in containers})),
        submitted_at=min((seen.created_at for seen in containers if seen.created_at is not None), default=None),
        started_at=min((seen.started_at for seen in containers if seen.started_at is not None), default=None),
        ended_at=max((seen.ended_at for seen in containers if seen.ended_at is not None), default=None)
        if final
        else None,
        key=key_of(containers[0]),
        nodes=(containers[0].node,) if any(seen.started_at is not None for seen in containers) else (),
        tasks=tuple(tasks),
    )


def _task(seen: Seen, end: End | None) -> TaskObservation | None:
    state = end.state if end else _now(seen)[0]
    if state is None:
        return None
    return TaskObservation(
        index=index_of(seen) or 0,
        state=state,
        reason=end.reason if end else None,
        exit_code=end.exit_code if end else None,
        signal=end.signal if end else None,
        native_id=seen.name,
        started_at=seen.started_at,
        ended_at=seen.ended_at if end else None,
        nodes=(seen.node,) if seen.started_at is not None and seen.node else (),
    )
