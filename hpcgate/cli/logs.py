"""``hpcgate logs``."""

# ruff: noqa: D301 - click wants a real backspace before lines that stay as they are

from __future__ import annotations

import sys

import click

from hpcgate.cli.arguments import job_id
from hpcgate.cli.backend import Stream
from hpcgate.cli.follow import read_all
from hpcgate.cli.session import Session, pass_session


@click.command()
@job_id
@click.option("--follow", "-f", is_flag=True, help="Go on until the job has ended.")
@click.option("--stderr", "errors", is_flag=True, help="Print standard error instead of standard output.")
@click.option("--task", type=click.IntRange(min=0), metavar="N", help="Index of an array.")
@pass_session
def logs(session: Session, job_id: int, follow: bool, errors: bool, task: int | None) -> None:
    """Print what a job has written.

    \b
    Examples:
      hpcgate logs 12
      hpcgate logs -f --stderr 12
      hpcgate logs --task 3 14
    """
    stream: Stream = "stderr" if errors else "stdout"
    backend = session.backend
    target = sys.stdout.buffer
    if not follow:
        for data in read_all(backend, job_id, stream, task=task):
            target.write(data)
        target.flush()
        return
    with backend.live():
        for _, data in backend.follow(job_id, (stream,), task=task):
            target.write(data)
            target.flush()
