"""Webhooks and their keys."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from hpcgate.errors import NotFound
from hpcgate.model.state import JobState
from hpcgate.model.webhook import Webhook
from hpcgate.store import rows
from hpcgate.store.cipher import Cipher, seal, unseal
from hpcgate.store.session import Session, chunks, placeholders
from hpcgate.store.tables import CallbackKeyRow, WebhookRow

_KEYS = "keys of webhooks"
_COLUMNS = tuple(name for name in rows.columns(WebhookRow) if name != "secrets")
_SELECT = f"SELECT {', '.join(_COLUMNS)} FROM webhook"  # noqa: S608
_UPDATE = f"UPDATE webhook SET {', '.join(f'{name} = ?' for name in _COLUMNS[1:])} WHERE id = ?"  # noqa: S608


class WebhookStore:
    """Where events are told to."""

    def __init__(self, session: Session, cipher: Cipher | None) -> None:
        self._session = session
        self._cipher = cipher

    def add(self, webhook: Webhook, keys: Mapping[str, str]) -> None:
        """Stores a webhook with its keys, which are encrypted."""
        with self._session.transaction():
            sealed = seal(self._cipher, keys, _KEYS)
            self._session.execute_many(rows.insert(WebhookRow), [webhook_row(webhook, sealed)])

    def get(self, id: str) -> Webhook:  # noqa: A002
        """A webhook.

        Raises:
            NotFound: there is none with this id.
        """
        row = self._session.one(f"{_SELECT} WHERE id = ?", (id,))
        if row is None:
            raise no_such_webhook(id)
        return _webhook(row)

    def get_many(self, ids: Sequence[str]) -> dict[str, Webhook]:
        """Those of the webhooks that are there."""
        found: dict[str, Webhook] = {}
        for part in chunks(ids):
            rows_ = self._session.rows(f"{_SELECT} WHERE id IN ({placeholders(part)})", part)
            found.update((row[0], _webhook(row)) for row in rows_)
        return found

    def owned(self, owner: str | None) -> list[Webhook]:
        """The webhooks of an owner, or of all, oldest first."""
        where, params = ("", ()) if owner is None else (" WHERE owner = ?", (owner,))
        return [_webhook(row) for row in self._session.rows(f"{_SELECT}{where} ORDER BY id", params)]

    def count(self, owner: str) -> int:
        """How many webhooks an owner has, callbacks of jobs not counted."""
        sql = "SELECT count(*) FROM webhook WHERE owner = ? AND NOT callback"
        return int(self._session.rows(sql, (owner,))[0][0])

    def concerned(self, owners: Collection[str], job_ids: Collection[int]) -> list[Webhook]:
        """The webhooks that events of these owners and jobs may be for."""
        some, jobs = list(owners) or [""], list(job_ids) or [0]
        sql = f"{_SELECT} WHERE enabled AND ((job_id IS NULL AND (everybody OR owner IN ({placeholders(some)})))"
        found = self._session.rows(f"{sql} OR job_id IN ({placeholders(jobs)}))", [*some, *jobs])
        return [_webhook(row) for row in found]

    def update(self, webhook: Webhook) -> None:
        """Stores a webhook as it is now.

        Raises:
            NotFound: it is gone.
        """
        row = webhook_row(webhook, None)[:-1]
        with self._session.transaction():
            if not self._session.execute(_UPDATE, (*row[1:], row[0])):
                raise no_such_webhook(webhook.id)

    def disable(self, id: str, reason: str) -> None:  # noqa: A002
        """Switches a webhook off; one that is gone stays so."""
        with self._session.transaction():
            found = self._session.one(f"{_SELECT} WHERE id = ?", (id,))
            if found is not None:
                self.update(replace(_webhook(found), enabled=False, disabled_reason=reason))

    def remove(self, id: str) -> None:  # noqa: A002
        """Removes a webhook with all that was, or is to be, sent to it.

        Raises:
            NotFound: there is none with this id.
        """
        with self._session.transaction():
            if not self._session.execute("DELETE FROM webhook WHERE id = ?", (id,)):
                raise no_such_webhook(id)
            self._session.execute("DELETE FROM delivery WHERE webhook_id = ?", (id,))

    def prune(self, ended_before: float) -> int:
        """Removes webhooks of jobs that are gone, or ended before a time (epoch seconds); how many.

        What still waits to be sent keeps its webhook.
        """
        sql = (
            "SELECT w.id FROM webhook w LEFT JOIN job j ON j.id = w.job_id WHERE w.job_id IS NOT NULL AND w.created_at "
            "< ? AND (j.id IS NULL OR j.ended_at < ?) AND NOT EXISTS "
            "(SELECT 1 FROM delivery d WHERE d.webhook_id = w.id AND d.state = 'WAITING') LIMIT 1000"
        )
        with self._session.transaction():
            found = [row[0] for row in self._session.rows(sql, (ended_before, ended_before))]
            for id_ in found:
                self.remove(id_)
        return len(found)

    # --- keys

    def keys(self, id: str) -> dict[str, str]:  # noqa: A002
        """The keys of a webhook; empty where it has none, or is gone."""
        row = self._session.one("SELECT secrets FROM webhook WHERE id = ?", (id,))
        return unseal(self._cipher, row[0], _KEYS) if row else {}

    def set_keys(self, id: str, keys: Mapping[str, str]) -> None:  # noqa: A002
        """Replaces the keys of a webhook."""
        with self._session.transaction():
            sealed = seal(self._cipher, keys, _KEYS)
            self._session.execute("UPDATE webhook SET secrets = ? WHERE id = ?", (sealed, id))

    def callback_keys(self, owner: str) -> dict[str, str]:
        """What the callbacks of an owner's jobs are signed with; empty where nothing is set."""
        row = self._session.one("SELECT secrets FROM callback_key WHERE owner = ?", (owner,))
        return unseal(self._cipher, row[0], _KEYS) if row else {}

    def set_callback_keys(self, owner: str, keys: Mapping[str, str]) -> None:
        """Replaces what the callbacks of an owner's jobs are signed with; without keys they are not."""
        with self._session.transaction():
            self._session.execute("DELETE FROM callback_key WHERE owner = ?", (owner,))
            if keys:
                sealed = seal(self._cipher, keys, _KEYS)
                self._session.execute_many(rows.insert(CallbackKeyRow), [(owner, sealed)])


