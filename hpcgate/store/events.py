"""The events, numbered in the order of commits."""

from __future__ import annotations

from typing import Any, Final

from hpcgate.model.job import Event
from hpcgate.model.state import JobState
from hpcgate.store import rows
from hpcgate.store.session import Session


class EventStore:
    """What happened. Events are written by ``Session``, at the end of the transaction that they tell of."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def after(self, seq: int, *, limit: int, owner: str | None = None, job_id: int | None = None) -> list[Event]:
        """The events behind ``seq``, in order. Whoever has seen ``seq`` has seen all below it.

        Args:
            seq: number of the last event seen; 0 = from the first that is kept.
            limit: at most so many.
            owner: of this owner's jobs only.
            job_id: of this job only.
        """
        where = "e.seq > ?"
        params: list[Any] = [seq]
        for column, value in (("owner", owner), ("job_id", job_id)):
            if value is not None:
                where += f" AND e.{column} = ?"
                params.append(value)
        sql = f"SELECT {rows.EVENT_COLUMNS} FROM event e WHERE {where} ORDER BY e.seq LIMIT ?"  # noqa: S608
        return [rows.event(row) for row in self._session.rows(sql, [*params, limit])]

    def last(self) -> int:
        """The number of the last event; 0 = there was none yet."""
        return self._session.counter("event")

    def pruned(self) -> int:
        """The number of the last event that was dropped: whoever has not seen it has missed something."""
        row = self._session.one("SELECT value FROM counter WHERE name = 'event_pruned'")
        assert row is not None
        return int(row[0])

    def prune(self, before_at: float, *, limit: int | None = None) -> int:
        """Drops events that are older than ``before_at`` (epoch seconds), up to the first one that is not; how many.

        What a topic has still to deal with is kept.

        Args:
            before_at: epoch seconds.
            limit: at most so many, the oldest first.
        """
        old = "FROM event WHERE seq < ? AND seq NOT IN (SELECT seq FROM outbox)"
        with self._session.transaction():
            end = self._first_kept(before_at)
            if limit is not None:
                over = self._session.one(f"SELECT seq {old} ORDER BY seq LIMIT 1 OFFSET ?", (end, limit))
                end = over[0] if over else end
            dropped = self._session.execute(f"DELETE {old}", (end,))
            if dropped:
                sql = "UPDATE counter SET value = ? WHERE name = 'event_pruned' AND value < ?"
                self._session.execute(sql, (end - 1, end - 1))
            return dropped

    def older(self, before_at: float) -> int:
        """How many events ``prune`` would drop."""
        sql = "SELECT count(*) FROM event WHERE seq < ? AND seq NOT IN (SELECT seq FROM outbox)"
        row = self._session.one(sql, (self._first_kept(before_at),))
        assert row is not None
        return int(row[0])

    def _first_kept(self, before_at: float) -> int:
        row = self._session.one("SELECT seq FROM event WHERE at >= ? ORDER BY seq LIMIT 1", (before_at,))
        return int(row[0]) if row else self.last() + 1


_UNKNOWN: Final = dict.fromkeys(("reason", "exit_code", "signal", "evidence", "native_id", "message"))


def state_data(
    old: JobState, new: JobState, *, attempt: int, site: str | None, synthetic: bool = False, **outcome: Any
) -> dict[str, Any]:
    """The data of a ``job.state`` event.

    Args:
        old: the state before.
        new: the state after.
        attempt: the attempt that holds after it.
        site: where the job is or goes to.
        synthetic: whether nobody saw this step, but it must have been taken.
        outcome: ``reason exit_code signal evidence native_id message``, as far as known.
    """
    told = {"old": old.value, "new": new.value, "attempt": attempt, "site": site}
    return {**told, **_UNKNOWN, **outcome, "synthetic": synthetic}
