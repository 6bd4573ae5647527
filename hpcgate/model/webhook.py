"""Webhooks, what is sent to them, and mail: the gateway's own messages to people and programs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from hpcgate.model.job import Event, Job
from hpcgate.model.state import FINAL, JobState

#: The types of events that a webhook may ask for.
EVENT_TYPES: Final = (
    "job.created",
    "job.state",
    "job.requeued",
    "job.requested",
    "job.canceling",
    "job.corrected",
    "job.usage",
    "job.deleted",
)
#: The type of the message that a test sends; it is no event.
PING: Final = "webhook.ping"

#: What ``notifications`` of a job may name -> the states on whose arrival a mail is sent.
NOTICES: Final[Mapping[str, frozenset[JobState]]] = {
    "job.started": frozenset({JobState.RUNNING}),
    "job.finished": FINAL,
    "job.completed": frozenset({JobState.COMPLETED}),
    "job.failed": frozenset({JobState.FAILED}),
    "job.canceled": frozenset({JobState.CANCELED}),
}
CHANNELS: Final = ("email",)


class DeliveryState(StrEnum):
    """What became of a message."""

    WAITING = "WAITING"
    DELIVERED = "DELIVERED"
    DEAD = "DEAD"


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """A URL that is told of events.

    Args:
        id: unique name.
        owner: whose it is; it is told of what its owner may see now, and of nothing once the owner is locked or gone.
        url: where messages are sent.
        created_at: epoch seconds.
        after: number of the event behind which it begins.
        description: a note of its owner.
        events: types of events; empty = all.
        states: only events by which a job came into one of these; empty = all events.
        sites: names of sites; empty = all.
        labels: that a job must have, all of them.
        job_id: of this job alone.
        everybody: of all jobs that its owner may see, not only of the owner's own.
        callback: whether it comes from a job's ``callback``.
        enabled: whether it is told anything.
        disabled_reason: why the gateway has switched it off.
    """

    id: str
    owner: str
    url: str
    created_at: float
    after: int = 0
    description: str | None = None
    events: tuple[str, ...] = ()
    states: tuple[JobState, ...] = ()
    sites: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    job_id: int | None = None
    everybody: bool = False
    callback: bool = False
    enabled: bool = True
    disabled_reason: str | None = None

    @property
    def asks_for_job(self) -> bool:
        """Whether ``wants`` has to see the job."""
        return bool(self.labels or self.sites)

    def wants(self, event: Event, job: Job | None) -> bool:
        """Whether it asks for an event; whether its owner may see it is another question.

        Args:
            event: the event.
            job: its job as it is now; ``None`` = it is gone, or ``asks_for_job`` is false.
        """
        if event.seq <= self.after or self.job_id not in (None, event.job_id):
            return False
        if self.events and event.type not in self.events:
            return False
        if self.states and entered(event) not in self.states:
            return False
        if self.sites and (job.site if job else event.data.get("site")) not in self.sites:
            return False
        labels = job.spec.labels if job else {}
        return all(labels.get(key) == value for key, value in self.labels.items())


def entered(event: Event) -> JobState | None:
    """The state that a job came into by an event."""
    new = event.data.get("new")
    return JobState(new) if event.type in ("job.state", "job.corrected") and new in set(JobState) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """A message to a webhook.

    Args:
        id: the same at each try, so that a receiver knows what it has had.
        number: order among all deliveries.
        seq: number of the event; ``None`` for a ping.
        type: type of the event, or ``PING``.
        body: what is sent, as JSON.
        due_at: next try, epoch seconds.
        give_up_at: when it is no longer tried.
        tries: how often it was tried.
        status: HTTP status of the last answer.
        error: why the last try failed.
        ended_at: when it was delivered or given up.
    """

    id: str
    webhook_id: str
    type: str
    body: str
    created_at: float
    due_at: float
    give_up_at: float
    number: int = 0
    seq: int | None = None
    job_id: int | None = None
    state: DeliveryState = DeliveryState.WAITING
    tries: int = 0
    status: int | None = None
    error: str | None = None
    ended_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelFigures:
    """How it stands with webhooks, or with mail.

    Args:
        waiting: messages that wait.
        oldest_at: when the oldest of those was made, epoch seconds; ``None`` = none waits.
        delivered, dead: messages that ended so, so far.
        failed: tries that failed, so far.
    """

    waiting: int
    oldest_at: float | None
    delivered: int
    dead: int
    failed: int

    def lag_s(self, now: float) -> float:
        """How long the oldest message has waited, seconds."""
        return 0.0 if self.oldest_at is None else max(0.0, now - self.oldest_at)


@dataclass(frozen=True, slots=True, kw_only=True)
class PushFigures:
    """How it stands with all messages, for metrics.

    Args:
        behind: events that were not looked at yet.
        dead_letters: messages to webhooks that were given up and are still kept.
        channels: ``webhook`` and ``mail``.
    """

    behind: int
    dead_letters: int
    channels: Mapping[str, ChannelFigures]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mail:
    """A mail that a job's ``notifications`` ask for. Its text is made when it is sent.

    Args:
        seq: number of the event; one event makes one mail at most.
        owner: to whom it goes.
        status: the state that the job came into.
    """

    seq: int
    job_id: int
    owner: str
    status: JobState
    created_at: float
    due_at: float
    tries: int = 0
    state: DeliveryState = DeliveryState.WAITING
    error: str | None = None
    ended_at: float | None = None
