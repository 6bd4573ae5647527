"""``hpcgate events``."""

# ruff: noqa: D301 - click wants a real backspace before lines that stay as they are

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

import click

from hpcgate.cli.backend import JobBackend, Wire
from hpcgate.cli.completion import complete_job_ids
from hpcgate.cli.output import clean, local_time, print_json, print_table
from hpcgate.cli.session import Session, pass_session
from hpcgate.cli.waiting import POLL_S

#: How many are listed when nobody says where to begin.
RECENT: Final = 50
HEADERS: Final = ("SEQ", "AT", "TYPE", "JOB", "WHAT")


@click.command()
@click.option(
    "--follow", "-f", is_flag=True, help="Go on until Ctrl-C; only what happens from now on, or after --after."
)
@click.option("--after", type=click.IntRange(min=0), metavar="SEQ", help="Only events after this number.")
@click.option(
    "--job",
    "job_id",
    type=click.IntRange(min=1),
    metavar="ID",
    shell_complete=complete_job_ids,
    help="Only events of this job.",
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list; with --follow one JSON object a line.")
@pass_session
def events(session: Session, follow: bool, after: int | None, job_id: int | None, as_json: bool) -> None:
    """List what happened to jobs.

    \b
    Examples:
      hpcgate events
      hpcgate events --job 12
      hpcgate events --follow --json
    """
    backend = session.backend
    if follow:
        with backend.live():
            for event in _following(backend, backend.last_event() if after is None else after, job_id):
                click.echo(json.dumps(event, ensure_ascii=False) if as_json else "  ".join(map(clean, _row(event))))
        return
    start = max(0, backend.last_event() - RECENT) if after is None and job_id is None else after or 0
    found = list(_so_far(backend, start, job_id))
    if as_json:
        print_json(found)
    else:
        print_table(HEADERS, map(_row, found))


def _so_far(backend: JobBackend, after: int, job_id: int | None) -> Iterator[Wire]:
    while found := backend.events(after, job_id=job_id):
        yield from found
        after = found[-1]["seq"]


def _following(backend: JobBackend, after: int, job_id: int | None) -> Iterator[Wire]:
    while True:
        found = backend.events(after, wait_s=POLL_S)
        yield from (event for event in found if job_id in (None, event["job_id"]))
        if found:
            after = found[-1]["seq"]


def _row(event: Wire) -> tuple[Any, ...]:
    return event["seq"], local_time(event["at"]), event["type"], event["job_id"], _what(event["data"])


def _what(data: Wire) -> str:
    if "new" in data:
        told = [f"{key}={data[key]}" for key in ("reason", "exit_code", "signal") if data.get(key) is not None]
        return " ".join([f"{data.get('old') or ''} -> {data['new']}".strip(), *told])
    return clean({key: value for key, value in data.items() if value is not None})
