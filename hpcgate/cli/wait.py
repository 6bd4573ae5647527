"""``hpcgate wait``."""

# ruff: noqa: D301 - click wants a real backspace before lines that stay as they are

from __future__ import annotations

from collections.abc import Sequence

import click

from hpcgate.cli import exits
from hpcgate.cli.arguments import as_json, job_ids
from hpcgate.cli.output import note, outcome, print_json, print_table
from hpcgate.cli.session import Session, pass_session
from hpcgate.cli.values import DURATION
from hpcgate.cli.waiting import has_ended, wait_for


@click.command()
@job_ids
@click.option("--timeout", type=DURATION, help="Longest wait: 90, 15m, 1d. Then the exit code is 124.")
@as_json
@pass_session
@click.pass_context
def wait(ctx: click.Context, session: Session, job_ids: Sequence[int], timeout: int | None, as_json: bool) -> None:
    """Wait until jobs have ended.

    \b
    Examples:
      hpcgate wait 12 13
      hpcgate wait --timeout 1h 12 && hpcgate logs 12

    The exit code is 0 when all have completed, 1 when one failed or was canceled, 124 when the time was over.
    """
    jobs = wait_for(session.backend, job_ids, timeout)
    if as_json:
        print_json(jobs)
    else:
        print_table(("ID", "NAME", "STATE", "OUTCOME"), [(j["id"], j["name"], j["state"], outcome(j)) for j in jobs])
    late = sum(not has_ended(job) for job in jobs)
    if late:
        note(f"after {timeout} s {late} of {len(jobs)} jobs have not ended")
    ctx.exit(exits.code_of_jobs(jobs))
