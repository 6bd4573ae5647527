"""One dispatcher thread per process feeds all event streams.

The dispatcher looks every few milliseconds whether anything was committed, reads what is new once, and hands it to
each subscription that may see it. A subscription that does not keep up is cut: its client comes back with
``Last-Event-ID`` and loses nothing. No stream holds a database connection while it waits.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Final

from hpcgate.model.job import Event
from hpcgate.model.principal import Principal
from hpcgate.server.errors import TooManyStreams

if TYPE_CHECKING:
    from hpcgate.server.metrics import Metrics
    from hpcgate.service.events import EventService

_log = logging.getLogger(__name__)

INTERVAL_S: Final = 0.05
FAILED_PAUSE_S: Final = 1.0
PAGE: Final = 500
#: Events that may wait in one subscription before it is cut.
BACKLOG: Final = 1000


class Subscription:
    """A place at the hub. Made by ``EventHub.open``; whoever opens it closes it.

    Args:
        hub: where it is subscribed.
        principal: who must be allowed to see an event.
        job_id: restricts it to one job.
    """

    def __init__(self, hub: EventHub, principal: Principal, job_id: int | None) -> None:
        self._hub = hub
        self.principal = principal
        self.job_id = job_id
        self._queue: SimpleQueue[Event | None] = SimpleQueue()
        self.ended = threading.Event()

    def offer(self, event: Event) -> bool:
        """Puts an event into the queue; ``False`` = it is full, and the subscription has been cut."""
        if self._queue.qsize() >= BACKLOG:
            self.end()
            return False
        self._queue.put(event)
        return True

    def take(self, timeout_s: float) -> Event | None:
        """The next event; ``None`` when none came in time, or when the subscription has ended."""
        if self.ended.is_set():
            return None
        try:
            return self._queue.get(timeout=timeout_s)
        except Empty:
            return None

    def end(self) -> None:
        """Wakes whoever waits and tells that nothing more will come."""
        self.ended.set()
        self._queue.put(None)

    def close(self) -> None:
        """Gives the place back. May be called more than once."""
        self._hub.leave(self)


class EventHub:
    """Fans events out to subscriptions.

    Args:
        events: where they are read.
        metrics: told how many streams there are.
        release: gives back the calling thread's database connection.
        max_streams: how many subscriptions may be open.
    """

    def __init__(
        self, events: EventService, metrics: Metrics, *, release: Callable[[], None], max_streams: int
    ) -> None:
        self._events = events
        self._metrics = metrics
        self.release = release
        self._max_streams = max_streams
        self._lock = threading.Lock()
        self._wanted = threading.Condition(self._lock)
        self._subscriptions: set[Subscription] = set()
        self._joined: set[Subscription] = set()
        self._position = 0
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()

    # --- subscriptions

    def open(self, principal: Principal, *, job_id: int | None = None) -> Subscription:
        """Takes a place. Events come once ``join`` was called.

        Raises:
            TooManyStreams: all places are taken, or the server is stopping.
        """
        subscription = Subscription(self, principal, job_id)
        with self._lock:
            if self._stopping.is_set():
                raise TooManyStreams("the server is stopping")
            if len(self._subscriptions) >= self._max_streams:
                raise TooManyStreams(f"{self._max_streams} streams are open already; close one, or come back later")
            self._subscriptions.add(subscription)
            self._metrics.streams.set(len(self._subscriptions))
        return subscription

    def join(self, subscription: Subscription) -> None:
        """Lets a subscription have every event that is committed from now on (and maybe a few older ones)."""
        with self._lock:
            if subscription not in self._subscriptions or subscription.ended.is_set():
                return
            if not self._joined:
                # The dispatcher rests: what was committed meanwhile is for nobody.
                self._position = self._events.last()
            self._joined.add(subscription)
            if self._thread is None:
                self._thread = threading.Thread(target=self._dispatch, name="hpcgate-events", daemon=True)
                self._thread.start()
            self._wanted.notify()

    def leave(self, subscription: Subscription) -> None:
        """Takes a subscription away; one that is away already stays so."""
        with self._lock:
            self._subscriptions.discard(subscription)
            self._joined.discard(subscription)
            self._metrics.streams.set(len(self._subscriptions))

    def stop(self) -> None:
        """Ends all subscriptions and the dispatcher, for good."""
        with self._lock:
            self._stopping.set()
            for subscription in self._subscriptions:
                subscription.end()
            self._wanted.notify()
            thread = self._thread
        if thread is not None:
            thread.join()

    def follow(self, subscription: Subscription, after: int, quiet_s: float) -> Iterator[Event | None]:
        """All events after ``after`` that the subscription may see, each once and in order, as they happen.

        Args:
            subscription: an open one.
            after: number of the last event that the client has.
            quiet_s: longest time without an item, seconds.

        Yields:
            Events; ``None`` after ``quiet_s`` without one. It ends with the subscription.
        """
        joined = False
        while not subscription.ended.is_set():
            page = self._events.after(subscription.principal, after, limit=PAGE, job_id=subscription.job_id)
            for event in page:
                yield event
                after = event.seq
            if len(page) == PAGE:
                continue
            if joined:
                break
            # Caught up but for what was committed since: from here on the dispatcher collects, then one more look.
            self.join(subscription)
            joined = True
        self.release()
        while not subscription.ended.is_set():
            live = subscription.take(quiet_s)
            if live is None:
                if subscription.ended.is_set():
                    return
                yield None
            elif live.seq > after:
                after = live.seq
                yield live

    # --- the dispatcher

    def _dispatch(self) -> None:
        try:
            while self._wait_for_work():
                self._watch()
                self.release()
        finally:
            self.release()

    def _wait_for_work(self) -> bool:
        with self._lock:
            while not self._joined and not self._stopping.is_set():
                self._wanted.wait()
        return not self._stopping.is_set()

    def _watch(self) -> None:
        """Dispatches as long as somebody listens."""
        seen: tuple[int, ...] | None = None
        while self._joined and not self._stopping.is_set():
            try:
                version = self._events.version()
                if version != seen:
                    self._round()
                    seen = version
            except Exception:  # noqa: BLE001 - the streams live on; the store may well answer again
                _log.exception("events cannot be read")
                self.release()
                self._stopping.wait(FAILED_PAUSE_S)
            self._stopping.wait(INTERVAL_S)

    def _round(self) -> None:
        while True:
            with self._lock:
                position = self._position
            page = self._events.raw_after(position, PAGE)
            if not page:
                return
            with self._lock:
                # Whoever joined after the page was read looks into the store itself, after joining.
                listeners = list(self._joined)
                self._position = max(self._position, page[-1].seq)
            for event in page:
                self._hand_out(event, listeners)

    def _hand_out(self, event: Event, listeners: list[Subscription]) -> None:
        for subscription in listeners:
            if subscription.job_id not in (None, event.job_id):
                continue
            if subscription.ended.is_set() or not self._events.visible(subscription.principal, event):
                continue
            if not subscription.offer(event):
                self._metrics.cut.inc()
                _log.warning("a stream of %r was too slow and is cut", subscription.principal.name)
