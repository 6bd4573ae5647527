"""Brings messages to webhooks: many at a time, but never so that one receiver keeps another waiting.

What is due is looked up and recorded by one thread; senders only send. A receiver (an owner's webhooks at one host) has
few senders at a time, one while it fails, and a pause that grows while it does not answer; an owner has a share of all.
"""

from __future__ import annotations

import logging
import math
import random
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from hpcgate import __version__
from hpcgate.config import WebhooksTable
from hpcgate.model.principal import Principal
from hpcgate.model.webhook import Delivery, DeliveryState, Webhook
from hpcgate.service.backoff import pause_s
from hpcgate.service.duty import Part
from hpcgate.service.webhook_keys import signed_headers

if TYPE_CHECKING:
    from hpcgate.service.fanout import FanOut
    from hpcgate.service.outgoing import Answer, Outgoing
    from hpcgate.store.database import Store

_log = logging.getLogger(__name__)

#: The first pause before a message is tried again, and the longest one, seconds.
FIRST_PAUSE_S: Final = 5.0
MAX_PAUSE_S: Final = 3600.0
#: The longest pause for all that is for a receiver which does not answer at all, seconds.
MAX_REST_S: Final = 300.0
#: Messages on their way to one receiver at the same time.
PER_RECEIVER: Final = 4
_GONE: Final = 410
#: Answers by which a receiver asks for a pause.
_BUSY: Final = (429, 503)


@dataclass(frozen=True, slots=True)
class _Sent:
    """What became of a try: an answer, or why there is none."""

    hook: Webhook
    message: Delivery
    answer: Answer | None
    error: str | None


@dataclass(slots=True)
class _Receiver:
    """How it stands with a receiver."""

    on_their_way: int = 0
    silences: int = 0
    rests_until: float = 0.0

    def room(self, now: float) -> int:
        if now < self.rests_until:
            return 0
        return (1 if self.silences else PER_RECEIVER) - self.on_their_way


