"""What is to be sent to webhooks, and what became of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, Final

from hpcgate.errors import NotFound
from hpcgate.model.webhook import ChannelFigures, Delivery, DeliveryState
from hpcgate.store import rows
from hpcgate.store.session import Session, placeholders
from hpcgate.store.tables import DeliveryRow

_COLUMNS: Final = rows.columns(DeliveryRow)
_SELECT: Final = f"SELECT {', '.join(_COLUMNS)} FROM delivery"  # noqa: S608
_CHANGING: Final = ("due_at", "give_up_at", "state", "tries", "status", "error", "ended_at")
_UPDATE: Final = f"UPDATE delivery SET {', '.join(f'{name} = ?' for name in _CHANGING)} WHERE id = ? AND state = ?"  # noqa: S608
#: What may be sent now: of each job only the first that waits, so that a receiver sees its events in order.
_HEADS: Final = (
    f"{_SELECT} d WHERE d.webhook_id = ? AND d.state = 'WAITING' AND d.due_at <= ? AND "  # noqa: S608
    "(d.job_id IS NULL OR NOT EXISTS (SELECT 1 FROM delivery p WHERE p.webhook_id = d.webhook_id "
    "AND p.job_id = d.job_id AND p.number < d.number AND p.state = 'WAITING')) ORDER BY d.number LIMIT ?"
)
_COUNTERS: Final = ("webhook_delivered", "webhook_dead", "webhook_failed")


class DeliveryStore:
    """Messages to webhooks. Those that wait are sent by one worker at a time."""

    def __init__(self, session: Session) -> None:
        self._session = session

    # --- the place in the event log

    def position(self) -> int:
        """Number of the last event that was looked at for webhooks and mail."""
        return self._session.counter("push")

    def advance(self, old: int, new: int) -> bool:
        """Moves the place; ``False`` = somebody else has moved it, and nothing may be stored."""
        sql = "UPDATE counter SET value = ? WHERE name = 'push' AND value = ?"
        return bool(self._session.execute(sql, (new, old)))

    # --- messages

    def add(self, drafts: Sequence[Delivery]) -> list[Delivery]:
        """Stores messages and numbers them. One that is there already is left alone."""
        if not drafts:
            return []
        with self._session.transaction():
            numbers = self._session.take("delivery", len(drafts))
            new = [replace(draft, number=number) for draft, number in zip(drafts, numbers, strict=True)]
            sql = f"{rows.insert(DeliveryRow)} ON CONFLICT (id) DO NOTHING"
            self._session.execute_many(sql, map(_row, new))
            self._count("webhook_dead", sum(item.state is DeliveryState.DEAD for item in new))
        return new

    def due(self, now: float) -> list[str]:
        """The webhooks for which something is to be sent now."""
        sql = "SELECT DISTINCT webhook_id FROM delivery WHERE state = 'WAITING' AND due_at <= ?"
        return [row[0] for row in self._session.rows(sql, (now,))]

    def next_due(self, now: float) -> float | None:
        """When something is to be sent again, after ``now``."""
        row = self._session.one("SELECT min(due_at) FROM delivery WHERE state = 'WAITING' AND due_at > ?", (now,))
        return row[0] if row else None

    def heads(self, webhook_id: str, now: float, limit: int) -> list[Delivery]:
        """What is to be sent to a webhook now: of each job the first that waits, unless that has to wait longer."""
        return [_delivery(row) for row in self._session.rows(_HEADS, (webhook_id, now, limit))]

    def waiting(self, webhook_ids: Sequence[str]) -> dict[str, int]:
        """How much waits for each webhook."""
        ids = list(webhook_ids) or [""]
        sql = (
            f"SELECT webhook_id, count(*) FROM delivery WHERE webhook_id IN ({placeholders(ids)}) "  # noqa: S608
            "AND state = 'WAITING' GROUP BY webhook_id"
        )
        return dict(self._session.rows(sql, ids))

    def record(self, results: Iterable[Delivery]) -> None:
        """Stores what became of tries, for messages that still wait: what is gone or done stays so."""
        with self._session.transaction():
            for item in results:
                if self._session.execute(_UPDATE, (*_changing(item), item.id, DeliveryState.WAITING.value)):
                    failed = item.error is not None and item.state is not DeliveryState.DELIVERED
                    self._count("webhook_failed", int(failed))
                    self._count("webhook_delivered", int(item.state is DeliveryState.DELIVERED))
                    self._count("webhook_dead", int(item.state is DeliveryState.DEAD))

    def bury(self, webhook_id: str, now: float, error: str) -> None:
        """Puts all that waits for a webhook among its dead letters."""
        sql = "UPDATE delivery SET state = 'DEAD', ended_at = ?, error = ? WHERE webhook_id = ? AND state = 'WAITING'"
        with self._session.transaction():
            self._count("webhook_dead", self._session.execute(sql, (now, error, webhook_id)))

    def revive(self, webhook_id: str, id: str | None, *, now: float, give_up_at: float) -> int:  # noqa: A002
        """Has one message, or all dead letters of a webhook, sent again; how many."""
        sql = (
            "UPDATE delivery SET state = 'WAITING', due_at = ?, give_up_at = ?, tries = 0, error = NULL, "
            "status = NULL, ended_at = NULL WHERE webhook_id = ? AND "
        )
        which, params = ("state = 'DEAD'", ()) if id is None else ("id = ? AND state <> 'WAITING'", (id,))
        with self._session.transaction():
            return self._session.execute(sql + which, (now, give_up_at, webhook_id, *params))

    def get(self, webhook_id: str, id: str) -> Delivery:  # noqa: A002
        """A message.

        Raises:
            NotFound: the webhook has none with this id.
        """
        row = self._session.one(f"{_SELECT} WHERE id = ? AND webhook_id = ?", (id, webhook_id))
        if row is None:
            raise NotFound(f"the webhook has no delivery {id[:64]!r}")
        return _delivery(row)

    def page(self, webhook_id: str, *, state: DeliveryState | None, below: int | None, limit: int) -> list[Delivery]:
        """Messages to a webhook, newest first.

        Args:
            webhook_id: the webhook.
            state: only those in this state.
            below: only those with a smaller number.
            limit: at most so many.
        """
        where, params = "webhook_id = ?", [webhook_id]  # type: tuple[str, list[Any]]
        if state is not None:
            where, params = f"{where} AND state = ?", [*params, state.value]
        if below is not None:
            where, params = f"{where} AND number < ?", [*params, below]
        sql = f"{_SELECT} WHERE {where} ORDER BY number DESC LIMIT ?"
        return [_delivery(row) for row in self._session.rows(sql, [*params, limit])]

    def prune(self, ended_before: float) -> int:
        """Forgets what was delivered or given up before a time (epoch seconds); how many."""
        with self._session.transaction():
            return self._session.execute("DELETE FROM delivery WHERE ended_at < ?", (ended_before,))

    def figures(self) -> ChannelFigures:
        """How it stands."""
        waiting, oldest_at = self._session.rows(
            "SELECT count(*), min(created_at) FROM delivery WHERE state = 'WAITING'"
        )[0]
        delivered, dead, failed = map(self._session.counter, _COUNTERS)
        return ChannelFigures(waiting=waiting, oldest_at=oldest_at, delivered=delivered, dead=dead, failed=failed)

    def dead_letters(self) -> int:
        """How many messages were given up and are still kept."""
        return int(self._session.rows("SELECT count(*) FROM delivery WHERE state = 'DEAD'")[0][0])

    def _count(self, counter: str, more: int) -> None:
        if more:
            self._session.take(counter, more)


def _row(item: Delivery) -> Sequence[Any]:
    return tuple(item.state.value if name == "state" else getattr(item, name) for name in _COLUMNS)


def _changing(item: Delivery) -> Sequence[Any]:
    return tuple(item.state.value if name == "state" else getattr(item, name) for name in _CHANGING)


def _delivery(row: Sequence[Any]) -> Delivery:
    found = dict(zip(_COLUMNS, row, strict=True))
    return Delivery(**{**found, "state": DeliveryState(found["state"])})
