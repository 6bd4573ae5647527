"""How sites answer."""

from __future__ import annotations

from hpcgate.model.lease import Lease
from hpcgate.model.site import SiteDrain, SiteHealth
from hpcgate.store import leases
from hpcgate.store.session import EventDraft, Session

_SELECT = "SELECT site, polled_at, failed_at, error, commands, polls, failures FROM site"


class SiteStore:
    """The health of sites: one row a site, written once a round. And which of them take no new jobs."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def polled(self, site: str, at: float, commands: int = 0, *, lease: Lease | None = None) -> None:
        """Notes that a site answered.

        Args:
            site: its name.
            at: epoch seconds.
            commands: how many scheduler commands the round took.
            lease: of the site, of whoever asked.

        Raises:
            LeaseLost: the lease is somebody else's; nothing was written.
        """
        sql = (
            "INSERT INTO site (site, polled_at, commands, polls) VALUES (?, ?, ?, 1) ON CONFLICT (site) DO UPDATE SET "
            "polled_at = excluded.polled_at, failed_at = NULL, error = NULL, "
            "commands = site.commands + excluded.commands, polls = site.polls + 1"
        )
        with self._session.transaction():
            leases.check(self._session, lease)
            self._session.execute(sql, (site, at, commands))

    def failed(self, site: str, at: float, error: str, *, lease: Lease | None = None) -> None:
        """Notes that a site did not answer; the time of the first failure since it last did is kept.

        Raises:
            LeaseLost: the lease is somebody else's; nothing was written.
        """
        sql = (
            "INSERT INTO site (site, failed_at, error, commands, failures) VALUES (?, ?, ?, 0, 1) "
            "ON CONFLICT (site) DO UPDATE SET failed_at = COALESCE(site.failed_at, excluded.failed_at), "
            "error = excluded.error, failures = site.failures + 1"
        )
        with self._session.transaction():
            leases.check(self._session, lease)
            self._session.execute(sql, (site, at, error))

    def health(self, site: str) -> SiteHealth:
        """What is known of a site; nothing when it was never polled."""
        row = self._session.one(f"{_SELECT} WHERE site = ?", (site,))
        return SiteHealth(site=site) if row is None else _health(*row)

    def all(self) -> dict[str, SiteHealth]:
        """What is known of every site that was ever polled."""
        return {row[0]: _health(*row) for row in self._session.rows(_SELECT)}

    def drain(self, drain: SiteDrain) -> None:
        """Notes that a site takes no new jobs; the reason and the moment of the last one who said so hold."""
        sql = (
            "INSERT INTO site_drain (site, reason, since, actor) VALUES (?, ?, ?, ?) ON CONFLICT (site) DO UPDATE SET "
            "reason = excluded.reason, since = excluded.since, actor = excluded.actor"
        )
        with self._session.transaction():
            self._session.execute(sql, (drain.site, drain.reason, drain.since, drain.actor))
            told = {"site": drain.site, "reason": drain.reason}
            self._session.emit(EventDraft("site.drained", None, None, drain.actor, told, drain.since))

    def resume(self, site: str, *, actor: str) -> bool:
        """Notes that a site takes jobs again; False = it did."""
        with self._session.transaction():
            if not self._session.execute("DELETE FROM site_drain WHERE site = ?", (site,)):
                return False
            self._session.emit(EventDraft("site.resumed", None, None, actor, {"site": site}))
            return True

    def drained(self, site: str) -> SiteDrain | None:
        """Why a site takes no new jobs; ``None`` = it takes them."""
        row = self._session.one(f"{_SELECT_DRAIN} WHERE site = ?", (site,))
        return None if row is None else _drain(*row)

    def all_drained(self) -> dict[str, SiteDrain]:
        """The sites that take no new jobs."""
        return {row[0]: _drain(*row) for row in self._session.rows(_SELECT_DRAIN)}


_SELECT_DRAIN = "SELECT site, reason, since, actor FROM site_drain"


def _drain(site: str, reason: str, since: float, actor: str) -> SiteDrain:
    return SiteDrain(site=site, reason=reason, since=since, actor=actor)


def _health(
    site: str,
    polled_at: float | None,
    failed_at: float | None,
    error: str | None,
    commands: int,
    polls: int,
    failures: int,
) -> SiteHealth:
    return SiteHealth(
        site=site,
        polled_at=polled_at,
        failed_at=failed_at,
        error=error,
        commands=commands,
        polls=polls,
        failures=failures,
    )
