"""Events that something has still to be done about, a row for each event and topic."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from hpcgate.model.job import Event
from hpcgate.model.lease import Lease
from hpcgate.store import leases, rows
from hpcgate.store.session import Session


@dataclass(frozen=True, slots=True)
class OutboxItem:
    """One thing to do.

    Args:
        id: handle for ``done`` and ``retry``.
        tries: how often it failed so far.
    """

    id: int
    topic: str
    event: Event
    tries: int


class OutboxStore:
    """Queues of events, written in the transaction that made the event, so that none is lost."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def due(self, topic: str, *, now: float, limit: int) -> list[OutboxItem]:
        """What is to be done now, in order. An event waits while an earlier one of its job waits to be tried again."""
        sql = (
            f"SELECT o.id, o.tries, {rows.EVENT_COLUMNS} FROM outbox o JOIN event e ON e.seq = o.seq "  # noqa: S608
            "WHERE o.topic = ? AND o.due_at <= ? AND NOT EXISTS (SELECT 1 FROM outbox p WHERE p.topic = o.topic "
            "AND p.job_id = o.job_id AND p.id < o.id AND p.tries > 0 AND p.due_at > ?) ORDER BY o.id LIMIT ?"
        )
        found = self._session.rows(sql, (topic, now, now, limit))
        return [OutboxItem(id_, topic, rows.event(tuple(event)), tries) for id_, tries, *event in found]

    def done(self, ids: Iterable[int], *, lease: Lease | None = None) -> None:
        """Takes items off their queues.

        Raises:
            LeaseLost: the lease is somebody else's; nothing was written.
        """
        with self._session.transaction():
            leases.check(self._session, lease)
            self._session.execute_many("DELETE FROM outbox WHERE id = ?", [(id_,) for id_ in ids])

    def retry(self, id: int, at: float, error: str) -> None:  # noqa: A002
        """Puts an item off until ``at`` (epoch seconds) and notes why."""
        with self._session.transaction():
            sql = "UPDATE outbox SET due_at = ?, error = ?, tries = tries + 1 WHERE id = ?"
            self._session.execute(sql, (at, error, id))

    def depth(self) -> int:
        """How many items wait, over all topics."""
        row = self._session.one("SELECT count(*) FROM outbox")
        assert row is not None
        return int(row[0])
