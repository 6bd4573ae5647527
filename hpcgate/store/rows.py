"""Rows to models and back."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from hpcgate.model.job import Attempt, Event, Job, JobRef, Task, TaskObservation, Usage
from hpcgate.model.move import Claim, Snapshot
from hpcgate.model.state import Evidence, JobState, Phase, Reason
from hpcgate.store.dialect import Row
from hpcgate.store.specs import load_spec
from hpcgate.store.tables import AttemptRow, EventRow, TaskRow

_STATES: Final = {state.value: state for state in JobState}
_REASONS: Final[Mapping[str | None, Reason | None]] = {None: None, **{reason.value: reason for reason in Reason}}
_PHASES: Final[Mapping[str | None, Phase | None]] = {None: None, **{phase.value: phase for phase in Phase}}
_EVIDENCE: Final[Mapping[str | None, Evidence | None]] = {
    None: None,
    **{evidence.value: evidence for evidence in Evidence},
}


def columns(model: Any) -> tuple[str, ...]:
    """The names of a table's columns, in order."""
    return tuple(field.column_name for field in model._meta.sorted_fields)  # noqa: SLF001


def insert(model: Any) -> str:
    """The statement that adds a whole row to a table."""
    names = columns(model)
    marks, table = ", ".join("?" * len(names)), model._meta.table_name  # noqa: SLF001
    return f"INSERT INTO {table} ({', '.join(names)}) VALUES ({marks})"  # noqa: S608


def dump_list(items: Iterable[Any]) -> str | None:
    """A list as it is stored; an empty one is ``NULL``."""
    found = list(items)
    return json.dumps(found) if found else None


def load_list(text: str | None) -> tuple[Any, ...]:
    """Undoes ``dump_list``."""
    return tuple(json.loads(text)) if text else ()


def dump_map(items: Mapping[str, Any]) -> str | None:
    """A mapping of JSON data as it is stored; an empty one is ``NULL``."""
    return json.dumps(dict(items)) if items else None


def load_map(text: str | None) -> dict[str, Any]:
    """Undoes ``dump_map``."""
    return dict(json.loads(text)) if text else {}


# --- job ------------------------------------------------------------------------------------------------------------

_JOB_COLUMNS: Final = [
    "id",
    "key",
    "owner",
    "site",
    "state",
    "attempt",
    "phase",
    "reason",
    "message",
    "exit_code",
    "signal",
    "native_id",
    "native_state",
    "native_reason",
    "evidence",
    "canceling",
    "folder",
    "account",
    "stdout_path",
    "stderr_path",
    "created_at",
    "submitted_at",
    "started_at",
    "ended_at",
    "updated_at",
    "nodes",
    "cpu_ids",
    "gpu_ids",
    "cpu_time_s",
    "max_rss_kib",
    "dialect",
    "dialect_data",
    "workflow_id",
    "revision",
    "expires_at",
    "retry_of",
]
_SELECT: Final = "SELECT " + ", ".join(f"j.{name}" for name in _JOB_COLUMNS) + ", s.spec, s.secret_names, "
_FROM: Final = " FROM job j JOIN job_spec s ON s.job_id = j.id "

#: Reads jobs whole; a condition on ``j`` follows.
SELECT_JOB: Final = _SELECT + "s.script, s.inputs" + _FROM
#: Reads jobs for lists: neither scripts nor the contents of input files are read.
SELECT_LISTED_JOB: Final = _SELECT + "NULL, NULL" + _FROM


