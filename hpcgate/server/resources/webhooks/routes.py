"""Routes of webhooks."""

from __future__ import annotations

from typing import Any

from flask import Response, url_for

from hpcgate.errors import InvalidSpec
from hpcgate.model.principal import Principal
from hpcgate.model.state import JobState
from hpcgate.model.webhook import DeliveryState
from hpcgate.server.context import gateway
from hpcgate.server.paging import list_to_wire, page_to_wire
from hpcgate.server.resources.webhooks.schemas import (
    DeliveryArgsSchema,
    DeliveryPageSchema,
    DeliverySchema,
    NewWebhookSchema,
    RedeliveredSchema,
    SigningKeySchema,
    WebhookCreateSchema,
    WebhookListArgsSchema,
    WebhookPageSchema,
    WebhookSchema,
    WebhookUpdateSchema,
)
from hpcgate.server.smorest import Blueprint, empty, reply
from hpcgate.service.wire import delivery_to_wire, webhook_to_wire

blp = Blueprint("webhooks", __name__, description="URLs that are told what happens, by signed messages.")


@blp.route("/webhooks")
@blp.login
@blp.arguments(WebhookListArgsSchema, location="query")
@blp.response(200, WebhookPageSchema)
def list_webhooks(principal: Principal, args: dict[str, Any]) -> Response:
    """List webhooks, the callbacks of jobs among them."""
    return reply(list_to_wire(map(webhook_to_wire, gateway().webhooks.owned(principal, args["user"]))))


@blp.route("/webhooks", methods=["POST"])
@blp.login
@blp.arguments(WebhookCreateSchema)
@blp.response(201, NewWebhookSchema)
@blp.problems(404, 409, 501)
def create(principal: Principal, wanted: dict[str, Any]) -> Response:
    """Make a webhook, which is told of all that happens from now on.

    The answer is the only one that ever shows its key.
    """
    hook, key = gateway().webhooks.add(principal, **_fields(wanted))
    return reply({"secret": key, **webhook_to_wire(hook)}, 201, {"Location": url_for("webhooks.get", hook=hook.id)})


@blp.route("/webhooks/<hook>")
@blp.login
@blp.response(200, WebhookSchema)
@blp.problems(404)
def get(principal: Principal, hook: str) -> Response:
    """Show a webhook."""
    return reply(webhook_to_wire(gateway().webhooks.get(principal, hook)))


@blp.route("/webhooks/<hook>", methods=["PATCH"])
@blp.login
@blp.arguments(WebhookUpdateSchema)
@blp.response(200, WebhookSchema)
@blp.problems(404)
def update(principal: Principal, wanted: dict[str, Any], hook: str) -> Response:
    """Change a webhook. What waits already goes to its new URL."""
    if not wanted:
        raise InvalidSpec.of("body", "changes nothing; give url, filters, description or enabled")
    return reply(webhook_to_wire(gateway().webhooks.update(principal, hook, **_fields(wanted))))


@blp.route("/webhooks/<hook>", methods=["DELETE"])
@blp.login
@blp.response(204)
@blp.problems(404)
def remove(principal: Principal, hook: str) -> Response:
    """Remove a webhook with all that still waits for it."""
    gateway().webhooks.remove(principal, hook)
    return empty()


@blp.route("/webhooks/<hook>/secret", methods=["POST"])
@blp.login
@blp.response(200, SigningKeySchema)
@blp.problems(404)
def rotate(principal: Principal, hook: str) -> Response:
    """Give a webhook a new key; for a day messages carry a signature by the one before as well."""
    return reply({"secret": gateway().webhooks.rotate(principal, hook)})


@blp.route("/webhooks/callbacks/secret", methods=["POST"])
@blp.login
@blp.response(200, SigningKeySchema)
@blp.problems(501)
def rotate_callbacks(principal: Principal) -> Response:
    """Have the callbacks of one's jobs signed, or give them a new key; the one before is good for another day."""
    return reply({"secret": gateway().webhooks.rotate_callbacks(principal)})


@blp.route("/webhooks/callbacks/secret", methods=["DELETE"])
@blp.login
@blp.response(204)
def unsign_callbacks(principal: Principal) -> Response:
    """Have the callbacks of one's jobs no longer signed."""
    gateway().webhooks.unsign_callbacks(principal)
    return empty()


@blp.route("/webhooks/<hook>/ping", methods=["POST"])
@blp.login
@blp.response(202, DeliverySchema)
@blp.problems(404, 409, 501)
def ping(principal: Principal, hook: str) -> Response:
    """Send a test message. What becomes of it stands among the deliveries."""
    return reply(delivery_to_wire(gateway().webhooks.ping(principal, hook)), 202)


@blp.route("/webhooks/<hook>/deliveries")
@blp.login
@blp.arguments(DeliveryArgsSchema, location="query")
@blp.response(200, DeliveryPageSchema)
@blp.problems(404)
def deliveries(principal: Principal, args: dict[str, Any], hook: str) -> Response:
    """List what was sent, or is to be, newest first; `state=DEAD` has the dead letters."""
    state = None if args["state"] is None else DeliveryState(args["state"])
    found = gateway().webhooks.deliveries(principal, hook, state=state, cursor=args["cursor"], limit=args["limit"])
    return reply(page_to_wire(found, delivery_to_wire))


@blp.route("/webhooks/<hook>/deliveries/<delivery>/redeliver", methods=["POST"])
@blp.login
@blp.response(202, DeliverySchema)
@blp.problems(404, 409)
def redeliver(principal: Principal, hook: str, delivery: str) -> Response:
    """Send a message once more, under the id that it had."""
    return reply(delivery_to_wire(gateway().webhooks.redeliver(principal, hook, delivery)), 202)


@blp.route("/webhooks/<hook>/redeliver", methods=["POST"])
@blp.login
@blp.response(202, RedeliveredSchema)
@blp.problems(404, 409)
def redeliver_dead(principal: Principal, hook: str) -> Response:
    """Send all dead letters once more, under the ids that they had."""
    return reply({"count": gateway().webhooks.redeliver_dead(principal, hook)}, 202)


def _fields(wanted: dict[str, Any]) -> dict[str, Any]:
    """What was given, as the service takes it."""
    fields = {name: tuple(value) if isinstance(value, list) else value for name, value in wanted.items()}
    if "states" in fields:
        fields["states"] = tuple(map(JobState, fields["states"]))
    return fields
