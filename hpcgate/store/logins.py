"""How often a login was tried lately, counted for all processes together."""

from __future__ import annotations

from hpcgate.store.session import Session


class LoginStore:
    """Counts tries by name, in windows that begin with the first one."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def count(self, name: str, window_s: float, now: float) -> tuple[int, float]:
        """Counts one more try; how many there are now in the window, and when that ends (epoch seconds).

        Windows that are over are forgotten, so that the table does not grow with what was ever tried.
        """
        sql = (
            "INSERT INTO login_try (name, tries, since) VALUES (?, 1, ?) ON CONFLICT (name) DO UPDATE SET "
            "tries = login_try.tries + 1 RETURNING tries, since"
        )
        with self._session.transaction():
            # One that began in the future was begun by a clock that has been set back.
            self._session.execute("DELETE FROM login_try WHERE since <= ? OR since > ?", (now - window_s, now))
            row = self._session.one(sql, (name, now))
        assert row is not None
        return row[0], row[1] + window_s

    def forget(self, name: str) -> None:
        """Begins again at none."""
        with self._session.transaction():
            self._session.execute("DELETE FROM login_try WHERE name = ?", (name,))
