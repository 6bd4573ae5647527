"""Changes to jobs: each a compare-and-swap on (id, state, attempt), many in one transaction."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from hpcgate.model.lease import Lease
from hpcgate.model.move import Move
from hpcgate.model.state import FINAL
from hpcgate.store import leases, quota, rows, shares
from hpcgate.store.events import state_data
from hpcgate.store.session import EventDraft, Session, chunks, placeholders
from hpcgate.store.tables import TaskRow

#: What the events of a move tell of the job, as it is after the move.
_OUTCOME: Final = ("reason", "exit_code", "signal", "evidence", "native_id", "message")
_KNOWN: Final = ("id", "state", "attempt", "claim_holder", "owner", "site", "project", *_OUTCOME)
_ENDED: Final = frozenset(state.value for state in FINAL)

#: What a new attempt knows nothing of.
_FRESH: Final[Mapping[str, Any]] = {
    **dict.fromkeys(("phase", "reason", "message", "exit_code", "signal", "native_state", "native_reason", "evidence")),
    **dict.fromkeys(("started_at", "ended_at", "nodes", "cpu_ids", "gpu_ids", "cpu_time_s", "max_rss_kib")),
    "absent_since": None,
    "absences": 0,
}

_CLOSE_ATTEMPT: Final = (
    "INSERT INTO job_attempt (job_id, attempt, state, native_id, reason, exit_code, signal, submitted_at, started_at, "
    "ended_at, nodes) SELECT id, attempt, state, native_id, reason, exit_code, signal, submitted_at, started_at, "
    "COALESCE(ended_at, ?), nodes FROM job WHERE id = ?"
)


def carry_out(session: Session, moves: Sequence[Move], lease: Lease | None) -> list[bool]:
    """Carries out moves in their order, in one transaction; see ``JobStore.move``."""
    if not moves:
        return []  # without waiting for the others who write
    with session.transaction():
        leases.check(session, lease)
        batch = _Batch(session, {move.job_id for move in moves})
        carried_out = [batch.add(move) for move in moves]
        batch.write()
        batch.settle()
    return carried_out


class _Batch:
    """Compares in memory and swaps in bulk. The transaction is what makes the two one: nobody else writes meanwhile."""

    def __init__(self, session: Session, ids: set[int]) -> None:
        self._session = session
        self._now = time.time()
        self._jobs: dict[int, dict[str, Any]] = {}
        for chunk in chunks(sorted(ids)):
            sql = f"SELECT {', '.join(_KNOWN)} FROM job WHERE id IN ({placeholders(chunk)})"  # noqa: S608
            for row in session.rows(sql, chunk):
                self._jobs[row[0]] = dict(zip(_KNOWN, row, strict=True))
        self._changed: set[int] = set()
        self._ended: set[int] = set()
        self._to_settle: set[int] = set()
        self._updates: dict[tuple[str, ...], list[list[Any]]] = {}
        self._new_states: dict[str, list[int]] = {}
        self._tasks: list[Sequence[Any]] = []

    def add(self, move: Move) -> bool:
        """Takes a move in, if the job is where the move expects it."""
        job = self._jobs.get(move.job_id)
        if job is None or (job["state"], job["attempt"]) != (move.old.value, move.attempt):
            return False
        if move.held_claim is not None and (job["claim_holder"] or "") != move.held_claim:
            return False
        if move.job_id in self._changed:  # keep changes to one job in their order
            self.write()
        if move.new_attempt is not None:
            if move.new_attempt <= move.attempt:
                raise ValueError(f"attempt {move.new_attempt} cannot follow attempt {move.attempt}")
            self._session.execute(_CLOSE_ATTEMPT, (self._now, move.job_id))
        columns = _columns(move)
        job |= columns
        self._updates.setdefault(tuple(columns), []).append([*columns.values(), self._now, move.job_id])
        self._changed.add(move.job_id)
        if "state" in columns:
            self._new_states.setdefault(columns["state"], []).append(move.job_id)
        if job["state"] in _ENDED:
            if move.new is not move.old:
                self._ended.add(move.job_id)
            if job["project"] is not None:
                self._to_settle.add(move.job_id)
        self._tasks += [rows.task_row(move.job_id, job["attempt"], task) for task in move.tasks]
        for event in _events(move, job, self._now):
            self._session.emit(event)
        return True

    def write(self) -> None:
        """Writes what was taken in."""
        for columns, found in self._updates.items():
            self._session.execute_many(_update(columns), found)
        for state, ids in self._new_states.items():
            for chunk in chunks(ids):
                sql = f"UPDATE job_mark SET state = ? WHERE job_id IN ({placeholders(chunk)})"  # noqa: S608
                self._session.execute(sql, (state, *chunk))
        self._session.execute_many(_PUT_TASK, self._tasks)
        for done in (self._updates, self._new_states, self._changed, self._tasks):
            done.clear()

    def settle(self) -> None:
        """What the ends that were written mean for shares and quotas."""
        shares.leave(self._session, sorted(self._ended))
        quota.settle(self._session, sorted(self._to_settle), self._now)


def _columns(move: Move) -> dict[str, Any]:
    columns: dict[str, Any] = {}
    if move.new is not move.old:  # else indices would be written for nothing
        columns["state"] = move.new.value
    if move.new_attempt is not None:
        columns |= {"attempt": move.new_attempt, **_FRESH}
    columns |= rows.change_columns(move.changes)
    if move.claim is not None:
        columns |= {"claim_holder": move.claim.holder or None, "claim_until": move.claim.until}
    return columns


def _update(columns: tuple[str, ...]) -> str:
    changes = "".join(f"{column} = ?, " for column in columns)
    return f"UPDATE job SET {changes}updated_at = ?, revision = revision + 1 WHERE id = ?"  # noqa: S608


# --- events ---------------------------------------------------------------------------------------------------------


def _events(move: Move, job: Mapping[str, Any], now: float) -> Iterator[EventDraft]:
    if move.new is move.old and not (move.via or move.corrected or move.event or move.new_attempt):
        return  # most of what is seen is no news
    owner, attempt, site = job["owner"], job["attempt"], job["site"]
    outcome = {name: job[name] for name in _OUTCOME}

    def draft(type_: str, data: Mapping[str, Any]) -> EventDraft:
        return EventDraft(type_, move.job_id, owner, move.actor, data, now)

    if move.new_attempt is not None:
        yield draft("job.requeued", {"old": move.old.value, "new": move.new.value, "attempt": attempt, "site": site})
    if move.corrected:
        yield draft("job.corrected", state_data(move.old, move.new, attempt=attempt, site=site, **outcome))
    steps = move.via
    if not steps and move.new is not move.old and not move.corrected:
        steps = (move.new,)
    before, last = move.old, len(steps) - 1
    for number, step in enumerate(steps):
        if number == last:
            yield draft("job.state", state_data(before, step, attempt=attempt, site=site, **outcome))
        else:
            yield draft("job.state", state_data(before, step, attempt=attempt, site=site, synthetic=True))
        before = step
    if move.event is not None:
        yield draft(move.event, move.event_data)


# --- tasks ----------------------------------------------------------------------------------------------------------

_TASK_KEY: Final = ("job_id", "attempt", "role", "idx")


def _put_task() -> str:
    # A later observation may know less than an earlier one (schedulers forget nodes, say): what is known stays.
    known = [name for name in rows.columns(TaskRow) if name not in (*_TASK_KEY, "state", "reason")]
    kept = ", ".join(f"{name} = COALESCE(excluded.{name}, job_task.{name})" for name in known)
    # But what was LOST and has COMPLETED after all has no reason.
    kept += (
        ", reason = CASE excluded.state WHEN 'COMPLETED' THEN NULL ELSE COALESCE(excluded.reason, job_task.reason) END"
    )
    return f"{rows.insert(TaskRow)} ON CONFLICT ({', '.join(_TASK_KEY)}) DO UPDATE SET state = excluded.state, {kept}"


_PUT_TASK: Final = _put_task()
