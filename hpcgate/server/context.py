"""What every route needs, and how it gets at it: it hangs on the Flask application, never on a module."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from flask import Flask, current_app

if TYPE_CHECKING:
    from hpcgate.gateway import Gateway
    from hpcgate.server.metrics import Metrics
    from hpcgate.server.rates import RateLimits
    from hpcgate.server.streams import EventHub

_EXTENSION: Final = "hpcgate"


@dataclass(frozen=True, slots=True)
class Serving:
    """The parts that the applications of one server share.

    Args:
        gateway: the services.
        hub: feeds all streams.
        metrics: of this process.
        rates: how many requests who has sent.
    """

    gateway: Gateway
    hub: EventHub
    metrics: Metrics
    rates: RateLimits


def attach(app: Flask, serving: Serving) -> None:
    """Makes the shared parts known to an application."""
    app.extensions[_EXTENSION] = serving


def serving() -> Serving:
    """The shared parts of the application that handles this request."""
    found = current_app.extensions[_EXTENSION]
    assert isinstance(found, Serving)
    return found


def gateway() -> Gateway:
    """The gateway of the application that handles this request."""
    return serving().gateway
