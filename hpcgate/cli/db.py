"""``hpcgate db``."""

# ruff: noqa: D301 - click wants a real backspace before lines that stay as they are

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from hpcgate.cli import exits
from hpcgate.cli.arguments import as_json
from hpcgate.cli.output import print_json, print_table
from hpcgate.cli.session import Session, pass_session

if TYPE_CHECKING:
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
    """Look whether the database can be read and has the schema of this version; nothing is changed.

    \b
    Example:
      hpcgate db check

    The exit code is 1 when a step is missing.
    """
    from hpcgate.store.database import read_schema

    steps = read_schema(session.config.database_url)
    _print(steps, as_json=as_json)
    ctx.exit(exits.OK if all(step.applied_at for step in steps) else exits.FAILED)


def _print(steps: list[MigrationStatus], *, as_json: bool) -> None:
    if as_json:
        print_json([{"name": s.name, "applied_at": s.applied_at and s.applied_at.isoformat()} for s in steps])
        return
    print_table(
        ("STEP", "APPLIED"),
        [(s.name, s.applied_at.strftime("%Y-%m-%d %H:%M:%S") if s.applied_at else "missing") for s in steps],
    )
