"""Prometheus metrics: what this process did, and what the gateway's database says at the time of the scrape.

Counters are per process; figures of the domain come from the database and are the same in every process.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import Metric

from hpcgate.errors import HpcgateError
from hpcgate.model.principal import Principal, Role

if TYPE_CHECKING:
    from hpcgate.gateway import Gateway
    from hpcgate.model.webhook import PushFigures

_log = logging.getLogger(__name__)

_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
#: The scrape reads as the gateway itself, for which no token exists.
_SELF: Final = Principal(name="hpcgate", roles=frozenset({Role.ADMIN}))
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Metrics:
    """The metrics of one server, in a registry of their own.

    Args:
        gateway: asked for the figures of the domain.
    """

    def __init__(self, gateway: Gateway) -> None:
        self._registry = CollectorRegistry()
        labels = ("app", "method", "route", "status")
        self._requests = Counter("hpcgate_http_requests", "Requests answered.", labels, registry=self._registry)
        self._seconds = Histogram(
            "hpcgate_http_request_seconds",
            "Time until an answer was complete.",
            ("app", "method", "route"),
            buckets=_BUCKETS,
            registry=self._registry,
        )
        self.streams = Gauge("hpcgate_open_streams", "Open event and log streams.", registry=self._registry)
        self.cut = Counter("hpcgate_cut_streams", "Streams cut because they were too slow.", registry=self._registry)
        self._registry.register(_Domain(gateway))

    def observe(self, app: str, method: str, route: str, status: int, seconds: float) -> None:
        """Counts one answered request."""
        method = method if method in _METHODS else "other"
        self._requests.labels(app, method, route, str(status)).inc()
        self._seconds.labels(app, method, route).observe(seconds)

    def text(self) -> bytes:
        """Everything in the text format of Prometheus."""
        return generate_latest(self._registry)


class _Domain:
    """Jobs, sites and events, read when they are asked for."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def describe(self) -> Iterable[Metric]:
        """Nothing, so that registering does not read."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """Called by each scrape."""
        yield CounterMetricFamily("hpcgate_events", "Events so far.", value=self._gateway.events.last())
        try:
            sites = self._gateway.site_service.list(_SELF)
        except HpcgateError:
            _log.exception("the sites cannot be read for the metrics")
            return
        jobs = GaugeMetricFamily(
            "hpcgate_jobs", "Jobs that have not ended, by site and state.", labels=("site", "state")
        )
        stale = GaugeMetricFamily("hpcgate_site_stale", "1 = the site has not answered for too long.", labels=("site",))
        polled = GaugeMetricFamily(
            "hpcgate_site_polled_timestamp_seconds", "When the site last answered a poll.", labels=("site",)
        )
        commands = CounterMetricFamily(
            "hpcgate_site_poll_commands", "Scheduler commands run for polls.", labels=("site",)
        )
        for status in sites:
            name = status.site.name
            for state, count in status.counts.items():
                jobs.add_metric((name, state.value), count)
            stale.add_metric((name,), float(status.stale))
            commands.add_metric((name,), status.health.commands)
            if status.health.polled_at is not None:
                polled.add_metric((name,), status.health.polled_at)
        yield from (jobs, stale, polled, commands)
        yield from _push(self._gateway.webhooks.figures())
        yield from _outbox(self._gateway.status())


def _push(figures: PushFigures) -> Iterable[Metric]:
    """Webhooks and mail: what was done, what waits and for how long."""
    yield GaugeMetricFamily("hpcgate_push_events_behind", "Events not looked at yet.", value=figures.behind)
    waiting = GaugeMetricFamily("hpcgate_push_waiting", "Messages that wait.", labels=("channel",))
    lag = GaugeMetricFamily("hpcgate_push_lag_seconds", "Age of the oldest message that waits.", labels=("channel",))
    ends = CounterMetricFamily("hpcgate_push_messages", "Messages by how they ended.", labels=("channel", "outcome"))
    failed = CounterMetricFamily("hpcgate_push_failed_tries", "Tries that failed.", labels=("channel",))
    now = time.time()
    for channel, each in figures.channels.items():
        waiting.add_metric((channel,), each.waiting)
        lag.add_metric((channel,), each.lag_s(now))
        ends.add_metric((channel, "delivered"), each.delivered)
        ends.add_metric((channel, "dead"), each.dead)
        failed.add_metric((channel,), each.failed)
    yield from (waiting, lag, ends, failed)
    kept = "Messages to webhooks that were given up and are kept."
    yield GaugeMetricFamily("hpcgate_push_dead_letters", kept, value=figures.dead_letters)


def _outbox(status: dict[str, Any]) -> Iterable[Metric]:
    depth = status.get("outbox")
    if isinstance(depth, int):
        yield GaugeMetricFamily("hpcgate_outbox_depth", "Notices that have not been handed on yet.", value=depth)
