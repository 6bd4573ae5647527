"""The quota of projects: what jobs reserve and use.

All of it is written in the transaction that adds, ends or deletes the job. What a job used follows from what is
written of its runs, whenever that changes after its end; the balance moves by the difference, so nothing counts twice.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from hpcgate.model.allocation import Weighting
from hpcgate.model.quota import Charge, Run, Spent, used_s
from hpcgate.model.state import FINAL
from hpcgate.store import rows
from hpcgate.store.session import EventDraft, Session, chunks, placeholders

_BOOK: Final = (
    "INSERT INTO quota_balance (project, principal, used_s, reserved_s, used_kb, reserved_kb) VALUES (?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (project, principal) DO UPDATE SET used_s = quota_balance.used_s + excluded.used_s, "
    "reserved_s = quota_balance.reserved_s + excluded.reserved_s, used_kb = quota_balance.used_kb + excluded.used_kb, "
    "reserved_kb = quota_balance.reserved_kb + excluded.reserved_kb"
)
_RESERVE: Final = (
    "INSERT INTO quota_charge (job_id, project, principal, weighting, units, width, time_s, space_kb, used_s, settled) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0, FALSE)"
)
_CHARGED: Final = (
    "SELECT c.job_id, c.project, c.principal, c.weighting, c.units, c.width, c.time_s, c.space_kb, c.used_s, "
    "c.settled, j.state, j.owner, j.is_array, j.started_at, j.ended_at, j.nodes, j.cpu_ids "
    "FROM quota_charge c JOIN job j ON j.id = c.job_id"
)
_TASK_RUNS: Final = "SELECT job_id, started_at, ended_at, nodes FROM job_task WHERE started_at IS NOT NULL"
_FIGURES: Final = "used_s, reserved_s, used_kb, reserved_kb"


class QuotaStore:
    """What is used and reserved of projects."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def spent(self, project: str, principal: str) -> Spent:
        """What a user has used and reserved of a project."""
        sql = f"SELECT {_FIGURES} FROM quota_balance WHERE project = ? AND principal = ?"  # noqa: S608
        row = self._session.one(sql, (project, principal))
        return Spent() if row is None else Spent(*row)

    def spent_by_each(self, project: str) -> dict[str, Spent]:
        """What each user has used and reserved of a project."""
        sql = f"SELECT principal, {_FIGURES} FROM quota_balance WHERE project = ?"  # noqa: S608
        return {row[0]: Spent(*row[1:]) for row in self._session.rows(sql, (project,))}

    def spent_by_all(self, project: str) -> Spent:
        """What all users together have used and reserved of a project."""
        return sum(self.spent_by_each(project).values(), Spent())

    def active(self, project: str) -> int:
        """How many jobs of a project have not ended."""
        row = self._session.one("SELECT count(*) FROM quota_charge WHERE project = ? AND NOT settled", (project,))
        assert row is not None
        return int(row[0])

    def forget(self, project: str) -> None:
        """Forgets what was used of a project, so that a later one of the same name does not inherit it."""
        with self._session.transaction():
            self._session.execute("DELETE FROM quota_charge WHERE project = ?", (project,))
            self._session.execute("DELETE FROM quota_balance WHERE project = ?", (project,))


def reserve(session: Session, charges: Iterable[tuple[int, Charge]]) -> None:
    """Reserves what new jobs may take, within the transaction that stores them: job id, charge."""
    booked = _Bookings()
    reserved = []
    for job_id, charge in charges:
        key = (charge.project, charge.principal)
        reserved.append(
            (job_id, *key, charge.weighting.value, charge.units, charge.width, charge.time_s, charge.space_kb)
        )
        booked.add(*key, Spent(reserved_s=charge.time_s, reserved_kb=charge.space_kb))
    if reserved:
        session.execute_many(_RESERVE, reserved)
        booked.write(session)


