"""What is known of the sites."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from hpcgate.errors import Conflict, InvalidSpec, NotFound, nearest
from hpcgate.model.principal import Principal
from hpcgate.model.scheduler import Check, NodeInfo, Probe, QueueInfo, SchedulerInfo
from hpcgate.model.site import Site, SiteDrain, SiteHealth
from hpcgate.model.state import ACTIVE, JobState
from hpcgate.service.access import Verb, only_owner, require
from hpcgate.service.trail import about

if TYPE_CHECKING:
    from hpcgate.plugin.lifecycle import Lifecycle
    from hpcgate.service.transports import Transports
    from hpcgate.store.database import Store


#: Characters of the reason why a site takes no jobs.
MAX_REASON: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteStatus:
    """A site as people see it.

    Args:
        stale: whether it has not answered for longer than its poll table promises.
        drain: why it takes no new jobs; ``None`` = it takes them.
        counts: jobs that have not ended, by state; the principal's own where it sees no others.
    """

    site: Site
    health: SiteHealth
    stale: bool
    info: SchedulerInfo
    drain: SiteDrain | None
    counts: Mapping[JobState, int]


class SiteService:
    """Sites.

    Args:
        sites: by name.
        store, lifecycle, transports: the parts it works on.
        clock: epoch seconds.
    """

    def __init__(
        self,
        sites: Mapping[str, Site],
        store: Store,
        lifecycle: Lifecycle,
        transports: Transports,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._sites = sites
        self._store = store
        self._lifecycle = lifecycle
        self._transports = transports
        self._clock = clock

    def list(self, principal: Principal) -> Sequence[SiteStatus]:
        """All sites, by name."""
        require(principal, Verb.SEE_SITES)
        return [self._status(principal, self._sites[name]) for name in sorted(self._sites)]

    def get(self, principal: Principal, name: str) -> SiteStatus:
        """One site, by name or alias.

        Raises:
            NotFound: there is none of that name.
        """
        require(principal, Verb.SEE_SITES)
        return self._status(principal, self._site(name))

    def _status(self, principal: Principal, site: Site) -> SiteStatus:
        health = self._store.sites.health(site.name)
        return SiteStatus(
            site=site,
            health=health,
            stale=health.stale(self._clock(), site.poll),
            info=self._lifecycle.scheduler(site.scheduler),
            drain=self._store.sites.drained(site.name),
            # Of those that have ended there may be millions, and lists and scrapes of sites come often.
            counts=self._store.jobs.counts(site=site.name, owner=only_owner(principal), states=ACTIVE),
        )

    def queues(self, principal: Principal, name: str) -> Sequence[QueueInfo]:
        """Its queues.

        Raises:
            NotSupported: the scheduler does not tell.
            SiteError: it did not answer.
        """
        require(principal, Verb.SEE_SITES)
        site = self._site(name)
        return self._lifecycle.describe_site(site, self._transports.get(site)).queues

    def nodes(self, principal: Principal, name: str) -> Sequence[NodeInfo]:
        """Its nodes. Raises as ``queues`` does."""
        require(principal, Verb.SEE_SITES)
        site = self._site(name)
        return self._lifecycle.describe_site(site, self._transports.get(site)).nodes

    def check(self, principal: Principal, name: str) -> Probe:
        """Looks whether everything is there that the gateway needs. Raises as ``queues`` does."""
        require(principal, Verb.CHECK_SITE)
        site = self._site(name)
        probe = self._lifecycle.probe_site(site, self._transports.get(site))
        drain = self._store.sites.drained(site.name)
        return probe if drain is None else replace(probe, checks=(*probe.checks, _not_open(drain)))

    def drain(self, principal: Principal, name: str, reason: str) -> SiteStatus:
        """Lets a site take no new jobs, until ``resume``. What its scheduler has goes on, and is looked after.

        Jobs that were accepted and that no scheduler has yet wait. Of a site that is drained already the reason is
        changed.

        Raises:
            InvalidSpec: the reason is empty or too long.
            NotFound: there is no such site.
        """
        require(principal, Verb.DRAIN_SITE)
        site, said = self._site(name), " ".join(reason.split())
        if not 1 <= len(said) <= MAX_REASON:
            raise InvalidSpec.of("reason", f"must have 1 to {MAX_REASON} characters, for those whose jobs are refused")
        self._store.sites.drain(SiteDrain(site=site.name, reason=said, since=self._clock(), actor=principal.actor))
        return self._status(principal, site)

    def resume(self, principal: Principal, name: str) -> SiteStatus:
        """Lets a site take new jobs again.

        Raises:
            Conflict: it takes them.
            NotFound: there is no such site.
        """
        require(principal, Verb.DRAIN_SITE)
        site = self._site(name)
        if not self._store.sites.resume(site.name, actor=principal.actor):
            raise Conflict(f"site {site.name!r} is not drained")
        return self._status(principal, site)

    def _site(self, name: str) -> Site:
        about("site", name)
        for site in self._sites.values():
            if name in (site.name, *site.aliases):
                return site
        raise NotFound(f"there is no site {name!r}{nearest(name, sorted(self._sites))}")


def _not_open(drain: SiteDrain) -> Check:
    detail = f"drained by {drain.actor}: {drain.reason}; undo it with: hpcgate site resume"
    return Check(name="takes jobs", ok=False, detail=detail)
