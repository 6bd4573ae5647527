"""Commands that change jobs: hold, release, requeue, clone, signal, delete."""

# ruff: noqa: D301 - click wants a real backspace before lines that stay as they are

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import click

from hpcgate.cli import exits
from hpcgate.cli.arguments import as_json, job_ids
from hpcgate.cli.backend import JobVerb, Wire
from hpcgate.cli.output import clean, print_json
from hpcgate.cli.session import Session, pass_session
from hpcgate.errors import HpcgateError

T = TypeVar("T")


@click.command()
@job_ids
@as_json
@pass_session
@click.pass_context
def hold(ctx: click.Context, session: Session, job_ids: Sequence[int], as_json: bool) -> None:
    """Keep queued jobs from starting.

    \b
    Example:
      hpcgate hold 12
    """
    ctx.exit(_change(session, "hold", job_ids, as_json=as_json))


@click.command()
@job_ids
@as_json
@pass_session
@click.pass_context
def release(ctx: click.Context, session: Session, job_ids: Sequence[int], as_json: bool) -> None:
    """Let held jobs start.

    \b
    Example:
      hpcgate release 12
    """
    ctx.exit(_change(session, "release", job_ids, as_json=as_json))


@click.command()
@job_ids
@as_json
@pass_session
@click.pass_context
def requeue(ctx: click.Context, session: Session, job_ids: Sequence[int], as_json: bool) -> None:
    """Put running jobs back into the queue.

    \b
    Example:
      hpcgate requeue 12
    """
    ctx.exit(_change(session, "requeue", job_ids, as_json=as_json))


@click.command()
@job_ids
@as_json
@pass_session
@click.pass_context
def clone(ctx: click.Context, session: Session, job_ids: Sequence[int], as_json: bool) -> None:
    """Submit the same jobs again.

    \b
    Example:
      hpcgate clone 12
    """
    ctx.exit(_change(session, "clone", job_ids, as_json=as_json))


@click.command()
@click.argument("name", metavar="SIGNAL")
@job_ids
@as_json
@pass_session
@click.pass_context
def signal(ctx: click.Context, session: Session, name: str, job_ids: Sequence[int], as_json: bool) -> None:
    """Send a signal to running jobs.

    \b
    Example:
      hpcgate signal USR1 12
    """
    name = name.upper().removeprefix("SIG")
    ctx.exit(each(job_ids, lambda job_id: session.backend.signal(job_id, name), as_json=as_json))


@click.command()
@job_ids
@pass_session
@click.pass_context
def delete(ctx: click.Context, session: Session, job_ids: Sequence[int]) -> None:
    """Forget jobs that have ended.

    \b
    Example:
      hpcgate delete 12
    """
    ctx.exit(each(job_ids, session.backend.delete, as_json=False))


def _change(session: Session, verb: JobVerb, job_ids: Sequence[int], *, as_json: bool) -> int:
    return each(job_ids, lambda job_id: session.backend.change(verb, job_id), as_json=as_json)


def each(targets: Sequence[T], do: Callable[[T], Wire | None], *, as_json: bool) -> int:
    """Does it to every target, also after one went wrong; the exit code is that of the first error."""
    done: list[Wire] = []
    code = exits.OK
    for target in targets:
        try:
            job = do(target)
        except HpcgateError as error:
            click.echo(f"hpcgate: error: {clean(error.message)}", err=True)
            code = code or exits.code_of_error(error)
        else:
            done += [job] if job else []
    tell(done, as_json=as_json)
    return code


def tell(jobs: Sequence[Wire], *, as_json: bool) -> None:
    """Prints what became of jobs."""
    if as_json:
        print_json(jobs)
        return
    for job in jobs:
        note = ", to be canceled" if job["canceling"] else ""
        click.echo(f"job {job['id']} is {job['state']}{note}")