def settle(session: Session, ids: Sequence[int], now: float) -> None:
    """Writes down what jobs used that have ended, or of whose end more is known now.

    Args:
        session: within the transaction of their moves.
        ids: of jobs; those that have not ended or have no project are passed over.
        now: epoch seconds.
    """
    booked = _Bookings()
    for chunk in chunks(ids):
        found = session.rows(f"{_CHARGED} WHERE c.job_id IN ({placeholders(chunk)})", chunk)
        found = [row for row in found if row[10] in _ENDED]
        earlier = _earlier_runs(session, [row[0] for row in found])
        tasks = _task_runs(session, {row[0]: row[14] for row in found if row[12]})
        for job_id, project, principal, weighting, units, width, time_s, kb, before, settled, *job in found:
            _, owner, _, started_at, ended_at, nodes, cpu_ids = job
            counted = Weighting(weighting)
            last = _run(started_at, ended_at, nodes, cpu_ids)
            if job_id in tasks:
                used = used_s(counted, units, tasks[job_id])
            else:
                # Of an array whose tasks nobody told of: as if as many as may had run all the time.
                used = used_s(counted, units * width, [*earlier.get(job_id, ()), *last])
            if settled and used == before:
                continue
            session.execute("UPDATE quota_charge SET used_s = ?, settled = TRUE WHERE job_id = ?", (used, job_id))
            change = Spent(used_s=used - before)
            if not settled:
                change += Spent(reserved_s=-time_s, used_kb=kb, reserved_kb=-kb)
            booked.add(project, principal, change)
            data = {"project": project, "used_s": used, "before_s": before, "reserved_s": 0 if settled else time_s}
            session.emit(EventDraft("job.charged", job_id, owner, None, data, now))
    booked.write(session)


def release(session: Session, ids: Sequence[int]) -> None:
    """Gives the space of ended jobs back that are about to be deleted; the time that they used stays used."""
    booked = _Bookings()
    for chunk in chunks(ids):
        sql = (
            f"SELECT project, principal, space_kb FROM quota_charge WHERE settled AND job_id IN ({placeholders(chunk)})"  # noqa: S608
        )
        for project, principal, kb in session.rows(sql, chunk):
            booked.add(project, principal, Spent(used_kb=-kb))
    booked.write(session)


_ENDED: Final = frozenset(state.value for state in FINAL)


class _Bookings:
    """Changes of balances, each balance written once."""

    def __init__(self) -> None:
        self._changes: defaultdict[tuple[str, str], Spent] = defaultdict(Spent)

    def add(self, project: str, principal: str, change: Spent) -> None:
        self._changes[project, principal] += change

    def write(self, session: Session) -> None:
        changed = [(*key, each) for key, each in self._changes.items() if each != Spent()]
        if changed:
            session.execute_many(
                _BOOK,
                [
                    (project, principal, each.used_s, each.reserved_s, each.used_kb, each.reserved_kb)
                    for project, principal, each in changed
                ],
            )


def _run(
    started_at: float | None, ended_at: float | None, nodes: str | None = None, cpu_ids: str | None = None
) -> list[Run]:
    if started_at is None or ended_at is None:
        return []
    return [Run(started_at=started_at, ended_at=ended_at, nodes=_length(nodes), cpus=_length(cpu_ids))]


def _length(stored: str | None) -> int:
    return len(rows.load_list(stored))


def _earlier_runs(session: Session, ids: Sequence[int]) -> Mapping[int, list[Run]]:
    """The runs of jobs before their last one: a job that was put back has used its node all the same."""
    found: defaultdict[int, list[Run]] = defaultdict(list)
    if ids:
        sql = f"SELECT job_id, started_at, ended_at, nodes FROM job_attempt WHERE job_id IN ({placeholders(ids)})"  # noqa: S608
        for job_id, *run in session.rows(sql, ids):
            found[job_id] += _run(*run)
    return found


def _task_runs(session: Session, ended: Mapping[int, float | None]) -> Mapping[int, list[Run]]:
    """The runs of the tasks of arrays, as far as they were told: job id -> when the job ended."""
    found: defaultdict[int, list[Run]] = defaultdict(list)
    if ended:
        sql = f"{_TASK_RUNS} AND job_id IN ({placeholders(list(ended))})"
        for job_id, started_at, ended_at, nodes in session.rows(sql, list(ended)):
            found[job_id] += _run(started_at, ended_at if ended_at is not None else ended[job_id], nodes)
    return found
