"""Tells the plugins what happened: from the outbox, in order, by one worker at a time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from hpcgate.errors import LeaseLost
from hpcgate.service.leases import KeptLease

if TYPE_CHECKING:
    from hpcgate.plugin.lifecycle import Lifecycle
    from hpcgate.store.database import Store

TOPIC: Final = "hooks"
#: Events that are told before they are ticked off: what is told again after a crash.
BATCH: Final = 200


class Outbox:
    """Calls ``job_state_changed`` for what stands in the outbox.

    Args:
        store, lifecycle: the parts it works on.
        holder: the name of this process in leases.
        clock: epoch seconds.
    """

    def __init__(self, store: Store, lifecycle: Lifecycle, holder: str, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._lifecycle = lifecycle
        self._clock = clock
        self.lease = KeptLease(store, f"outbox:{TOPIC}", holder, clock)

    def empty(self) -> None:
        """Tells everything that is due, unless another worker does."""
        while items := self._store.outbox.due(TOPIC, now=self._clock(), limit=BATCH):
            lease = self.lease.hold()
            if lease is None:
                return
            ids = [item.event.job_id for item in items if item.event.job_id is not None]
            jobs = {job.id: job for job in self._store.jobs.get_many(dict.fromkeys(ids))}
            for item in items:
                if item.event.job_id in jobs:
                    self._lifecycle.job_state_changed(jobs[item.event.job_id], item.event)
            try:
                self._store.outbox.done([item.id for item in items], lease=lease)
            except LeaseLost:
                # It took so long that another worker tells the same again.
                self.lease.forget()
                return