def no_such_webhook(id: str) -> NotFound:  # noqa: A002
    """The one answer for a webhook that is not there and for one that the principal may not see."""
    return NotFound(f"there is no webhook {id[:64]!r}")


def webhook_row(webhook: Webhook, sealed: bytes | None) -> Sequence[Any]:
    """A webhook as it is stored."""
    return (
        webhook.id,
        webhook.owner,
        webhook.url,
        webhook.created_at,
        webhook.after,
        webhook.description,
        rows.dump_list(webhook.events),
        rows.dump_list(state.value for state in webhook.states),
        rows.dump_list(webhook.sites),
        rows.dump_map(webhook.labels),
        webhook.job_id,
        webhook.everybody,
        webhook.callback,
        webhook.enabled,
        webhook.disabled_reason,
        sealed,
    )


def _webhook(row: Sequence[Any]) -> Webhook:
    found = dict(zip(_COLUMNS, row, strict=True))
    return Webhook(
        **{name: found[name] for name in ("id", "owner", "url", "created_at", "description", "job_id")},
        after=found["after_seq"],
        events=rows.load_list(found["events"]),
        states=tuple(map(JobState, rows.load_list(found["states"]))),
        sites=rows.load_list(found["sites"]),
        labels=rows.load_map(found["labels"]),
        everybody=bool(found["everybody"]),
        callback=bool(found["callback"]),
        enabled=bool(found["enabled"]),
        disabled_reason=found["disabled_reason"],
    )
