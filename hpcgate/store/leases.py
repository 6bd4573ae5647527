"""Leases: who may do something alone."""

from __future__ import annotations

from hpcgate.errors import LeaseLost
from hpcgate.model.lease import Lease
from hpcgate.store.session import Session

#: A lease that still runs for so many times its length was given by a clock that has been set back since.
_TOO_LONG = 10


def check(session: Session, lease: Lease | None) -> None:
    """Lets the calling thread's transaction go on only where the lease, if any, is still its holder's.

    Nobody else writes before that transaction ends, and so nobody can take the lease after the look and before the
    commit: whoever was stopped for a while and has lost it writes nothing.

    Raises:
        LeaseLost: somebody else has taken it.
    """
    if lease is None:
        return
    held = (lease.name, lease.holder, lease.token)
    if session.one("SELECT 1 FROM lease WHERE name = ? AND holder = ? AND token = ?", held) is None:
        raise LeaseLost(f"{lease.holder} no longer holds the lease {lease.name!r}; nothing was written")


class LeaseStore:
    """Leases by name. A lease that is over may be taken by anyone; its token then grows."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def acquire(self, name: str, holder: str, ttl_s: float, now: float) -> Lease | None:
        """Takes a lease that is free or over; the present holder gets its own again, prolonged.

        One that still runs for many times its length is from a clock that has been set back, and counts as over.

        Args:
            name: what it is about.
            holder: process that wants it, unique over all hosts and restarts.
            ttl_s: how long, seconds.
            now: epoch seconds.

        Returns:
            The lease; ``None`` = another one holds it.
        """
        sql = (
            "INSERT INTO lease (name, holder, token, until) VALUES (?, ?, 1, ?) ON CONFLICT (name) DO UPDATE SET "
            "token = CASE WHEN lease.holder = excluded.holder THEN lease.token ELSE lease.token + 1 END, "
            "holder = excluded.holder, until = excluded.until "
            "WHERE lease.holder IS NULL OR lease.holder = excluded.holder OR lease.until <= ? OR lease.until > ? "
            "RETURNING token"
        )
        with self._session.transaction():
            row = self._session.one(sql, (name, holder, now + ttl_s, now, now + _TOO_LONG * ttl_s))
        return None if row is None else Lease(name, holder, row[0], now + ttl_s)

    def renew(self, lease: Lease, ttl_s: float, now: float) -> Lease | None:
        """Prolongs a lease, also one that is over while nobody else has taken it; ``None`` = somebody has."""
        sql = "UPDATE lease SET until = ? WHERE name = ? AND holder = ? AND token = ?"
        with self._session.transaction():
            kept = self._session.execute(sql, (now + ttl_s, lease.name, lease.holder, lease.token))
        return Lease(lease.name, lease.holder, lease.token, now + ttl_s) if kept else None

    def release(self, lease: Lease) -> None:
        """Gives a lease back; nothing happens where somebody else has taken it."""
        sql = "UPDATE lease SET holder = NULL, until = 0 WHERE name = ? AND holder = ? AND token = ?"
        with self._session.transaction():
            self._session.execute(sql, (lease.name, lease.holder, lease.token))

    def get(self, name: str) -> Lease | None:
        """The lease as it stands, over or not; ``None`` = nobody has it."""
        row = self._session.one("SELECT name, holder, token, until FROM lease WHERE name = ?", (name,))
        return None if row is None or row[1] is None else Lease(*row)
