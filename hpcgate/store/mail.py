"""Mail that is to be sent, and what became of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from hpcgate.model.state import JobState
from hpcgate.model.webhook import ChannelFigures, DeliveryState, Mail
from hpcgate.store import rows
from hpcgate.store.session import Session
from hpcgate.store.tables import MailRow

_COLUMNS: Final = rows.columns(MailRow)
_SELECT: Final = f"SELECT {', '.join(_COLUMNS)} FROM mail"  # noqa: S608
_UPDATE: Final = "UPDATE mail SET due_at = ?, tries = ?, state = ?, error = ?, ended_at = ? WHERE seq = ?"
_COUNTERS: Final = ("mail_sent", "mail_dead", "mail_failed")


class MailStore:
    """Mails. One worker at a time sends them."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def add(self, mails: Sequence[Mail]) -> None:
        """Stores mails; of one event there is one at most."""
        sql = f"{rows.insert(MailRow)} ON CONFLICT (seq) DO NOTHING"
        with self._session.transaction():
            self._session.execute_many(sql, map(_row, mails))

    def due(self, now: float, limit: int) -> list[Mail]:
        """What is to be sent now, in the order in which it became due."""
        sql = f"{_SELECT} WHERE state = 'WAITING' AND due_at <= ? ORDER BY due_at, seq LIMIT ?"
        return [_mail(row) for row in self._session.rows(sql, (now, limit))]

    def next_due(self, now: float) -> float | None:
        """When something is to be sent again, after ``now``."""
        row = self._session.one("SELECT min(due_at) FROM mail WHERE state = 'WAITING' AND due_at > ?", (now,))
        return row[0] if row else None

    def record(self, mail: Mail) -> None:
        """Stores what became of a try."""
        with self._session.transaction():
            self._session.execute(
                _UPDATE, (mail.due_at, mail.tries, mail.state.value, mail.error, mail.ended_at, mail.seq)
            )
            outcome = {DeliveryState.DELIVERED: "mail_sent", DeliveryState.DEAD: "mail_dead"}
            self._session.take(outcome.get(mail.state, "mail_failed"), 1)

    def sent(self, owner: str, since: float) -> int:
        """How many mails were sent to an owner since a time (epoch seconds)."""
        sql = "SELECT count(*) FROM mail WHERE owner = ? AND ended_at > ? AND state = 'DELIVERED'"
        return int(self._session.rows(sql, (owner, since))[0][0])

    def prune(self, ended_before: float) -> int:
        """Forgets what was sent or given up before a time (epoch seconds); how many."""
        with self._session.transaction():
            return self._session.execute("DELETE FROM mail WHERE ended_at < ?", (ended_before,))

    def figures(self) -> ChannelFigures:
        """How it stands."""
        waiting, oldest_at = self._session.rows("SELECT count(*), min(created_at) FROM mail WHERE state = 'WAITING'")[0]
        delivered, dead, failed = map(self._session.counter, _COUNTERS)
        return ChannelFigures(waiting=waiting, oldest_at=oldest_at, delivered=delivered, dead=dead, failed=failed)


def _row(mail: Mail) -> Sequence[Any]:
    values = {name: getattr(mail, name) for name in _COLUMNS}
    return tuple({**values, "status": mail.status.value, "state": mail.state.value}.values())


def _mail(row: Sequence[Any]) -> Mail:
    found = dict(zip(_COLUMNS, row, strict=True))
    return Mail(**{**found, "status": JobState(found["status"]), "state": DeliveryState(found["state"])})
