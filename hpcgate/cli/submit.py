"""``hpcgate submit``."""

# ruff: noqa: D301 - click wants a real backspace before lines that stay as they are

from __future__ import annotations

import sys
from typing import Any

import click

from hpcgate.cli import exits
from hpcgate.cli.arguments import CommandAfterDashes, as_json
from hpcgate.cli.job_options import command_of, file_of, job_options, request_of
from hpcgate.cli.output import note, outcome, print_json
from hpcgate.cli.session import Session, pass_session


@click.command(cls=CommandAfterDashes, options_metavar="[OPTIONS]")
@click.argument("file", metavar="FILE | -- COMMAND...", required=False)
@job_options
@click.option("--array", "-a", metavar="RANGE", help="Run it once per index: 0-9, 1-99:2, 0-999%20 (20 at a time).")
@click.option("--hold", is_flag=True, help="Do not start it before `hpcgate release`.")
@click.option("--dry-run", is_flag=True, help="Say what would become of it and show the script; submit nothing.")
@click.option("--wait", is_flag=True, help="Wait until it has ended; exit code 1 when it has not completed.")
@as_json
@pass_session
@click.pass_context
def submit(
    ctx: click.Context,
    session: Session,
    /,
    file: str | None,
    idempotency_key: str | None,
    dry_run: bool,
    wait: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Submit a script or a command.

    FILE is a script that starts with #! and may hold directives; - is standard input. A FILE that ends with .json holds
    a whole job as the REST API takes it, with tasks say; options go before what it says. When the output is no
    terminal, the job's id is printed alone.

    \b
    Examples:
      hpcgate submit --nodes 2 --walltime 1:30:00 job.sh
      hpcgate submit --site local --memory 4G --label run=7 -- python3 train.py --epochs 10
      id=$(hpcgate submit --array 0-9%2 job.sh)
      hpcgate submit --dry-run job.sh
    """
    command = ctx.meta.get(CommandAfterDashes.AFTER_DASHES)
    if (file is None) == (not command):
        raise click.UsageError("give either the FILE of a script or, after '--', a command", ctx)
    request = request_of(command_of(command) if command else file_of(str(file)), options)
    if dry_run:
        ctx.exit(_dry_run(session, request, as_json=as_json))
    job = session.backend.submit(request, idempotency_key=idempotency_key)
    if not wait:
        _tell(job, as_json=as_json)
        return
    from hpcgate.cli.waiting import wait_for

    if not as_json:
        _tell(job, as_json=False)
    job = wait_for(session.backend, [job["id"]])[0]
    if as_json:
        print_json(job)
    elif sys.stdout.isatty():
        click.echo(f"job {job['id']} {job['state']}: {outcome(job) or 'no exit code'}")
    ctx.exit(exits.code_of_jobs([job]))


def _tell(job: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(job)
    elif sys.stdout.isatty():
        native = f", {job['native_id']} there" if job["native_id"] else ""
        click.echo(f"job {job['id']} is {job['state']} at {job['site'] or 'no site yet'}{native}")
    else:
        click.echo(job["id"])


def _dry_run(session: Session, request: dict[str, Any], *, as_json: bool) -> int:
    verdict = session.backend.validate(request)
    if as_json:
        print_json(verdict)
    else:
        for error in verdict["errors"]:
            note(f"error: {error['field']}: {error['message']}")
        for field in verdict["fields"]:
            if field["verdict"] != "honoured":
                note(f"{field['field']}: {field['verdict']}{': ' + field['how'] if field['how'] else ''}")
        if verdict["script"]:
            click.echo(verdict["script"], nl=not verdict["script"].endswith("\n"))
    return exits.OK if verdict["valid"] else exits.USAGE
