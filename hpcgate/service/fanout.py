"""From the event log to messages: which webhooks and whose mailbox an event is for.

The log is read behind a place that is stored, in the order of commits. The place moves in the transaction that stores
the messages, so each event makes each message once, whatever is killed meanwhile, and costs nothing when it is written.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Final

from hpcgate.config import MailTable, WebhooksTable
from hpcgate.model.codec import event_to_wire
from hpcgate.model.job import Event, Job
from hpcgate.model.principal import Principal
from hpcgate.model.state import JobState
from hpcgate.model.webhook import NOTICES, Delivery, DeliveryState, Mail, Webhook, entered
from hpcgate.service.access import Verb, allows
from hpcgate.service.webhooks import message_body

if TYPE_CHECKING:
    from hpcgate.store.database import Store

#: Events that are looked at in one transaction.
BATCH: Final = 200


class FanOut:
    """Makes messages of events.

    Args:
        store: where both are.
        acting: a user's rights as they are now; ``None`` = it is gone or locked.
        webhooks, mail: the tables of that name; without ``mail`` none is sent.
        clock: epoch seconds.
    """

    def __init__(
        self,
        store: Store,
        acting: Callable[[str], Principal | None],
        webhooks: WebhooksTable,
        mail: MailTable | None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._acting = acting
        self._webhooks = webhooks
        self._mail = mail
        self._clock = clock

    def behind(self) -> bool:
        """Whether there are events that were not looked at yet."""
        return self._store.deliveries.position() < self._store.events.last()

    def step(self) -> bool:
        """Looks at the next events; ``False`` = there are none."""
        place = self._store.deliveries.position()
        events = self._store.events.after(place, limit=BATCH)
        if not events:
            return False
        with self._store.transaction():
            if self._store.deliveries.advance(place, events[-1].seq):
                jobs = _Jobs(self._store)
                self._store.deliveries.add(self._messages(events, jobs))
                self._store.mail.add(self._mails(events, jobs))
        return True

    def _messages(self, events: Sequence[Event], jobs: _Jobs) -> list[Delivery]:
        now = self._clock()
        fresh = [event for event in events if event.job_id is not None and event.at > now - self._webhooks.retry_for_s]
        if not self._webhooks.enabled or not fresh:
            return []
        owners = {event.owner for event in fresh if event.owner is not None}
        hooks = self._store.webhooks.concerned(owners, {event.job_id for event in fresh if event.job_id is not None})
        people = {owner: self._acting(owner) for owner in {hook.owner for hook in hooks}}
        waiting = self._store.deliveries.waiting([hook.id for hook in hooks])
        jobs.want(event.job_id for event in fresh if any(hook.asks_for_job for hook in hooks))
        made = []
        for event in fresh:
            for hook in hooks:
                owner = people[hook.owner]
                if owner is None or not _may_be_told(owner, hook, event):
                    continue
                if hook.wants(event, jobs.get(event) if hook.asks_for_job else None):
                    waiting[hook.id] = waiting.get(hook.id, 0) + 1
                    made.append(self._message(hook, event, now, full=waiting[hook.id] > self._webhooks.max_waiting))
        return made

    def _message(self, hook: Webhook, event: Event, now: float, *, full: bool) -> Delivery:
        return Delivery(
            # The same however often this is done, so that an event is one message to a webhook at most.
            id=f"msg_{event.seq}_{hook.id.removeprefix('whk_')}",
            webhook_id=hook.id,
            type=event.type,
            body=message_body(event.type, event.at, event_to_wire(event)),
            seq=event.seq,
            job_id=event.job_id,
            created_at=now,
            due_at=now,
            give_up_at=now + self._webhooks.retry_for_s,
            state=DeliveryState.DEAD if full else DeliveryState.WAITING,
            error="too many messages waited already" if full else None,
            ended_at=now if full else None,
        )

    def _mails(self, events: Iterable[Event], jobs: _Jobs) -> list[Mail]:
        if self._mail is None:
            return []
        now = self._clock()
        asked = frozenset[JobState]().union(*NOTICES.values())
        telling = [
            (event, state)
            for event in events
            if event.at > now - self._mail.retry_for_s and (state := entered(event)) in asked
        ]
        jobs.want(event.job_id for event, _ in telling)
        mails = []
        for event, state in telling:
            job = jobs.get(event)
            if job is None or event.owner is None or state is None:
                continue
            if any(
                notice.channel == "email" and state in NOTICES.get(notice.event, ())
                for notice in job.spec.notifications
            ):
                mails.append(
                    Mail(seq=event.seq, job_id=job.id, owner=event.owner, status=state, created_at=now, due_at=now)
                )
        return mails


def _may_be_told(owner: Principal, hook: Webhook, event: Event) -> bool:
    """Whether the owner of a webhook may see an event now, and whether it is of those that the webhook is about."""
    whose = event.owner or ""
    in_scope = hook.job_id is not None or hook.everybody or whose == owner.name
    return in_scope and allows(owner, Verb.READ, whose) and allows(owner, Verb.WEBHOOKS, owner.name)


class _Jobs:
    """The jobs that events are about, read together and once."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._found: dict[int, Job] = {}

    def want(self, ids: Iterable[int | None]) -> None:
        missing = {id_ for id_ in ids if id_ is not None} - self._found.keys()
        self._found.update((job.id, job) for job in self._store.jobs.get_listed(missing))

    def get(self, event: Event) -> Job | None:
        return self._found.get(event.job_id or 0)
