"""``hpcgate db``."""

# ruff: noqa: D301 - click wants a real backspace before lines that stay as they are

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from hpcgate.cli import exits
from hpcgate.cli.arguments import as_json
from hpcgate.cli.output import note, print_json, print_table
from hpcgate.cli.session import Session, pass_session
from hpcgate.errors import Conflict

if TYPE_CHECKING:
    from hpcgate.service.retention import Pruned
    from hpcgate.store.schema import MigrationStatus


@click.group()
def db() -> None:
    """Look after the database."""


@db.command()
@as_json
@pass_session
def upgrade(session: Session, as_json: bool) -> None:
    """Bring the database to the schema of this version; make it if there is none.

    Every command does so when it opens the database. This one does nothing else, for upgrades step by step.

    \b
    Example:
      hpcgate db upgrade
    """
    from hpcgate.store.database import open_store

    store = open_store(session.config.database_url, pool=session.config.gateway.database_pool)
    try:
        _print(store.schema_status(), as_json=as_json)
    finally:
        store.close()


@db.command()
@as_json
@pass_session
@click.pass_context
def check(ctx: click.Context, session: Session, as_json: bool) -> None:
    """Look whether the database can be read and this version can work on its schema; nothing is changed.

    \b
    Example:
      hpcgate db check

    The exit code is 1 when a step is missing, or when a later version has changed the database so that this one cannot
    work on it. Steps of a later version that only add something do no harm.
    """
    from hpcgate.store.database import read_schema

    steps = read_schema(session.config.database_url)
    _print(steps, as_json=as_json)
    ctx.exit(exits.OK if all(step.applied_at and not step.breaks for step in steps) else exits.FAILED)


@db.command()
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@as_json
@pass_session
def prune(session: Session, dry_run: bool, as_json: bool) -> None:
    """Remove what is older than `[retention]` and `[records]` say.

    Workers do so all the time, a little at once. This does it now, as far as the sites answer. Jobs that have not ended
    are never touched.

    \b
    Examples:
      hpcgate db prune --dry-run
      hpcgate db prune
    """
    from hpcgate.gateway import open_gateway
    from hpcgate.service.retention import Pruned

    if session.remote_url:
        raise click.UsageError("works on the gateway's own machine; unset HPCGATE_URL there")
    with open_gateway(session.config) as gateway:
        retention = gateway.retention()
        if dry_run:
            _tell(retention.preview(), would=True, as_json=as_json)
            return
        done = Pruned()
        try:
            while True:
                part = retention.step()
                if part is None:
                    raise Conflict("a worker removes what is old at this moment; let it, or try again")
                done.add(part)
                if not part.more:
                    break
                note(f"{done.jobs} jobs, {done.files} folders, {done.events} events so far")
        finally:
            retention.lease.give_up()
    _tell(done, would=False, as_json=as_json)


@db.command()
@click.option("--dry-run", is_flag=True, help="Only say what is wrong; the exit code is 1 when something is.")
@as_json
@pass_session
@click.pass_context
def recount(ctx: click.Context, session: Session, dry_run: bool, as_json: bool) -> None:
    """Count anew what `hpcgate stats` answers from.

    The sums are kept up to date with every record. This is for records that came another way, such as by SQL, and for
    doubts. The gateway may go on meanwhile; its writers wait for a day or a month of sums
    at most.

    \b
    Examples:
      hpcgate db recount --dry-run
      hpcgate db recount
    """
    from hpcgate.store.database import open_store

    if session.remote_url:
        raise click.UsageError("works on the gateway's own machine; unset HPCGATE_URL there")
    store = open_store(session.config.database_url, pool=session.config.gateway.database_pool)
    try:
        periods = cells = 0
        for each in store.statistics.recount(write=not dry_run):
            periods, cells = periods + 1, cells + each.cells
    finally:
        store.close()
    if as_json:
        print_json({"periods": periods, "wrong" if dry_run else "counted": cells})
    else:
        said = "are wrong" if dry_run else "were counted anew"
        click.echo(f"{cells} sums of {periods} periods {said}")
    ctx.exit(exits.FAILED if dry_run and cells else exits.OK)


def _tell(what: Pruned, *, would: bool, as_json: bool) -> None:
    counts = {name: count for name, count in asdict(what).items() if name != "more"}
    if as_json:
        print_json(counts)
        return
    verb = "would go" if would else "are gone"
    click.echo(
        f"{what.jobs} jobs, {what.files} folders of other jobs, {what.events} events and {what.records} records {verb}"
    )
    if what.kept:
        click.echo(f"{what.kept} jobs or folders could not be removed now; the log says why")


def _print(steps: list[MigrationStatus], *, as_json: bool) -> None:
    if as_json:
        print_json([{**asdict(step), "applied_at": step.applied_at and step.applied_at.isoformat()} for step in steps])
        return
    print_table(
        ("STEP", "APPLIED", "NOTE"),
        [
            (step.name, step.applied_at.strftime("%Y-%m-%d %H:%M:%S") if step.applied_at else "missing", _note(step))
            for step in steps
        ],
    )


def _note(step: MigrationStatus) -> str | None:
    if step.breaks:
        return "of a later version; this one cannot work with it"
    return None if step.known else "of a later version"
