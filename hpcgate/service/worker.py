"""The worker: brings jobs to their schedulers, asks the schedulers about them, and tells the plugins.

Each site has a loop of its own, so that a slow one keeps no other waiting. Any number of workers may run: a lease
in the database says who serves a site, and its token keeps one that was paused from writing afterwards.

What is due when goes by a clock that nobody sets; only what workers agree on goes by the time of day.
"""

from __future__ import annotations

import gc
import logging
import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

from hpcgate.errors import HpcgateError, LeaseLost, SchemaTooNew, SiteError
from hpcgate.model.lease import Lease
from hpcgate.model.site import Site
from hpcgate.model.state import AT_SCHEDULER, ON_THE_WAY
from hpcgate.service.duty import Duty
from hpcgate.service.leases import RENEW_AFTER_S, KeptLease
from hpcgate.service.outbox import Outbox
from hpcgate.service.retention import Retention
from hpcgate.service.submission import pass_on_cancel

if TYPE_CHECKING:
    from hpcgate.plugin.lifecycle import Lifecycle
    from hpcgate.service.reconcile import Reconciler
    from hpcgate.service.submit import Submitter
    from hpcgate.service.transports import Transports
    from hpcgate.store.database import Store

_log = logging.getLogger(__name__)

#: How often the database is asked whether anything was committed.
WATCH_S: Final = 0.05
#: How often a site is looked at although nothing woke its loop.
IDLE_S: Final = 5.0
CANCEL_AGAIN_S: Final = 10.0
HOUSEKEEPING_S: Final = 60.0
#: Between two batches of what is old.
PRUNE_PAUSE_S: Final = 0.5
_WAKING: Final = frozenset({"job.created", "job.canceling", "job.requested", "job.state"})


def collect_garbage_seldom() -> None:
    """For a process that is a worker and nothing else.

    A round makes several objects for each job, which live until it is over: to look for garbage among them after every
    700 new ones, as Python does by itself, is in vain, and takes a seventh of the round.
    """
    gc.set_threshold(50_000, 10, 10)


