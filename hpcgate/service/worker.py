"""The worker: brings jobs to their schedulers, asks the schedulers about them, and tells the plugins.

Each site has a loop of its own, so that a slow one keeps no other waiting. Any number of workers may run: a lease
in the database says who serves a site, and its token keeps one that was paused from writing afterwards.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from hpcgate.errors import HpcgateError, LeaseLost, SiteError
from hpcgate.model.lease import Lease
from hpcgate.model.site import Site
from hpcgate.model.state import AT_SCHEDULER
from hpcgate.service.submit import ON_THE_WAY

if TYPE_CHECKING:
    from hpcgate.plugin.lifecycle import Lifecycle
    from hpcgate.service.reconcile import Reconciler
    from hpcgate.service.submit import Submitter
    from hpcgate.service.transports import Transports
    from hpcgate.store.database import Store

_log = logging.getLogger(__name__)

LEASE_S: Final = 6.0
RENEW_AFTER_S: Final = 2.0
#: How often the database is asked whether anything was committed.
WATCH_S: Final = 0.05
#: How often a site is looked at although nothing woke its loop.
IDLE_S: Final = 5.0
CANCEL_AGAIN_S: Final = 10.0
HOUSEKEEPING_S: Final = 60.0
_WAKING: Final = frozenset({"job.created", "job.canceling", "job.requested", "job.state"})


class SiteLoop:
    """Everything that one worker does for one site.

    Args:
        site: the site.
        store, submitter, reconciler, lifecycle, transports: the parts it works on.
        holder: the name of this process in leases.
        clock: epoch seconds.
    """

    def __init__(
        self,
        site: Site,
        store: Store,
        submitter: Submitter,
        reconciler: Reconciler,
        lifecycle: Lifecycle,
        transports: Transports,
        holder: str,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.site = site
        self._store = store
        self._submitter = submitter
        self._reconciler = reconciler
        self._lifecycle = lifecycle
        self._transports = transports
        self._holder = holder
        self._clock = clock
        self._wake = threading.Event()
        self._lease: Lease | None = None
        self._renew_at = 0.0
        self._polled_at = 0.0
        self._interval_s = site.poll.min_s
        self._poll_wanted = True
        self._spool_at = 0.0
        self._canceled_at = 0.0

    def wake(self) -> None:
        """Something changed: look at once."""
        self._poll_wanted = True
        self._wake.set()

    def run(self, stop: threading.Event) -> None:
        """Serves the site until ``stop``."""
        try:
            while not stop.is_set():
                self._wake.clear()
                delay_s = self._guarded_step()
                if not stop.is_set():
                    self._wake.wait(delay_s)
        finally:
            self.give_up_lease()
            self._store.release()

    def _guarded_step(self) -> float:
        try:
            return self.step()
        except LeaseLost:
            _log.warning("site %s: another worker has taken over", self.site.name)
            self._lease = None
            return RENEW_AFTER_S
        except HpcgateError as error:
            _log.warning("site %s: %s", self.site.name, error.message)
        except Exception:  # noqa: BLE001
            # A loop that ended would leave the site unserved; what went wrong is logged whole and tried again.
            _log.exception("site %s: the worker's round failed", self.site.name)
        return max(1.0, self.site.poll.min_s)

    def step(self, *, force: bool = False) -> float:
        """Does what is due.

        Args:
            force: polls now, whatever the time since the last poll, but within ``poll.min_s``.

        Returns:
            Seconds until something is due again.
        """
        counts = self._store.jobs.counts(site=self.site.name, states=ON_THE_WAY | AT_SCHEDULER)
        on_the_way = sum(counts.get(state, 0) for state in ON_THE_WAY)
        active = sum(counts.get(state, 0) for state in AT_SCHEDULER)
        if not on_the_way and not active:
            self.give_up_lease()
            self._poll_wanted = True
            return IDLE_S
        if not self._hold_lease():
            return 1.0
        if on_the_way:
            on_the_way = self._submitter.resume(self.site, self._lease)
        if active:
            self._look_into_spool()
            self._repeat_cancels()
            self._poll(force=force)
        return self._delay(on_the_way, active)

    # --- the lease

    def _hold_lease(self) -> bool:
        now = self._clock()
        if self._lease is not None and now < self._renew_at:
            return True
        leases = self._store.leases
        name = f"site:{self.site.name}"
        if self._lease is not None:
            self._lease = leases.renew(self._lease, LEASE_S, now)
        if self._lease is None:
            self._lease = leases.acquire(name, self._holder, LEASE_S, now)
        self._renew_at = now + RENEW_AFTER_S
        return self._lease is not None

    def give_up_lease(self) -> None:
        """Lets another worker serve the site at once."""
        if self._lease is not None:
            self._store.leases.release(self._lease)
            self._lease = None

    # --- what is due

    def _look_into_spool(self) -> None:
        now = self._clock()
        if self.site.event_spool is None or now < self._spool_at:
            return
        self._spool_at = now + self.site.poll.spool_s
        if self._reconciler.read_event_spool(self._lease):
            self._poll_wanted = True

    def _repeat_cancels(self) -> None:
        """Tells the scheduler again of wishes to cancel that it has not fulfilled."""
        now = self._clock()
        if now < self._canceled_at + CANCEL_AGAIN_S:
            return
        self._canceled_at = now
        jobs = [job.ref for job in self._store.jobs.snapshots(self.site.name, AT_SCHEDULER) if job.canceling]
        if jobs:
            self._lifecycle.cancel_jobs(self.site, jobs, self._transports.get(self.site))

    def _poll(self, *, force: bool) -> None:
        now = self._clock()
        due_s = self.site.poll.min_s if self._poll_wanted or force else self._interval_s
        if now < self._polled_at + due_s:
            return
        wanted, self._poll_wanted = self._poll_wanted, False
        self._polled_at = now
        try:
            self._reconciler.poll(self._lease)
        except SiteError as error:
            # Freshness only: the site's health says so, the jobs keep their state.
            _log.warning("site %s: did not answer a poll: %s", self.site.name, error.message)
            self._poll_wanted = wanted
        # News make the next poll come soon, silence makes it come later.
        longer = self._interval_s * 1.5
        self._interval_s = self.site.poll.min_s if wanted else min(longer, self.site.poll.max_s)

    def _delay(self, on_the_way: int, active: int) -> float:
        now = self._clock()
        due = [now + IDLE_S, self._renew_at]
        if on_the_way:
            due.append(now + 0.5)
        if active:
            due.append(self._polled_at + (self.site.poll.min_s if self._poll_wanted else self._interval_s))
            if self.site.event_spool is not None:
                due.append(self._spool_at)
        return max(0.01, min(due) - now)


class Worker:
    """All loops of one process.

    Args:
        loops: one per site.
        store, lifecycle: for watching and for telling plugins.
        holder: the name of this process in leases.
        clock: epoch seconds.
    """

    def __init__(
        self,
        loops: Mapping[str, SiteLoop],
        store: Store,
        lifecycle: Lifecycle,
        holder: str,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._loops = loops
        self._store = store
        self._lifecycle = lifecycle
        self._holder = holder
        self._clock = clock
        self._seen = store.events.last()
        self._housekeeping_at = 0.0
        self._outbox_lease: Lease | None = None

    def run(self, stop: threading.Event) -> None:
        """Works until ``stop``; jobs stay where they are and go on without it."""
        threads = [
            threading.Thread(target=loop.run, args=(stop,), name=f"site-{name}") for name, loop in self._loops.items()
        ]
        for thread in threads:
            thread.start()
        try:
            self._watch(stop)
        finally:
            stop.set()
            for loop in self._loops.values():
                loop.wake()
            for thread in threads:
                thread.join()
            self._give_up_outbox()
            self._store.release()

    def step(self) -> None:
        """One round of everything, for a process that works only now and then (the embedded CLI).

        It keeps the leases for the next round; ``close`` gives them back.

        Raises:
            HpcgateError: a site could not be served; the others were.
        """
        failure: HpcgateError | None = None
        for loop in self._loops.values():
            try:
                loop.step(force=True)
            except HpcgateError as error:
                failure = error
        self._tell_plugins()
        if failure is not None:
            raise failure

    def _watch(self, stop: threading.Event) -> None:
        """Wakes the loops when anything was committed that concerns them."""
        version: tuple[int, ...] = ()
        while not stop.is_set():
            try:
                current = self._store.version()
                if current != version:
                    version = current
                    self._wake_loops()
                    self._tell_plugins()
                self._keep_house()
            except Exception:  # noqa: BLE001
                # Losing the watch would make everything late for ever; it is logged and tried again.
                _log.exception("the worker's watch failed")
                stop.wait(1.0)
            stop.wait(WATCH_S)

    def _wake_loops(self) -> None:
        while events := self._store.events.after(self._seen, limit=1000):
            self._seen = events[-1].seq
            for event in events:
                if event.type in _WAKING and (event.type != "job.state" or event.data.get("new") == "QUEUED"):
                    self._wake_site(event.data.get("site"))

    def _wake_site(self, name: object) -> None:
        for loop in self._loops.values():
            if name is None or loop.site.name == name:
                loop.wake()

    def _tell_plugins(self) -> None:
        """Calls ``job_state_changed`` for what stands in the outbox, in order; one worker at a time does it."""
        now = self._clock()
        if not self._store.outbox.due("hooks", now=now, limit=1):
            return
        self._outbox_lease = self._store.leases.acquire("outbox:hooks", self._holder, LEASE_S, now)
        if self._outbox_lease is None:
            return
        while items := self._store.outbox.due("hooks", now=self._clock(), limit=200):
            jobs = {
                job.id: job
                for job in self._store.jobs.get_many(
                    [item.event.job_id for item in items if item.event.job_id is not None]
                )
            }
            for item in items:
                if item.event.job_id in jobs:
                    self._lifecycle.job_state_changed(jobs[item.event.job_id], item.event)
            self._store.outbox.done([item.id for item in items])

    def close(self) -> None:
        """Gives back the leases that ``step`` holds, so that another worker need not wait until they run out."""
        for loop in self._loops.values():
            loop.give_up_lease()
        self._give_up_outbox()

    def _give_up_outbox(self) -> None:
        if self._outbox_lease is not None:
            self._store.leases.release(self._outbox_lease)
            self._outbox_lease = None

    def _keep_house(self) -> None:
        now = self._clock()
        if now < self._housekeeping_at:
            return
        self._housekeeping_at = now + HOUSEKEEPING_S
        self._store.jobs.prune_idempotency(now)
        self._store.identities.prune_tokens(now)