def job(row: Row) -> Job:
    """A job from a row of ``SELECT_JOB`` or ``SELECT_LISTED_JOB``."""
    (
        id_,
        key,
        owner,
        site,
        state,
        attempt,
        phase,
        reason,
        message,
        exit_code,
        signal,
        native_id,
        native_state,
        native_reason,
        evidence,
        canceling,
        folder,
        account,
        stdout_path,
        stderr_path,
        created_at,
        submitted_at,
        started_at,
        ended_at,
        updated_at,
        nodes,
        cpu_ids,
        gpu_ids,
        cpu_time_s,
        max_rss_kib,
        dialect,
        dialect_data,
        workflow_id,
        revision,
        expires_at,
        retry_of,
        *spec,
    ) = row
    return Job(
        id=id_,
        key=key,
        owner=owner,
        site=site,
        spec=load_spec(*spec),
        state=_STATES[state],
        attempt=attempt,
        phase=_PHASES[phase],
        reason=_REASONS[reason],
        message=message,
        exit_code=exit_code,
        signal=signal,
        native_id=native_id,
        native_state=native_state,
        native_reason=native_reason,
        evidence=_EVIDENCE[evidence],
        canceling=bool(canceling),
        folder=folder,
        account=account,
        stdout_path=stdout_path,
        stderr_path=stderr_path,
        created_at=created_at,
        submitted_at=submitted_at,
        started_at=started_at,
        ended_at=ended_at,
        updated_at=updated_at,
        nodes=load_list(nodes),
        cpu_ids=load_list(cpu_ids),
        gpu_ids=load_list(gpu_ids),
        usage=usage(cpu_time_s, max_rss_kib),
        dialect=dialect,
        dialect_data=load_map(dialect_data),
        workflow_id=workflow_id,
        revision=revision,
        expires_at=expires_at,
        retry_of=retry_of,
    )


def usage(cpu_time_s: float | None, max_rss_kib: int | None) -> Usage | None:
    """What was used; ``None`` = nothing is known."""
    if cpu_time_s is None and max_rss_kib is None:
        return None
    return Usage(cpu_time_s=cpu_time_s, max_rss_kib=max_rss_kib)


#: Reads jobs for reconcile; a condition on ``job`` follows.
SELECT_SNAPSHOT: Final = (
    "SELECT id, key, native_id, attempt, folder, account, submitted_at, is_array, owner, state, phase, native_state, "
    "native_reason, message, canceling, cancel_reason, started_at, nodes, absent_since, claim_holder, claim_until, "
    "submitting_since, absences, updated_at, "
    # Only a job with tasks has had rows for them from the beginning.
    "CASE WHEN is_array THEN 0 ELSE "
    "(SELECT count(*) FROM job_task t WHERE t.job_id = job.id AND t.attempt = 1 AND t.role = '') END FROM job "
)


def snapshot(row: Row) -> Snapshot:
    """A snapshot from a row of ``SELECT_SNAPSHOT``."""
    (
        id_,
        key,
        native_id,
        attempt,
        folder,
        account,
        submitted_at,
        is_array,
        owner,
        state,
        phase,
        native_state,
        native_reason,
        message,
        canceling,
        cancel_reason,
        started_at,
        nodes,
        absent_since,
        claim_holder,
        claim_until,
        submitting_since,
        absences,
        updated_at,
        tasks,
    ) = row
    return Snapshot(
        ref=JobRef(
            id=id_,
            key=key,
            native_id=native_id,
            attempt=attempt,
            folder=folder or "",
            account=account,
            submitted_at=submitted_at,
            array=bool(is_array),
            tasks=tasks,
        ),
        owner=owner,
        state=_STATES[state],
        attempt=attempt,
        phase=_PHASES[phase],
        native_state=native_state,
        native_reason=native_reason,
        message=message,
        canceling=bool(canceling),
        cancel_reason=_REASONS[cancel_reason],
        started_at=started_at,
        nodes=load_list(nodes),
        absent_since=absent_since,
        claim=Claim(claim_holder or "", claim_until) if claim_holder or claim_until else None,
        submitting_since=submitting_since,
        absences=absences,
        updated_at=updated_at,
    )


# --- changes to a job -----------------------------------------------------------------------------------------------


def clean(value: Any) -> Any:
    """A value as databases take it. Text from a site may hold what is no Unicode: one job must not spoil a batch."""
    if not isinstance(value, str) or (value.isascii() and "\0" not in value):
        return value
    return value.encode("utf-8", "replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")


def _value(item: Any) -> Any:
    return None if item is None else item.value


