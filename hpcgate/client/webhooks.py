"""Calls about webhooks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hpcgate.client.http import Http

Wire = dict[str, Any]


class WebhookCalls:
    """The routes of webhooks."""

    http: Http

    def webhooks(self, user: str | None = None) -> list[Wire]:
        """One's own webhooks, or those of a user, or all with ``"*"`` (for admins)."""
        items: list[Wire] = self.http.json("GET", "/webhooks", params={"user": user})["items"]
        return items

    def webhook(self, webhook_id: str) -> Wire:
        """One webhook."""
        found: Wire = self.http.json("GET", f"/webhooks/{webhook_id}")
        return found

    def add_webhook(self, url: str, **fields: Any) -> Wire:
        """Makes a webhook. Its key stands under ``secret``, and nowhere ever after.

        Args:
            url: where messages are sent.
            fields: ``description events states sites labels job everybody enabled``.
        """
        made: Wire = self.http.json("POST", "/webhooks", body={"url": url, **fields})
        return made

    def update_webhook(self, webhook_id: str, **changes: Any) -> Wire:
        """Changes a webhook; what is not given stays.

        Args:
            webhook_id: the webhook.
            changes: ``url description events states sites labels everybody enabled``.
        """
        changed: Wire = self.http.json("PATCH", f"/webhooks/{webhook_id}", body=changes)
        return changed

    def remove_webhook(self, webhook_id: str) -> None:
        """Removes a webhook with all that still waits for it."""
        self.http.send("DELETE", f"/webhooks/{webhook_id}")

    def rotate_webhook_secret(self, webhook_id: str) -> str:
        """A new key for a webhook; for a day messages are signed with the one before as well."""
        return str(self.http.json("POST", f"/webhooks/{webhook_id}/secret")["secret"])

    def rotate_callback_secret(self) -> str:
        """A key, or a new one, for the callbacks of one's jobs."""
        return str(self.http.json("POST", "/webhooks/callbacks/secret")["secret"])

    def remove_callback_secret(self) -> None:
        """Callbacks of one's jobs are no longer signed."""
        self.http.send("DELETE", "/webhooks/callbacks/secret")

    def ping_webhook(self, webhook_id: str) -> Wire:
        """Has a test message sent."""
        sent: Wire = self.http.json("POST", f"/webhooks/{webhook_id}/ping")
        return sent

    def deliveries(
        self, webhook_id: str, *, state: str | None = None, cursor: str | None = None, limit: int | None = None
    ) -> Wire:
        """A page of what was sent to a webhook, or is to be, newest first.

        Args:
            webhook_id: the webhook.
            state: ``WAITING``, ``DELIVERED`` or ``DEAD``.
            cursor: ``next_cursor`` of the page before.
            limit: most items in the page.
        """
        params = {"state": state, "cursor": cursor, "limit": limit}
        page: Wire = self.http.json("GET", f"/webhooks/{webhook_id}/deliveries", params=params)
        return page

    def redeliver(self, webhook_id: str, delivery_id: str | None = None) -> Wire:
        """Sends one message once more, or all dead letters of the webhook."""
        path = f"/webhooks/{webhook_id}/redeliver"
        if delivery_id is not None:
            path = f"/webhooks/{webhook_id}/deliveries/{delivery_id}/redeliver"
        sent: Wire = self.http.json("POST", path)
        return sent
