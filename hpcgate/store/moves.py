"""Changes to jobs: each a compare-and-swap on (id, state, attempt), many in one transaction."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

from hpcgate.errors import LeaseLost
from hpcgate.model.lease import Lease
from hpcgate.model.move import Move
from hpcgate.store import rows
from hpcgate.store.adding import state_data
from hpcgate.store.session import EventDraft, Row, Session
from hpcgate.store.tables import TaskRow

#: What a new attempt knows nothing of.
_FRESH: Final[Mapping[str, Any]] = {
    **dict.fromkeys(
        [
            "phase",
            "reason",
            "message",
            "exit_code",
            "signal",
            "native_state",
            "native_reason",
            "evidence",
            "started_at",
            "ended_at",
            "nodes",
            "cpu_ids",
            "gpu_ids",
            "cpu_time_s",
            "max_rss_kib",
            "absent_since",
        ]
    ),
    "absences": 0,
}

#: What the events of a move tell of the job, as it is after the move.
_OUTCOME: Final = ("reason", "exit_code", "signal", "evidence", "native_id", "message")

_CLOSE_ATTEMPT: Final = (
    "INSERT INTO job_attempt (job_id, attempt, state, native_id, reason, exit_code, signal, submitted_at, started_at, "
    "ended_at, nodes) SELECT id, attempt, state, native_id, reason, exit_code, signal, submitted_at, started_at, "
    "COALESCE(ended_at, ?), nodes FROM job WHERE "
)


def carry_out(session: Session, moves: Sequence[Move], lease: Lease | None) -> list[bool]:
    """Carries out moves in their order, in one transaction; see ``JobStore.move``."""
    now = time.time()
    carried_out, marks, tasks = [], [], []
    with session.transaction():
        if lease is not None:
            _check_lease(session, lease)
        for move in moves:
            row = _swap(session, move, now)
            carried_out.append(row is not None)
            if row is None:
                continue
            for event in _events(move, row, now):
                session.emit(event)
            if move.new is not move.old:
                marks.append((move.new.value, move.job_id))
            tasks += [rows.task_row(move.job_id, move.new_attempt or move.attempt, task) for task in move.tasks]
        session.execute_many("UPDATE job_mark SET state = ? WHERE job_id = ?", marks)
        session.execute_many(_PUT_TASK, tasks)
    return carried_out


def _check_lease(session: Session, lease: Lease) -> None:
    held = (lease.name, lease.holder, lease.token)
    if session.one("SELECT 1 FROM lease WHERE name = ? AND holder = ? AND token = ?", held) is None:
        raise LeaseLost(f"{lease.holder} no longer holds the lease {lease.name!r}; nothing was written")


def _swap(session: Session, move: Move, now: float) -> Row | None:
    """The swap itself; the owner and the outcome as they are after it, or ``None`` when somebody else was first."""
    condition = "id = ? AND state = ? AND attempt = ?"
    expected: list[Any] = [move.job_id, move.old.value, move.attempt]
    if move.held_claim:
        condition += " AND claim_holder = ?"
        expected.append(move.held_claim)
    elif move.held_claim is not None:
        condition += " AND claim_holder IS NULL"
    if move.new_attempt is not None:
        session.execute(_CLOSE_ATTEMPT + condition, [now, *expected])
    columns = _columns(move)
    sql = _update(tuple(columns), condition)
    return session.one(sql, [now, *columns.values(), *expected])


@lru_cache(maxsize=256)
def _update(columns: tuple[str, ...], condition: str) -> str:
    changes = "".join(f", {column} = ?" for column in columns)
    return (
        f"UPDATE job SET revision = revision + 1, updated_at = ?{changes} WHERE {condition} "  # noqa: S608
        f"RETURNING owner, {', '.join(_OUTCOME)}"
    )


def _columns(move: Move) -> dict[str, Any]:
    columns: dict[str, Any] = {}
    if move.new is not move.old:  # else nine indices would be written for nothing
        columns["state"] = move.new.value
    if move.new_attempt is not None:
        columns |= {"attempt": move.new_attempt, **_FRESH}
    columns |= rows.change_columns(move.changes)
    if move.claim is not None:
        columns |= {"claim_holder": move.claim.holder or None, "claim_until": move.claim.until}
    return columns


def _events(move: Move, row: Row, now: float) -> Iterator[EventDraft]:
    owner, *after = row
    outcome = dict(zip(_OUTCOME, after, strict=True))
    attempt = move.new_attempt or move.attempt

    def draft(type_: str, data: Mapping[str, Any]) -> EventDraft:
        return EventDraft(type=type_, job_id=move.job_id, owner=owner, actor=move.actor, data=data, at=now)

    if move.new_attempt is not None:
        yield draft("job.requeued", {"old": move.old.value, "new": move.new.value, "attempt": attempt})
    if move.corrected:
        yield draft("job.corrected", state_data(move.old, move.new, attempt=attempt, **outcome))
    steps = move.via
    if not steps and move.new is not move.old and not move.corrected:
        steps = (move.new,)
    before = move.old
    for step in steps:
        if step is steps[-1]:
            yield draft("job.state", state_data(before, step, attempt=attempt, **outcome))
        else:
            yield draft("job.state", state_data(before, step, attempt=attempt, synthetic=True))
        before = step
    if move.event is not None:
        yield draft(move.event, move.event_data)


# --- tasks ----------------------------------------------------------------------------------------------------------

_TASK_KEY: Final = ("job_id", "attempt", "role", "idx")


def _put_task() -> str:
    # A later observation may know less than an earlier one (schedulers forget nodes, say): what is known stays.
    known = [name for name in rows.columns(TaskRow) if name not in (*_TASK_KEY, "state")]
    kept = ", ".join(f"{name} = COALESCE(excluded.{name}, job_task.{name})" for name in known)
    return f"{rows.insert(TaskRow)} ON CONFLICT ({', '.join(_TASK_KEY)}) DO UPDATE SET state = excluded.state, {kept}"


_PUT_TASK: Final = _put_task()