#: What a move may change: field -> how it is stored. ``usage`` fills two columns, see ``change_columns``.
_CHANGES: Final[Mapping[str, Callable[[Any], Any]]] = {
    **dict.fromkeys(
        [
            "site",
            "folder",
            "account",
            "stdout_path",
            "stderr_path",
            "message",
            "exit_code",
            "signal",
            "native_id",
            "native_state",
            "native_reason",
            "submitted_at",
            "started_at",
            "ended_at",
            "absent_since",
            "absences",
            "submitting_since",
            "dialect",
            "workflow_id",
            "expires_at",
        ],
        clean,
    ),
    **dict.fromkeys(("phase", "reason", "evidence", "cancel_reason"), _value),
    **dict.fromkeys(("nodes", "cpu_ids", "gpu_ids"), dump_list),
    "canceling": bool,
    "dialect_data": dump_map,
}


def change_columns(changes: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of a job that change, as columns.

    Raises:
        ValueError: a field that no move may change.
    """
    stored: dict[str, Any] = {}
    for name, value in changes.items():
        if name == "usage":
            stored["cpu_time_s"] = value.cpu_time_s if value else None
            stored["max_rss_kib"] = value.max_rss_kib if value else None
        elif name not in _CHANGES:
            raise ValueError(f"a move cannot change {name!r}; it can change {', '.join(sorted([*_CHANGES, 'usage']))}")
        else:
            stored[name] = None if value is None else _CHANGES[name](value)
    return stored


# --- tasks, attempts, events ----------------------------------------------------------------------------------------

SELECT_TASK: Final = f"SELECT {', '.join(columns(TaskRow))} FROM job_task "  # noqa: S608
SELECT_ATTEMPT: Final = f"SELECT {', '.join(columns(AttemptRow))} FROM job_attempt "  # noqa: S608
#: Reads the current attempt out of the job's own row; a condition on ``job`` follows.
SELECT_CURRENT_ATTEMPT: Final = (
    "SELECT id, attempt, state, native_id, reason, exit_code, signal, submitted_at, started_at, ended_at, nodes "
    "FROM job "
)
EVENT_COLUMNS: Final = ", ".join(f"e.{name}" for name in columns(EventRow))


def task_row(job_id: int, attempt: int, task: TaskObservation) -> Sequence[Any]:
    """A row of ``job_task``."""
    used = task.usage or Usage()
    return (
        job_id,
        attempt,
        task.role,
        task.index,
        task.state.value,
        _value(task.reason),
        task.exit_code,
        task.signal,
        clean(task.native_id),
        task.started_at,
        task.ended_at,
        dump_list(task.nodes),
        used.cpu_time_s,
        used.max_rss_kib,
    )


def task(row: Row) -> Task:
    """A task from a row of ``SELECT_TASK``."""
    (job_id, attempt, role, index, state, reason, exit_code, signal, native_id, started_at, ended_at, nodes, *used) = (
        row
    )
    return Task(
        job_id=job_id,
        attempt=attempt,
        role=role,
        index=index,
        state=_STATES[state],
        reason=_REASONS[reason],
        exit_code=exit_code,
        signal=signal,
        native_id=native_id,
        started_at=started_at,
        ended_at=ended_at,
        nodes=load_list(nodes),
        usage=usage(*used),
    )


def attempt(row: Row) -> Attempt:
    """An attempt from a row of ``SELECT_ATTEMPT``."""
    (job_id, number, state, native_id, reason, exit_code, signal, submitted_at, started_at, ended_at, nodes) = row
    return Attempt(
        job_id=job_id,
        attempt=number,
        state=_STATES[state],
        native_id=native_id,
        reason=_REASONS[reason],
        exit_code=exit_code,
        signal=signal,
        submitted_at=submitted_at,
        started_at=started_at,
        ended_at=ended_at,
        nodes=load_list(nodes),
    )


def event(row: Row) -> Event:
    """An event from a row of ``EVENT_COLUMNS``."""
    (seq, at, type_, job_id, owner, actor, data) = row
    return Event(seq=seq, at=at, type=type_, job_id=job_id, owner=owner, actor=actor, data=json.loads(data))