class Courier(Part):
    """Sends what is due.

    Args:
        store: where messages are.
        fan_out: makes them.
        outgoing: makes what sends them; asked for it once there is something to send.
        acting: a user's rights as they are now; ``None`` = it is gone or locked.
        table: the ``[webhooks]`` table.
        clock: epoch seconds.
    """

    def __init__(
        self,
        store: Store,
        fan_out: FanOut,
        outgoing: Callable[[], Outgoing],
        acting: Callable[[str], Principal | None],
        table: WebhooksTable,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__()
        self._store = store
        self._fan_out = fan_out
        self._make_outgoing = outgoing
        self._outgoing: Outgoing | None = None
        self._acting = acting
        self._table = table
        self._clock = clock
        self._sent: SimpleQueue[_Sent] = SimpleQueue()
        self._on_their_way: dict[str, tuple[str, str]] = {}
        self._receivers: dict[tuple[str, str], _Receiver] = {}
        self._senders = ThreadPoolExecutor(table.senders, thread_name_prefix="webhook")

    def pending(self) -> bool:
        """Whether events have to be looked at, or messages to be sent or recorded."""
        if self._on_their_way or self._fan_out.behind():
            return True
        return self._table.enabled and bool(self._store.deliveries.due(self._clock()))

    def next_due(self) -> float:
        """Seconds until a message is due."""
        now = self._clock()
        at = self._store.deliveries.next_due(now) if self._table.enabled else None
        return math.inf if at is None else at - now

    def step(self) -> float:
        """Does what can be done without waiting; seconds until something is due again."""
        self.record()
        while self._fan_out.step():
            pass
        return self._send() if self._table.enabled else math.inf

    def rest(self) -> None:
        """Does nothing new, since another worker does it; what is on its way is recorded."""
        self.record()

    def close(self) -> None:
        """Cuts what is on its way; it stays due, for whoever works next."""
        if self._outgoing is not None:
            self._outgoing.abort()
        self._senders.shutdown(wait=True, cancel_futures=True)
        self.record()

    # --- sending

    def _send(self) -> float:
        now = self._clock()
        self._forget(now)
        due = self._store.deliveries.due(now)
        hooks = self._store.webhooks.get_many(due)
        owners = Counter(owner for owner, _ in self._on_their_way.values())
        most = max(1, self._table.senders // 2)
        soonest = self._store.deliveries.next_due(now) or math.inf
        random.shuffle(due)
        for id_ in due:
            hook = hooks.get(id_)
            if hook is None or not self._may_send(hook, now):
                continue
            key = _receiver_of(hook)
            receiver = self._receivers.setdefault(key, _Receiver())
            soonest = min(soonest, receiver.rests_until) if receiver.rests_until > now else soonest
            room = min(receiver.room(now), most - owners[hook.owner], self._table.senders - len(self._on_their_way))
            if room > 0:
                owners[hook.owner] += self._start(hook, key, receiver, now, room)
        return max(0.0, soonest - self._clock())

    def _forget(self, now: float) -> None:
        """Drops receivers that were silent and have not been asked since: most of them are gone."""
        for key, receiver in list(self._receivers.items()):
            if not receiver.on_their_way and receiver.rests_until + MAX_REST_S < now:
                del self._receivers[key]

    def _may_send(self, hook: Webhook, now: float) -> bool:
        if hook.enabled and self._acting(hook.owner) is not None:
            return True
        self._store.deliveries.bury(hook.id, now, "the webhook, or its owner, is switched off")
        return False

    def _start(self, hook: Webhook, key: tuple[str, str], receiver: _Receiver, now: float, room: int) -> int:
        heads = self._store.deliveries.heads(hook.id, now, room + receiver.on_their_way)
        fresh = [message for message in heads if message.id not in self._on_their_way][:room]
        if not fresh:
            return 0
        keys = self._keys(hook)
        self._outgoing = outgoing = self._outgoing or self._make_outgoing()
        for message in fresh:
            self._on_their_way[message.id] = key
            receiver.on_their_way += 1
            self._senders.submit(self._send_one, outgoing, hook, message, keys)
        return len(fresh)

    def _keys(self, hook: Webhook) -> dict[str, str]:
        keys = self._store.webhooks.keys(hook.id)
        return keys or (self._store.webhooks.callback_keys(hook.owner) if hook.callback else {})

    def _send_one(self, outgoing: Outgoing, hook: Webhook, message: Delivery, keys: dict[str, str]) -> None:
        """One try, in a sender's thread; it touches no database."""
        try:
            body = message.body.encode()
            headers = {
                "Content-Type": "application/json",
                "User-Agent": f"hpcgate/{__version__}",
                **signed_headers(keys, message.id, body, self._clock()),
            }
            sent = _Sent(hook, message, outgoing.post(hook.url, headers, body), None)
        except OSError as error:
            sent = _Sent(hook, message, None, str(error))
        except Exception as error:  # noqa: BLE001
            # A message that was never recorded would count as on its way for ever.
            _log.exception("a message to webhook %s could not be sent", hook.id)
            sent = _Sent(hook, message, None, f"the gateway failed: {type(error).__name__}")
        self._sent.put(sent)
        self.wake()

    # --- results

    def record(self) -> None:
        """Stores what became of what was sent."""
        results: list[_Sent] = []
        while True:
            try:
                results.append(self._sent.get_nowait())
            except Empty:
                break
        if not results:
            return
        now = self._clock()
        try:
            with self._store.transaction():
                self._store.deliveries.record([self._result(sent, now) for sent in results])
                for sent in results:
                    if sent.answer is not None and sent.answer.status == _GONE:
                        self._store.webhooks.disable(sent.hook.id, "the receiver answered 410 Gone")
                        self._store.deliveries.bury(sent.hook.id, now, "the receiver answered 410 Gone")
        except BaseException:
            for sent in results:  # to be recorded the next time
                self._sent.put(sent)
            raise
        for sent in results:
            self._note(sent, now)

    def _note(self, sent: _Sent, now: float) -> None:
        key = self._on_their_way.pop(sent.message.id)
        receiver = self._receivers[key]
        receiver.on_their_way -= 1
        if sent.answer is None:
            receiver.silences += 1
            receiver.rests_until = now + pause_s(receiver.silences - 1, first_s=FIRST_PAUSE_S, most_s=MAX_REST_S)
        else:
            receiver.silences = 0
            if not receiver.on_their_way:
                del self._receivers[key]

    def _result(self, sent: _Sent, now: float) -> Delivery:
        message, answer = sent.message, sent.answer
        tried = replace(message, tries=message.tries + 1, status=answer.status if answer else None)
        if answer is not None and 200 <= answer.status < 300:
            return replace(tried, state=DeliveryState.DELIVERED, error=None, ended_at=now)
        error = sent.error if answer is None else _refusal(answer.status)
        pause = pause_s(message.tries, first_s=FIRST_PAUSE_S, most_s=MAX_PAUSE_S)
        if answer is not None and answer.status in _BUSY and answer.retry_after_s is not None:
            pause = max(pause, min(answer.retry_after_s, MAX_PAUSE_S))
        if now + pause >= message.give_up_at:
            return replace(tried, state=DeliveryState.DEAD, error=error, ended_at=now)
        return replace(tried, due_at=now + pause, error=error)


def _receiver_of(hook: Webhook) -> tuple[str, str]:
    return hook.owner, urlsplit(hook.url).netloc.lower()


def _refusal(status: int) -> str:
    if 300 <= status < 400:
        return f"the receiver answered {status}; redirects are not followed, give the URL that it leads to"
    return f"the receiver answered {status}"
