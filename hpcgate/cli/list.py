"""``hpcgate list``."""

# ruff: noqa: D301 - click wants a real backspace before lines that stay as they are

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, Final

import click

from hpcgate.cli.arguments import as_json
from hpcgate.cli.backend import JobBackend, Wire
from hpcgate.cli.completion import complete_sites
from hpcgate.cli.output import elapsed, local_time, outcome, print_json, print_table, rich_table
from hpcgate.cli.pages import Pages, paged, tell_of_more
from hpcgate.cli.session import Session, pass_session
from hpcgate.cli.values import MOMENT, PAIR
from hpcgate.model.query import JobFilter
from hpcgate.model.state import JobState

HEADERS: Final = ("ID", "NAME", "STATE", "OUTCOME", "SITE", "OWNER", "CREATED", "ELAPSED")
#: The elapsed time of running jobs moves on, so a watched table is drawn anew even if nothing happens.
REDRAW_S: Final = 5.0


@click.command("list")
@click.option(
    "--state",
    "states",
    type=click.Choice([state.value for state in JobState], case_sensitive=False),
    multiple=True,
    help="Only jobs in this state; may be repeated.",
)
@click.option("--active/--ended", default=None, help="Only jobs that have not ended, or that have.")
@click.option("--site", "-s", "sites", metavar="NAME", multiple=True, shell_complete=complete_sites, help="Only there.")
@click.option("--owner", "-u", metavar="NAME", help="Only jobs of this user.")
@click.option("--name", "-J", help="Only jobs with exactly this name.")
@click.option("--label", "-l", "labels", type=PAIR, multiple=True, help="Only jobs with this label.")
@click.option("--tag", "tags", metavar="TEXT", multiple=True, help="Only jobs with this tag.")
@click.option("--project", metavar="NAME", help="Only jobs of this project.")
@click.option("--since", type=MOMENT, help="Only jobs created then or later: 2026-01-31, 2h (ago), RFC 3339.")
@click.option("--until", type=MOMENT, help="Only jobs created before.")
@paged("jobs")
@click.option("--watch", "-w", is_flag=True, help="Keep the table up to date until Ctrl-C.")
@as_json
@pass_session
def list_jobs(session: Session, /, pages: Pages, watch: bool, as_json: bool, **wanted: Any) -> None:
    """List jobs, newest first.

    \b
    Examples:
      hpcgate list --state RUNNING --state QUEUED
      hpcgate list --since 2d --label run=7 --json
      hpcgate list --active --watch
    """
    found = _filter(**wanted)
    backend = session.backend
    if watch:
        _watch(backend, found, pages.limit)
        return
    jobs, following = pages.read(lambda cursor, limit: backend.page(found, cursor=cursor, limit=limit))
    if as_json:
        print_json(jobs)
    else:
        print_table(HEADERS, map(_row, jobs))
    tell_of_more(following)


def _filter(
    states: Sequence[str],
    active: bool | None,
    sites: Sequence[str],
    labels: Sequence[tuple[str, str]],
    tags: Sequence[str],
    **rest: Any,
) -> JobFilter:
    return JobFilter(
        states=frozenset(map(JobState, states)),
        active=active,
        sites=tuple(sites),
        labels=dict(labels),
        tags=tuple(tags),
        **rest,
    )


def _row(job: Wire) -> tuple[Any, ...]:
    state = job["state"] + (" (stale)" if job["stale"] else "")
    return (
        job["id"],
        job["name"],
        state,
        outcome(job),
        job["site"],
        job["owner"],
        local_time(job["created_at"]),
        elapsed(job),
    )


def _watch(backend: JobBackend, wanted: JobFilter, limit: int) -> None:
    if not sys.stdout.isatty():
        raise click.UsageError("--watch needs a terminal; programs use `hpcgate events --follow --json`")
    from rich.live import Live

    with backend.live(), Live(auto_refresh=False) as live:
        while True:
            seen = backend.last_event()
            jobs, _ = backend.page(wanted, cursor=None, limit=limit)
            live.update(rich_table(HEADERS, map(_row, jobs)), refresh=True)
            backend.events(seen, wait_s=REDRAW_S)
