"""The options by which commands say which records they mean."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from hpcgate.cli.values import DURATION, MOMENT
from hpcgate.model.record import RecordFilter, RecordState, Source

F = TypeVar("F", bound=Callable[..., Any])

_STATES = click.Choice([state.value for state in RecordState], case_sensitive=False)
_SOURCES = click.Choice([source.value for source in Source])
_COUNT = click.IntRange(min=0)

_OPTIONS = (
    click.option("--state", "states", type=_STATES, multiple=True, help="Only in this state; may be repeated."),
    click.option("--cluster", metavar="NAME", help="Only of this cluster."),
    click.option("--subcluster", "subclusters", metavar="NAME", multiple=True, help="Only of this sub-cluster."),
    click.option("--user", "-u", "users", metavar="NAME", multiple=True, help="Only of this user; may be repeated."),
    click.option("--project", metavar="NAME", help="Only of this project."),
    click.option("--partition", metavar="NAME", help="Only from this queue."),
    click.option("--number", type=int, metavar="N", help="Only with this number in the batch system."),
    click.option("--array", "array_number", type=int, metavar="N", help="Only elements of this array."),
    click.option("--job", "job_id", type=click.IntRange(min=1), metavar="ID", help="Only of this job of the gateway."),
    click.option("--name", "-J", metavar="TEXT", help="Only where the job's name begins so."),
    click.option("--tag", metavar="[TYPE:]NAME", help="Only with this tag."),
    click.option("--node", metavar="HOST", help="Only what ran on this node."),
    click.option("--since", "started_from", type=MOMENT, help="Only what began then or later: 2026-01-31, 2h (ago)."),
    click.option("--until", "started_to", type=MOMENT, help="Only what began then or before."),
    click.option("--ended-since", "ended_from", type=MOMENT, help="Only what ended then or later."),
    click.option("--ended-until", "ended_to", type=MOMENT, help="Only what ended then or before."),
    click.option("--min-duration", "min_duration_s", type=DURATION, help="Only what ran so long: 90s, 1h30m."),
    click.option("--max-duration", "max_duration_s", type=DURATION, help="Only what ran no longer."),
    click.option("--min-nodes", type=_COUNT, metavar="N", help="Only with at least so many nodes."),
    click.option("--max-nodes", type=_COUNT, metavar="N", help="Only with at most so many nodes."),
    click.option("--source", type=_SOURCES, help="Only the gateway's own jobs, or those that programs reported."),
)


def record_filters(function: F) -> F:
    """Adds the options of a filter; ``filter_of`` takes what they say."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def filter_of(
    states: Sequence[str],
    subclusters: Sequence[str],
    users: Sequence[str],
    source: str | None,
    **rest: Any,
) -> RecordFilter:
    """The filter that the options say."""
    moments = {name: None if rest[name] is None else int(rest[name]) for name in rest if name.endswith(("from", "to"))}
    return RecordFilter(
        states=tuple(RecordState(state.lower()) for state in states),
        subclusters=tuple(subclusters),
        users=tuple(users),
        source=None if source is None else Source(source),
        **{**rest, **moments},
    )
