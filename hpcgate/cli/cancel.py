"""``hpcgate cancel`` and ``hpcgate retry``: of jobs, of tasks of an array, of all jobs of a user or site."""

# ruff: noqa: D301 - click wants a real backspace before lines that stay as they are

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from hpcgate.cli import exits
from hpcgate.cli.arguments import Target, as_json, targets
from hpcgate.cli.backend import Backend
from hpcgate.cli.completion import complete_sites
from hpcgate.cli.output import note, print_json
from hpcgate.cli.session import Session, pass_session
from hpcgate.cli.verbs import each, tell
from hpcgate.errors import HpcgateError
from hpcgate.model.query import JobFilter


@click.command()
@targets(required=False)
@click.option("--user", "-u", "owner", metavar="NAME", help="All active jobs of this user.")
@click.option(
    "--site", "-s", "sites", metavar="NAME", multiple=True, shell_complete=complete_sites, help="All active jobs there."
)
@click.option("--yes", "-y", is_flag=True, help="Do not ask before canceling by user or site.")
@as_json
@pass_session
@click.pass_context
def cancel(
    ctx: click.Context,
    session: Session,
    targets: Sequence[Target],
    owner: str | None,
    sites: Sequence[str],
    yes: bool,
    as_json: bool,
) -> None:
    """Cancel jobs.

    They are named by their ids, with indices for some tasks of an array, or are all active ones of a user or a site.
    A job that has ended already stays as it is. A running job is CANCELED once its site says that it has stopped.

    \b
    Examples:
      hpcgate cancel 12 13
      hpcgate cancel 14[3,5-7]
      hpcgate list --active --json | jq .[].id | hpcgate cancel -
      hpcgate cancel --user ann --site ares
    """
    by_filter = owner is not None or bool(sites)
    if by_filter == bool(targets):
        raise click.UsageError("name jobs by their ids, or by --user and --site, not both")
    if by_filter:
        _cancel_where(session.backend, JobFilter(owner=owner, sites=tuple(sites)), yes=yes, as_json=as_json)
        return
    backend = session.backend
    if len(targets) > 1 and not any(target.indices for target in targets):
        try:
            tell(backend.cancel([target.job_id for target in targets]), as_json=as_json)
        except HpcgateError:
            pass  # one of them is at fault: below each gets an answer of its own
        else:
            return
    ctx.exit(
        each(
            targets,
            lambda it: backend.cancel_tasks(it.job_id, it.indices) if it.indices else backend.cancel([it.job_id])[0],
            as_json=as_json,
        )
    )


def _cancel_where(backend: Backend, which: JobFilter, *, yes: bool, as_json: bool) -> None:
    total = backend.count_cancelable(which)
    whose = f" of {which.owner}" if which.owner else ""
    where = f" at {', '.join(which.sites)}" if which.sites else ""
    if total and not yes:
        if not sys.stdin.isatty():
            raise click.UsageError(f"this would cancel {total} active jobs{whose}{where}; say --yes if you mean it")
        click.confirm(f"Cancel {total} active jobs{whose}{where}?", abort=True, err=True)
    asked, cursor = 0, None
    while total:
        count, cursor = backend.cancel_where(which, cursor=cursor)
        asked += count
        if cursor is None:
            break
        note(f"{asked} of {total} jobs")
    if as_json:
        print_json({"count": asked})
    else:
        click.echo(f"{asked} active jobs{whose}{where} are canceled, or will be")


@click.command()
@targets(required=True)
@as_json
@pass_session
@click.pass_context
def retry(ctx: click.Context, session: Session, targets: Sequence[Target], as_json: bool) -> None:
    """Run tasks of an array again.

    Of an array that has ended: those that did not complete, or those that are named. A new array runs them under the
    same indices, with a link to the old one; tasks that are not evenly spaced need more than one.

    \b
    Examples:
      hpcgate retry 14
      hpcgate retry 14[3,5-7]
    """
    made, code = [], exits.OK
    for target in targets:
        try:
            made += session.backend.retry(target.job_id, target.indices)
        except HpcgateError as error:
            click.echo(f"hpcgate: error: {error.message}", err=True)
            code = code or exits.code_of_error(error)
    if as_json:
        print_json(made)
    else:
        for job in made:
            click.echo(f"job {job['id']} runs {job['array']} of job {job['retry_of']}")
    ctx.exit(code)
