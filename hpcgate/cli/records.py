"""``hpcgate records``."""

# ruff: noqa: D301 - click wants a real backspace before lines that stay as they are

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import click

from hpcgate.cli.arguments import ID, as_json
from hpcgate.cli.backend import Backend, Wire
from hpcgate.cli.output import clean, clock, local_time, print_json, print_table
from hpcgate.cli.pages import Pages, paged, tell_of_more
from hpcgate.cli.record_archives import check, export_records, import_records
from hpcgate.cli.record_options import filter_of, record_filters
from hpcgate.cli.session import Session, pass_session
from hpcgate.cli.values import MOMENT
from hpcgate.cli.verbs import each
from hpcgate.model.record import KeepTagged

HEADERS: Final = ("ID", "NUMBER", "USER", "PROJECT", "CLUSTER", "STATE", "NODES", "BEGAN", "RAN", "NAME")


@click.group()
def records() -> None:
    """Look at the accounting records of jobs.

    They can be moved in and out as files, in the layout of ClusterCockpit's job archive.
    """


for command in (export_records, import_records, check):
    records.add_command(command)


@records.command("list")
@record_filters
@paged("records")
@click.option("--count", is_flag=True, help="Only tell how many there are.")
@as_json
@pass_session
def list_records(session: Session, /, pages: Pages, count: bool, as_json: bool, **wanted: Any) -> None:
    """List records, those of jobs that began last first.

    \b
    Examples:
      hpcgate records list --cluster fritz --state failed --since 7d
      hpcgate records list --user ann --tag jobClass:idle --json
      hpcgate records list --project p1 --min-nodes 8 --count
    """
    filter_, backend = filter_of(**wanted), session.backend
    if count:
        _, _, total = backend.records(filter_, cursor=None, limit=1, count=True)
        click.echo(total)
        return

    def page(cursor: str | None, limit: int) -> tuple[list[Wire], str | None]:
        return backend.records(filter_, cursor=cursor, limit=limit, count=False)[:2]

    found, following = pages.read(page)
    if as_json:
        print_json(found)
    else:
        print_table(HEADERS, map(_row, found))
    tell_of_more(following)


@records.command("show")
@click.argument("record_id", metavar="ID", type=ID)
@as_json
@pass_session
def show(session: Session, record_id: int, as_json: bool) -> None:
    """Show a record with its metadata and statistics.

    \b
    Example:
      hpcgate records show 12
    """
    record = session.backend.record(record_id)
    if as_json:
        print_json(record)
        return
    plain = {name: value for name, value in record.items() if value not in (None, [], {})}
    plain |= {name: local_time(record[name]) for name in ("submitted_at", "started_at", "ended_at") if record[name]}
    plain["resources"] = ", ".join(each["hostname"] for each in record["resources"])
    plain["tags"] = ", ".join(f"{tag['type']}:{tag['name']}" for tag in record["tags"])
    print_table(("FIELD", "VALUE"), [(name, clean(value)) for name, value in plain.items() if value != ""])


@records.command("delete")
@click.argument("record_ids", metavar="[ID]...", type=ID, nargs=-1)
@click.option("--before", type=MOMENT, help="All of jobs that began before: 2026-01-31, 365d (ago).")
@click.option(
    "--keep-tagged",
    type=click.Choice([word.value for word in KeepTagged]),
    default=KeepTagged.NONE.value,
    show_default=True,
    help="With --before: tagged records that stay; user = not those with tags of programs alone.",
)
@click.option("--dry-run", is_flag=True, help="With --before: only tell how many would go.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@pass_session
@click.pass_context
def delete(
    ctx: click.Context,
    session: Session,
    record_ids: Sequence[int],
    before: float | None,
    keep_tagged: str,
    dry_run: bool,
    yes: bool,
) -> None:
    """Delete records: some, or all of jobs that began before a moment. What was archived of them stays.

    \b
    Examples:
      hpcgate records delete 12 13
      hpcgate records delete --before 730d --keep-tagged user --dry-run
    """
    if bool(record_ids) == (before is not None):
        raise click.UsageError("name records, or a moment by --before", ctx)
    backend = session.backend
    if before is None:
        ctx.exit(each(record_ids, backend.delete_record, as_json=False))
    _delete_before(backend, before, KeepTagged(keep_tagged), dry_run=dry_run, yes=yes)


def _delete_before(backend: Backend, before: float, keep: KeepTagged, *, dry_run: bool, yes: bool) -> None:
    would = backend.delete_records(before, keep=keep, dry_run=True)
    if dry_run or not would:
        click.echo(f"{would} records would be deleted")
        return
    if not yes:
        click.confirm(f"Delete {would} records for good?", abort=True, err=True)
    click.echo(f"{backend.delete_records(before, keep=keep, dry_run=False)} records deleted")


def _row(record: Wire) -> tuple[Any, ...]:
    return (
        record["id"],
        record["number"],
        record["user"],
        record["project"],
        record["cluster"],
        record["state"],
        record["num_nodes"],
        local_time(record["started_at"]),
        clock(record["duration_s"]),
        record["name"],
    )
