"""A lease that is kept for as long as its work takes, however slow a site or a plugin is."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from hpcgate.errors import DatabaseUnavailable
from hpcgate.model.lease import Lease

if TYPE_CHECKING:
    from hpcgate.store.database import Store

_log = logging.getLogger(__name__)

LEASE_S: Final = 6.0
RENEW_AFTER_S: Final = 2.0


class KeptLease:
    """One lease, taken by the thread that works and renewed by another one while it works.

    Without the second thread a round that takes longer than the lease would lose it each time, and of two workers
    neither would ever get anything written.

    Args:
        store: where the lease is.
        name: what it is about.
        holder: the name of this process in leases.
        clock: epoch seconds, the same for all workers.
    """

    def __init__(self, store: Store, name: str, holder: str, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._name = name
        self._holder = holder
        self._clock = clock
        self._lock = threading.Lock()
        self._lease: Lease | None = None
        self._renew_at = 0.0

    def hold(self) -> Lease | None:
        """Takes the lease, or keeps it; ``None`` = another worker has it."""
        with self._lock:
            self._renew()
            if self._lease is None:
                self._lease = self._store.leases.acquire(self._name, self._holder, LEASE_S, self._clock())
                self._renew_at = time.monotonic() + RENEW_AFTER_S
            return self._lease

    def renew(self) -> None:
        """Prolongs the lease where this process has it and it is time to."""
        with self._lock:
            self._renew()

    def _renew(self) -> None:
        if self._lease is not None and time.monotonic() >= self._renew_at:
            self._lease = self._store.leases.renew(self._lease, LEASE_S, self._clock())
            self._renew_at = time.monotonic() + RENEW_AFTER_S

    def forget(self) -> None:
        """Another worker has taken it."""
        with self._lock:
            self._lease = None

    def give_up(self) -> None:
        """Lets another worker have it at once."""
        with self._lock:
            if self._lease is not None:
                lease, self._lease = self._lease, None
                try:
                    self._store.leases.release(lease)
                except DatabaseUnavailable as error:
                    _log.warning("the lease %s could not be given back, it has to run out: %s", self._name, error)
