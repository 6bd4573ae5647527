"""Prometheus metrics: what this process did, and what the gateway's database says at the time of the scrape.

Of requests each process counts its own. Figures of jobs and sites come from the database and are those of the whole
gateway; its counters begin at 0 in each process, so that over several ``serve`` the largest rate counts, not the sum.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import Metric

from hpcgate.errors import HpcgateError
from hpcgate.service.audit import AuditLog
from hpcgate.service.figures import Figures, SiteFigures

if TYPE_CHECKING:
    from hpcgate.gateway import Gateway
    from hpcgate.model.webhook import PushFigures
    from hpcgate.service.webhooks import WebhookService

_log = logging.getLogger(__name__)

_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
#: From a moment to a week, seconds.
_QUEUE_BUCKETS: Final = (1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0, 43_200.0, 86_400.0, 259_200.0, 604_800.0)
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
        self._registry.register(_Audit(gateway.audit))
        self._registry.register(_Domain(gateway.figures(), gateway.webhooks))
        ProcessCollector(registry=self._registry)

    def observe(self, app: str, method: str, route: str, status: int, seconds: float) -> None:
        """Counts one answered request."""
        method = method if method in _METHODS else "other"
        self._requests.labels(app, method, route, str(status)).inc()
        self._seconds.labels(app, method, route).observe(seconds)

    def text(self) -> bytes:
        """Everything in the text format of Prometheus."""
        return generate_latest(self._registry)


class _Audit:
    """How the audit log fares."""

    def __init__(self, audit: AuditLog) -> None:
        self._audit = audit

    def collect(self) -> Iterable[Metric]:
        """Called by each scrape."""
        said = "Records of the audit log that could not be written."
        yield CounterMetricFamily("hpcgate_audit_failures", said, value=self._audit.failures)


class _Domain:
    """Jobs, sites and events, read when they are asked for."""

    def __init__(self, figures: Figures, webhooks: WebhookService) -> None:
        self._figures = figures
        self._webhooks = webhooks
        # Not in the registry: they are counted here, at the scrape, and told with the rest.
        self._submits = Counter("hpcgate_submits", "Jobs that came in.", ("site",), registry=None)
        self._states = Counter(
            "hpcgate_job_states", "Jobs that came into a state.", ("site", "state", "reason"), registry=None
        )
        self._waited = Histogram(
            "hpcgate_queue_seconds",
            "How long jobs were in the queue before they began.",
            ("site",),
            buckets=_QUEUE_BUCKETS,
            registry=None,
        )

    def describe(self) -> Iterable[Metric]:
        """Nothing, so that registering does not read."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """Called by each scrape. Without its database the process still tells of itself."""
        up = GaugeMetricFamily("hpcgate_database_up", "1 = the database answers.", value=0)
        try:
            told = [*self._counted(), *self._sites(), *_push(self._webhooks.figures())]
        except HpcgateError as error:
            _log.error("the database cannot be read for the metrics: %s", error.message)
            yield up
            return
        up = GaugeMetricFamily("hpcgate_database_up", "1 = the database answers.", value=1)
        yield from (up, *told)

    def _counted(self) -> Iterable[Metric]:
        for each in self._figures.happened():
            if each.type == "created":
                self._submits.labels(each.site).inc()
            else:
                self._states.labels(each.site, each.state, each.reason).inc()
            if each.waited_s is not None:
                self._waited.labels(each.site).observe(each.waited_s)
        for family in (self._submits, self._states, self._waited):
            yield from family.collect()
        yield CounterMetricFamily("hpcgate_events", "Events so far.", value=self._figures.last_event())
        depth = self._figures.outbox_depth()
        yield GaugeMetricFamily("hpcgate_outbox_depth", "Notices that have not been handed on yet.", value=depth)
        text = "Records of jobs that have ended and are not in the archive."
        unarchived = GaugeMetricFamily("hpcgate_records_unarchived", text, labels=("why",))
        for why, count in self._figures.unarchived().items():
            unarchived.add_metric((why,), count)
        yield unarchived

    def _sites(self) -> Iterable[Metric]:
        jobs = GaugeMetricFamily(
            "hpcgate_jobs", "Jobs that have not ended, by site and state.", labels=("site", "state")
        )
        families = [(each, kind(name, said, labels=("site",))) for each, kind, name, said in _OF_SITES]
        for name, figures in self._figures.sites().items():
            for state, count in figures.jobs.items():
                jobs.add_metric((name, state.value), count)
            for value, family in families:
                if (number := value(figures)) is not None:
                    family.add_metric((name,), float(number))
        yield jobs
        yield from (family for _, family in families)


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


_OF_SITES: Final[Sequence[tuple[Callable[[SiteFigures], float | None], Any, str, str]]] = (
    (lambda site: site.polls, CounterMetricFamily, "hpcgate_site_polls", "Polls that a site answered."),
    (lambda site: site.failures, CounterMetricFamily, "hpcgate_site_poll_failures", "Polls that it did not answer."),
    (
        lambda site: site.commands,
        CounterMetricFamily,
        "hpcgate_site_poll_commands",
        "Scheduler commands run for polls.",
    ),
    (
        lambda site: site.polled_at,
        GaugeMetricFamily,
        "hpcgate_site_polled_timestamp_seconds",
        "When the site last answered a poll.",
    ),
    (
        lambda site: site.lag_s,
        GaugeMetricFamily,
        "hpcgate_reconcile_lag_seconds",
        "How old is what is known of its active jobs; 0 without any.",
    ),
    (
        lambda site: site.stale,
        GaugeMetricFamily,
        "hpcgate_site_stale",
        "1 = the site has not answered for too long.",
    ),
    (lambda site: site.down, GaugeMetricFamily, "hpcgate_site_down", "1 = it did not answer the last poll."),
)