class SiteLoop:
    """Everything that one worker does for one site.

    Args:
        site: the site.
        store, submitter, reconciler, lifecycle, transports: the parts it works on.
        holder: the name of this process in leases.
        clock: seconds of a clock that only runs forward.
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
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.site = site
        self.lease = KeptLease(store, f"site:{site.name}", holder)
        self._store = store
        self._submitter = submitter
        self._reconciler = reconciler
        self._lifecycle = lifecycle
        self._transports = transports
        self._clock = clock
        self._wake = threading.Event()
        self._polled_at = self._clock() - self._age_of_last_poll_s()
        self._interval_s = site.poll.min_s
        self._poll_wanted = True
        self._spool_at = -math.inf
        self._canceled_at = -math.inf

    def _age_of_last_poll_s(self) -> float:
        """Seconds since the last poll, also by another process: commands that come and go must not ask each time."""
        polled_at = self._store.sites.health(self.site.name).polled_at
        age_s = math.inf if polled_at is None else time.time() - polled_at
        return age_s if age_s >= 0 else math.inf  # a clock that was set back tells nothing

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
            self.lease.give_up()
            self._store.release()

    def _guarded_step(self) -> float:
        try:
            return self.step()
        except LeaseLost:
            _log.warning("site %s: another worker has taken over", self.site.name)
            return RENEW_AFTER_S
        except HpcgateError as error:
            _log.warning("site %s: %s", self.site.name, error.message)
        except Exception:  # noqa: BLE001
            # A loop that ended would leave the site unserved; what went wrong is logged whole and tried again.
            _log.exception("site %s: the worker's round failed", self.site.name)
        return max(1.0, min(self.site.poll.min_s, IDLE_S))

    def step(self, *, force: bool = False) -> float:
        """Does what is due. One part that fails keeps no other from being done.

        Args:
            force: polls now, whatever the time since the last poll, but within ``poll.min_s``.

        Returns:
            Seconds until something is due again.

        Raises:
            LeaseLost: another worker serves the site now.
            Exception: what the first part that failed raised, after the others were done.
        """
        counts = self._store.jobs.counts(site=self.site.name, states=ON_THE_WAY | AT_SCHEDULER)
        on_the_way = sum(counts.get(state, 0) for state in ON_THE_WAY)
        active = sum(counts.get(state, 0) for state in AT_SCHEDULER)
        late = not active and self._reconciler.wants_usage()
        if not on_the_way and not active and not late:
            self.lease.give_up()
            self._poll_wanted = True
            return IDLE_S
        lease = self.lease.hold()
        if lease is None:
            return 1.0
        parts: list[Callable[[Lease], None]] = []
        if on_the_way:
            parts.append(self._submit)
        if active:
            parts += [self._look_into_spool, self._repeat_cancels]
        if active or late:
            parts.append(partial(self._poll, force=force))
        self._do_all(parts, lease)
        return self._delay(on_the_way, active, late=late)

    def _do_all(self, parts: Sequence[Callable[[Lease], None]], lease: Lease) -> None:
        failure: Exception | None = None
        for part in parts:
            try:
                part(lease)
            except LeaseLost:
                self.lease.forget()
                raise
            except Exception as error:  # noqa: BLE001 - raised below, once the other parts had their turn
                failure = failure or error
        if failure is not None:
            raise failure

    # --- what is due

    def _submit(self, lease: Lease) -> None:
        self._submitter.resume(self.site, lease)

    def _look_into_spool(self, lease: Lease) -> None:
        now = self._clock()
        if self.site.event_spool is None or now < self._spool_at:
            return
        self._spool_at = now + self.site.poll.spool_s
        if self._reconciler.read_event_spool(lease):
            self._poll_wanted = True

    def _repeat_cancels(self, lease: Lease) -> None:
        """Tells the scheduler again of wishes to cancel that it has not fulfilled."""
        now = self._clock()
        if now < self._canceled_at + CANCEL_AGAIN_S:
            return
        self._canceled_at = now
        jobs = [job.ref for job in self._store.jobs.snapshots(self.site.name, AT_SCHEDULER, canceling=True)]
        if jobs:
            pass_on_cancel(self._lifecycle, self._transports, self.site, jobs)

    def _poll(self, lease: Lease, *, force: bool) -> None:
        now = self._clock()
        due_s = self.site.poll.min_s if self._poll_wanted or force else self._interval_s
        if now < self._polled_at + due_s:
            return
        wanted, self._poll_wanted = self._poll_wanted, False
        self._polled_at = now
        try:
            self._reconciler.poll(lease)
        except SiteError as error:
            # Freshness only: the site's health says so, the jobs keep their state.
            _log.warning("site %s: did not answer a poll: %s", self.site.name, error.message)
            self._poll_wanted = wanted
        # News make the next poll come soon, silence makes it come later.
        longer = self._interval_s * 1.5
        self._interval_s = self.site.poll.min_s if wanted else min(longer, self.site.poll.max_s)

    def _delay(self, on_the_way: int, active: int, *, late: bool) -> float:
        now = self._clock()
        due = [now + IDLE_S]
        if on_the_way:
            due.append(now + 0.5)
        if active or late:
            due.append(self._polled_at + (self.site.poll.min_s if self._poll_wanted else self._interval_s))
        if active and self.site.event_spool is not None:
            due.append(self._spool_at)
        return max(0.01, min(due) - now)


class Worker:
    """All loops of one process.

    Args:
        loops: one per site.
        store: for watching.
        outbox: for telling plugins.
        retention: for removing what is old.
        duties: what else one worker at a time does.
        chores: called now and then, to forget what is old; each gets the time, epoch seconds.
        clock: epoch seconds.
    """

    def __init__(
        self,
        loops: Mapping[str, SiteLoop],
        store: Store,
        outbox: Outbox,
        retention: Retention,
        duties: Sequence[Duty] = (),
        chores: Sequence[Callable[[float], object]] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._loops = loops
        self._store = store
        self._outbox = outbox
        self._retention = retention
        self._duties = duties
        self._chores = chores
        self._clock = clock
        self._seen = store.events.last()
        self._something_new = threading.Event()
        self._housekeeping_at = -math.inf

    def run(self, stop: threading.Event) -> None:
        """Works until ``stop``; jobs stay where they are and go on without it.

        Raises:
            SchemaTooNew: a later version has changed the database so that this one cannot work on it.
        """
        workers = [
            threading.Thread(target=loop.run, args=(stop,), name=f"site-{name}") for name, loop in self._loops.items()
        ]
        workers.append(threading.Thread(target=self._tell_plugins, args=(stop,), name="outbox"))
        workers.append(threading.Thread(target=self._remove_what_is_old, args=(stop,), name="retention"))
        workers += [threading.Thread(target=duty.run, args=(stop,), name=duty.name) for duty in self._duties]
        at_rest = threading.Event()
        keeper = threading.Thread(target=self._keep_leases, args=(at_rest,), name="leases")
        for thread in (*workers, keeper):
            thread.start()
        try:
            self._watch(stop)
        finally:
            stop.set()
            self._something_new.set()
            for loop in self._loops.values():
                loop.wake()
            for duty in self._duties:
                duty.wake()
            for thread in workers:
                thread.join()
            # Last, so that whoever ends what it was at still has its lease.
            at_rest.set()
            keeper.join()
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
        self._outbox.empty()
        if failure is not None:
            raise failure

    def close(self) -> None:
        """Gives back the leases that ``step`` holds, so that another worker need not wait until they run out."""
        for lease in self._leases():
            lease.give_up()

    def _leases(self) -> list[KeptLease]:
        loops = [loop.lease for loop in self._loops.values()]
        return [*loops, *(duty.lease for duty in self._duties), self._outbox.lease, self._retention.lease]

    def _keep_leases(self, at_rest: threading.Event) -> None:
        """Renews what the other threads hold, while they wait for a site or a plugin."""
        try:
            while not at_rest.wait(RENEW_AFTER_S / 4):
                for lease in self._leases():
                    try:
                        lease.renew()
                    except Exception:  # noqa: BLE001
                        # A keeper that ended would let every slow round fail; it is logged and tried again.
                        _log.exception("a lease could not be renewed")
        finally:
            self._store.release()

    def _watch(self, stop: threading.Event) -> None:
        """Wakes the others when anything was committed that concerns them."""
        version: tuple[int, ...] = ()
        while not stop.is_set():
            try:
                current = self._store.version()
                if current != version:
                    self._wake_loops()
                    self._something_new.set()
                    for duty in self._duties:
                        duty.wake()
                    version = current  # last: what could not be read is looked for again
                self._keep_house()
            except SchemaTooNew:
                raise  # nothing that this version does would be right any more
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

    def _tell_plugins(self, stop: threading.Event) -> None:
        """Empties the outbox; in a thread of its own, since a plugin may take its time."""
        try:
            while not stop.is_set():
                self._something_new.wait(IDLE_S)
                self._something_new.clear()
                try:
                    self._outbox.empty()
                except Exception:  # noqa: BLE001
                    # What is told late is told all the same; it is logged and tried again.
                    _log.exception("plugins could not be told")
                    stop.wait(1.0)
        finally:
            self._outbox.lease.give_up()
            self._store.release()

    def _remove_what_is_old(self, stop: threading.Event) -> None:
        """A little at a time; in a thread of its own, since a site may take its time."""
        try:
            while not stop.is_set():
                more = False
                try:
                    done = self._retention.step()
                    more = done is not None and done.more
                except Exception:  # noqa: BLE001
                    # What goes late goes all the same; it is logged and tried again.
                    _log.exception("what is old could not be removed")
                if not more:
                    self._retention.lease.give_up()
                stop.wait(PRUNE_PAUSE_S if more else HOUSEKEEPING_S)
        finally:
            self._retention.lease.give_up()
            self._store.release()

    def _keep_house(self) -> None:
        now = time.monotonic()
        if now < self._housekeeping_at:
            return
        self._housekeeping_at = now + HOUSEKEEPING_S
        self._store.check_schema()
        for chore in self._chores:
            chore(self._clock())
