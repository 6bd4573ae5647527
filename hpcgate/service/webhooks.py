"""Webhooks, as their owners manage them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from ulid import ULID

from hpcgate.config import WebhooksTable
from hpcgate.errors import Conflict, FieldError, Forbidden, InvalidSpec, NotSupported, nearest
from hpcgate.model.codec import time_to_wire
from hpcgate.model.principal import Principal
from hpcgate.model.query import MAX_LIMIT, Page
from hpcgate.model.webhook import EVENT_TYPES, PING, Delivery, DeliveryState, PushFigures, Webhook
from hpcgate.service.access import OTHERS, Verb, allows, require, require_on_job, require_oneself
from hpcgate.service.addresses import AddressRules, url_error
from hpcgate.service.trail import about
from hpcgate.service.webhook_keys import new_keys, rotated
from hpcgate.store.webhooks import no_such_webhook

if TYPE_CHECKING:
    from hpcgate.store.database import Store

_MAX_LABELS: Final = 20
_MAX_NOTE_CHARS: Final = 512
#: What an owner may change.
_CHANGEABLE: Final = ("url", "description", "events", "states", "sites", "labels", "everybody", "enabled")


class WebhookService:
    """Manages webhooks.

    Args:
        store: where they are.
        sites: names of all sites.
        table: the ``[webhooks]`` table.
        clock: epoch seconds.
    """

    def __init__(
        self, store: Store, sites: Collection[str], table: WebhooksTable, clock: Callable[[], float] = time.time
    ) -> None:
        self._store = store
        self._sites = sites
        self._table = table
        self._rules = AddressRules.of(table.allowed_networks)
        self._clock = clock

    def url_error(self, url: str) -> str | None:
        """Why a URL cannot be one of a webhook, as the end of a sentence."""
        if not self._table.enabled:
            return "cannot be honoured: this gateway calls no webhooks"
        return url_error(url, self._rules, allow_http=self._table.allow_http)

    # --- webhooks

    def add(self, principal: Principal, *, url: str, job: int | None = None, **fields: Any) -> tuple[Webhook, str]:
        """Makes a webhook, which is told of all that happens from now on.

        Args:
            principal: its owner.
            url: where messages go.
            job: of this job alone.
            fields: ``description events states sites labels everybody enabled``.

        Returns:
            The webhook, and the key that its messages are signed with, which is shown this once.

        Raises:
            NotSupported: this gateway has no webhooks.
            Forbidden: the principal may have none, or may not see what it asks for.
            NotFound: there is no such job, or the principal may not see it.
            InvalidSpec: a field is wrong.
            Conflict: it has as many as it may have.
        """
        self._require_on()
        require(principal, Verb.WEBHOOKS)
        require_oneself(principal, "webhooks")
        if job is not None:
            require_on_job(principal, Verb.READ, job, self._store.jobs.get(job).owner)
        hook = Webhook(
            id=f"whk_{ULID()}", owner=principal.name, url=url, created_at=self._clock(), job_id=job, **fields
        )
        self._check(principal, hook)
        keys = new_keys()
        with self._store.transaction():
            if self._store.webhooks.count(principal.name) >= self._table.max_per_user:
                raise Conflict(f"{principal.name!r} has {self._table.max_per_user} webhooks; remove one first")
            hook = replace(hook, after=self._store.events.last())
            self._store.webhooks.add(hook, keys)
        about("webhook", hook.id)
        return hook, keys["current"]

    def owned(self, principal: Principal, user: str | None = None) -> list[Webhook]:
        """The webhooks of a user; one's own when not given, those of all with ``"*"``.

        Raises:
            Forbidden: they are another's.
        """
        require(principal, Verb.WEBHOOKS)
        owner = principal.name if user is None else user
        if not allows(principal, Verb.WEBHOOKS, owner):
            raise Forbidden(f"{principal.name!r} may not {Verb.WEBHOOKS} of others")
        return self._store.webhooks.owned(None if owner == "*" else owner)

    def get(self, principal: Principal, id: str) -> Webhook:  # noqa: A002
        """A webhook.

        Raises:
            NotFound: there is none, or it is another's.
        """
        about("webhook", id)
        require(principal, Verb.WEBHOOKS)
        hook = self._store.webhooks.get(id)
        if not allows(principal, Verb.WEBHOOKS, hook.owner):
            raise no_such_webhook(id)
        return hook

    def update(self, principal: Principal, id: str, **changes: Any) -> Webhook:  # noqa: A002
        """Changes a webhook; what already waits goes to its new URL.

        Raises:
            NotFound: there is none, or it is another's.
            InvalidSpec: a field is wrong.
        """
        assert changes.keys() <= set(_CHANGEABLE), changes
        require_oneself(principal, "webhooks")
        with self._store.transaction():
            old = self.get(principal, id)
            hook = replace(old, **changes)
            if hook.enabled and not old.enabled:
                # What happened while it was off is not told later.
                hook = replace(hook, disabled_reason=None, after=self._store.events.last())
            self._check(principal, hook)
            self._store.webhooks.update(hook)
        return hook

    def remove(self, principal: Principal, id: str) -> None:  # noqa: A002
        """Removes a webhook with all that still waits for it.

        Raises:
            NotFound: there is none, or it is another's.
        """
        self._store.webhooks.remove(self.get(principal, id).id)

    def _check(self, principal: Principal, hook: Webhook) -> None:
        errors = [FieldError("url", wrong)] if (wrong := self.url_error(hook.url)) is not None else []
        for name, given, known in (("events", hook.events, EVENT_TYPES), ("sites", hook.sites, sorted(self._sites))):
            for word in given:
                if word not in known:
                    errors.append(FieldError(name, f"{word[:64]!r} is unknown{nearest(word, known)}"))
        if len(hook.labels) > _MAX_LABELS:
            errors.append(FieldError("labels", f"are {len(hook.labels)}; at most {_MAX_LABELS} are allowed"))
        if hook.description is not None and len(hook.description) > _MAX_NOTE_CHARS:
            errors.append(FieldError("description", f"is longer than {_MAX_NOTE_CHARS} characters"))
        if hook.everybody and hook.owner == principal.name and not principal.has(*OTHERS[Verb.READ]):
            raise Forbidden(f"{principal.name!r} sees its own jobs only, so its webhooks are told of these only")
        if errors:
            raise InvalidSpec(errors)

    def _require_on(self) -> None:
        if not self._table.enabled:
            raise NotSupported("this gateway has no webhooks: [webhooks] enabled = false")

    # --- keys

    def rotate(self, principal: Principal, id: str) -> str:  # noqa: A002
        """Gives a webhook a new key; for a day messages are signed with the one before as well.

        Returns:
            The key, which is shown this once.

        Raises:
            NotFound: there is no such webhook, or it is another's.
            Forbidden: only its owner gets to know its key.
        """
        require_oneself(principal, "webhooks")
        hook = self.get(principal, id)
        if hook.owner != principal.name:
            raise Forbidden(f"only {hook.owner!r} may have the key of webhook {hook.id}")
        with self._store.transaction():
            keys = rotated(self._store.webhooks.keys(hook.id), self._clock())
            self._store.webhooks.set_keys(hook.id, keys)
        return keys["current"]

    def rotate_callbacks(self, principal: Principal) -> str:
        """Gives the callbacks of one's jobs a key, or a new one; the one before is good for another day.

        Returns:
            The key, which is shown this once.
        """
        self._require_on()
        require(principal, Verb.WEBHOOKS)
        require_oneself(principal, "webhooks")
        with self._store.transaction():
            keys = rotated(self._store.webhooks.callback_keys(principal.name), self._clock())
            self._store.webhooks.set_callback_keys(principal.name, keys)
        return keys["current"]

    def unsign_callbacks(self, principal: Principal) -> None:
        """Callbacks of one's jobs are no longer signed."""
        require(principal, Verb.WEBHOOKS)
        require_oneself(principal, "webhooks")
        self._store.webhooks.set_callback_keys(principal.name, {})

    # --- messages

    def ping(self, principal: Principal, id: str) -> Delivery:  # noqa: A002
        """Has a test message sent; it is tried as any other.

        Raises:
            NotFound: there is no such webhook, or it is another's.
            Conflict: it is switched off, or too much waits for it already.
        """
        self._require_on()
        hook = self.get(principal, id)
        self._require_ready(hook)
        now = self._clock()
        message = Delivery(
            id=f"msg_{ULID()}",
            webhook_id=hook.id,
            type=PING,
            body=message_body(PING, now, {"webhook": hook.id}),
            created_at=now,
            due_at=now,
            give_up_at=now + self._table.retry_for_s,
        )
        return self._store.deliveries.add([message])[0]

    def _require_ready(self, hook: Webhook) -> None:
        if not hook.enabled:
            raise Conflict(f"webhook {hook.id} is switched off; enable it first")
        if self._store.deliveries.waiting([hook.id]).get(hook.id, 0) >= self._table.max_waiting:
            raise Conflict(f"{self._table.max_waiting} messages wait for webhook {hook.id} already")

    def deliveries(
        self,
        principal: Principal,
        id: str,  # noqa: A002
        *,
        state: DeliveryState | None,
        cursor: str | None,
        limit: int,
    ) -> Page[Delivery]:
        """What was sent to a webhook, or is to be, newest first.

        Raises:
            NotFound: there is no such webhook, or it is another's.
            InvalidSpec: the cursor is none of ours.
        """
        assert 1 <= limit <= MAX_LIMIT, limit
        hook = self.get(principal, id)
        if cursor is not None and not (cursor.isascii() and cursor.isdigit() and len(cursor) < 19):
            raise InvalidSpec.of("cursor", "is none that this server gave out")
        below = None if cursor is None else int(cursor)
        found = self._store.deliveries.page(hook.id, state=state, below=below, limit=limit + 1)
        more = len(found) > limit
        return Page(tuple(found[:limit]), str(found[limit - 1].number) if more else None)

    def redeliver(self, principal: Principal, id: str, delivery: str) -> Delivery:  # noqa: A002
        """Sends a message once more, under the id that it had.

        Raises:
            NotFound: there is no such webhook or message, or it is another's.
            Conflict: it waits anyway, or the webhook is switched off.
        """
        hook = self.get(principal, id)
        self._store.deliveries.get(hook.id, delivery)
        self._require_ready(hook)
        if not self._revive(hook, delivery):
            raise Conflict(f"delivery {delivery} waits to be sent already")
        return self._store.deliveries.get(hook.id, delivery)

    def redeliver_dead(self, principal: Principal, id: str) -> int:  # noqa: A002
        """Sends all dead letters of a webhook once more, under the ids that they had; how many.

        Raises:
            NotFound: there is no such webhook, or it is another's.
            Conflict: the webhook is switched off.
        """
        hook = self.get(principal, id)
        self._require_ready(hook)
        return self._revive(hook, None)

    def figures(self) -> PushFigures:
        """How it stands with all messages, mail among them, for metrics."""
        store = self._store
        return PushFigures(
            behind=max(0, store.events.last() - store.deliveries.position()),
            dead_letters=store.deliveries.dead_letters(),
            channels={"webhook": store.deliveries.figures(), "mail": store.mail.figures()},
        )

    def _revive(self, hook: Webhook, delivery: str | None) -> int:
        now = self._clock()
        return self._store.deliveries.revive(hook.id, delivery, now=now, give_up_at=now + self._table.retry_for_s)


def message_body(type_: str, at: float, data: Mapping[str, Any]) -> str:
    """A message as it is sent: what is signed are these very characters."""
    return json.dumps({"type": type_, "timestamp": time_to_wire(at), "data": data}, separators=(",", ":"))
