"""Something that one worker at a time does for all: a thread that works while it has the lease."""

from __future__ import annotations

import logging
import threading
import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from hpcgate.service.leases import KeptLease
    from hpcgate.store.database import Store

_log = logging.getLogger(__name__)

#: How often is looked although nothing woke it; and how long the lease is kept without work, seconds.
IDLE_S: Final = 5.0
#: Between two looks whether the other worker still lives, and after a failure, seconds.
PAUSE_S: Final = 1.0


class Part(ABC):
    """What is done. All methods but ``wake`` are called by one thread."""

    def __init__(self) -> None:
        self._something_new = threading.Event()

    def wake(self) -> None:
        """Something was committed."""
        self._something_new.set()

    def wait(self, seconds: float) -> None:
        """Waits so long, or until ``wake``."""
        self._something_new.wait(seconds)
        self._something_new.clear()

    @abstractmethod
    def pending(self) -> bool:
        """Whether there is something to do now."""

    @abstractmethod
    def next_due(self) -> float:
        """Seconds until there is something to do, as far as is known."""

    @abstractmethod
    def step(self) -> float:
        """Does what is due; seconds until something is due again."""

    def rest(self) -> None:  # noqa: B027 - most parts have nothing under way between two steps
        """Another worker does it."""

    def close(self) -> None:  # noqa: B027
        """Ends what is under way."""


class Duty:
    """A part and its lease.

    Args:
        name: for threads and the log.
        part: what is done.
        lease: says who does it.
        store: whose connection the thread gives back.
    """

    def __init__(self, name: str, part: Part, lease: KeptLease, store: Store) -> None:
        self.name = name
        self.lease = lease
        self._part = part
        self._store = store
        self._worked_at = 0.0

    def wake(self) -> None:
        """Something was committed: look at once."""
        self._part.wake()

    def run(self, stop: threading.Event) -> None:
        """Works until ``stop``."""
        delay_s = 0.0
        try:
            while not stop.is_set():
                self._part.wait(min(delay_s, IDLE_S))
                if not stop.is_set():
                    delay_s = self._guarded_round()
        finally:
            self._part.close()
            self.lease.give_up()
            self._store.release()

    def _guarded_round(self) -> float:
        try:
            return self.round()
        except Exception:  # noqa: BLE001
            # What is done late is done all the same; it is logged and tried again.
            _log.exception("%s: a round failed", self.name)
            time.sleep(PAUSE_S)  # not to be woken from: a failure that writes would wake itself for ever
            return PAUSE_S

    def round(self) -> float:
        """One look, and what is to be done; seconds until the next one."""
        if not self._part.pending():
            if time.monotonic() - self._worked_at > IDLE_S:
                self.lease.give_up()  # at rest nothing is written
            return self._part.next_due()
        if self.lease.hold() is None:
            self._part.rest()
            return PAUSE_S
        self._worked_at = time.monotonic()
        return self._part.step()
