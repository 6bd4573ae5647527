"""Shares: who may use them, what their jobs take, and when there is room for one more."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from hpcgate.errors import HpcgateError
from hpcgate.model.allocation import Share
from hpcgate.model.quota import Load
from hpcgate.model.site import Site
from hpcgate.model.state import AT_SCHEDULER, JobState
from hpcgate.service.allocations import Allocations, Configured

if TYPE_CHECKING:
    from hpcgate.plugin.lifecycle import Lifecycle
    from hpcgate.service.transports import Transports
    from hpcgate.store.database import Store

_log = logging.getLogger(__name__)

#: How long the size of a site is believed, seconds.
SIZE_KEPT_S: Final = 300.0
_RUNNING: Final = frozenset({JobState.RUNNING, JobState.SUSPENDED, JobState.STAGING_OUT})


@dataclass(frozen=True, slots=True, kw_only=True)
class ShareUsage:
    """What the active jobs of a share take now, as they asked for it.

    Args:
        cpus: cores of the site; ``None`` = not known.
        running: what running jobs take.
        jobs: active jobs by state.
    """

    cpus: int | None
    running: Load
    jobs: Mapping[JobState, int]

    @property
    def used_capacity(self) -> float | None:
        """What running jobs take of the site, percent; ``None`` = its size is not known."""
        return None if not self.cpus else 100.0 * self.running.cpus / self.cpus

    @property
    def active(self) -> int:
        """Jobs that run."""
        return sum(number for state, number in self.jobs.items() if state in _RUNNING)

    @property
    def pending(self) -> int:
        """Jobs that wait, here or at their scheduler."""
        return sum(self.jobs.values()) - self.active

    @property
    def waiting(self) -> int:
        """Jobs that no scheduler has yet."""
        return sum(number for state, number in self.jobs.items() if state not in AT_SCHEDULER | _RUNNING)


class ShareService(Allocations[Share]):
    """Slices of sites.

    Args:
        configured: ``[shares.NAME]``.
        sites, store, lifecycle, transports: the parts it works on.
        clock: epoch seconds.
    """

    def __init__(
        self,
        configured: Configured[Share],
        sites: Mapping[str, Site],
        store: Store,
        lifecycle: Lifecycle,
        transports: Transports,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(Share, configured, store.shares, sites, store, lifecycle)
        self._loads = store.share_loads
        self._transports = transports
        self._clock = clock
        #: Cores of a site and when they were asked for, by its name.
        self._sizes: dict[str, tuple[int | None, float]] = {}

    def usage(self, share: Share) -> ShareUsage:
        """What the active jobs of a share take now."""
        by_state = self._loads.by_state(share.name)
        running = [load for state, (_, load) in by_state.items() if state in _RUNNING]
        return ShareUsage(
            cpus=share.cpus or self._size(share.site),
            running=Load(
                share=share.name,
                cpus=sum(load.cpus for load in running),
                memory_mib=sum(load.memory_mib for load in running),
                gpus=sum(load.gpus for load in running),
            ),
            jobs={state: number for state, (number, _) in by_state.items()},
        )

    def _size(self, site_name: str) -> int | None:
        """The cores of a site, as its scheduler told lately; ``None`` = it does not tell."""
        size, asked_at = self._sizes.get(site_name, (None, float("-inf")))
        if self._clock() - asked_at < SIZE_KEPT_S:
            return size
        site = self._sites.get(site_name)
        try:
            nodes = self._lifecycle.describe_site(site, self._transports.get(site)).nodes if site else ()
        except HpcgateError as error:
            _log.warning("site %s: does not tell its size: %s", site_name, error.message)
            nodes = ()
        size = sum(node.cpus or 0 for node in nodes) or None
        self._sizes[site_name] = (size, self._clock())
        return size

    def pass_in(self, jobs: Mapping[int, str]) -> set[int]:
        """Those of some jobs that may go to their schedulers: as many as their shares have room for.

        Args:
            jobs: the name of its share by job id.
        """
        shares = {name: self.find(name) for name in set(jobs.values())}
        most = {name: share.most_cpus for name, share in shares.items() if share is not None}
        limits = {name: cpus for name, cpus in most.items() if cpus is not None}
        return self._loads.pass_in(sorted(jobs), limits)

    def _active(self, item: Share) -> int:
        return sum(number for number, _ in self._loads.by_state(item.name).values())
