"""``hpcgate site``."""

# ruff: noqa: D301 - click wants a real backspace before lines that stay as they are

from __future__ import annotations

import click

from hpcgate.cli import exits
from hpcgate.cli.arguments import as_json
from hpcgate.cli.backend import Backend, Wire
from hpcgate.cli.completion import complete_sites
from hpcgate.cli.output import clean, local_time, print_json, print_table
from hpcgate.cli.session import Session, pass_session
from hpcgate.errors import HpcgateError


@click.group()
def site() -> None:
    """Look at sites, stop and resume them."""


@site.command("list")
@as_json
@pass_session
def list_sites(session: Session, as_json: bool) -> None:
    """List the sites and what is known of them.

    \b
    Example:
      hpcgate site list
    """
    sites = session.backend.sites()
    if as_json:
        print_json(sites)
    else:
        print_table(("NAME", "SCHEDULER", "TRANSPORT", "JOBS", "LAST ANSWER", "NOTE"), map(_row, sites))


@site.command("check")
@click.argument("name", required=False, shell_complete=complete_sites)
@as_json
@pass_session
@click.pass_context
def check(ctx: click.Context, session: Session, name: str | None, as_json: bool) -> None:
    """Look whether a site works, or all of them.

    \b
    Examples:
      hpcgate site check
      hpcgate site check ares --json

    The exit code is 1 when a check is not good, 4 when a site did not answer.
    """
    probes, code = ([session.backend.check_site(name)], exits.OK) if name else _check_all(session.backend)
    if as_json:
        print_json(probes[0] if name else probes)
    else:
        print_table(
            ("SITE", "CHECK", "OK", "DETAIL"),
            [(probe["site"], item["name"], item["ok"], item["detail"]) for probe in probes for item in probe["checks"]],
        )
    ctx.exit(code or (exits.OK if all(probe["ok"] for probe in probes) else exits.FAILED))


@site.command("drain")
@click.argument("name", shell_complete=complete_sites)
@click.option("--reason", "-r", required=True, metavar="TEXT", help="Told to everybody whose job is refused.")
@as_json
@pass_session
def drain(session: Session, name: str, reason: str, as_json: bool) -> None:
    """Let a site take no new jobs.

    What its scheduler has goes on and is looked after. Jobs that were accepted and that the scheduler does not have
    yet wait until the site is resumed; cancel them with `hpcgate cancel --site NAME`.

    \b
    Example:
      hpcgate site drain ares --reason "maintenance until 18:00"
    """
    _tell(session.backend.drain_site(name, reason), as_json=as_json)


@site.command("resume")
@click.argument("name", shell_complete=complete_sites)
@as_json
@pass_session
def resume(session: Session, name: str, as_json: bool) -> None:
    """Let a drained site take new jobs again.

    \b
    Example:
      hpcgate site resume ares
    """
    _tell(session.backend.resume_site(name), as_json=as_json)


def _tell(item: Wire, *, as_json: bool) -> None:
    if as_json:
        print_json(item)
        return
    said = f"takes no new jobs: {clean(item['drained']['reason'])}" if item["drained"] else "takes jobs"
    click.echo(f"site {item['name']} {said}")


def _check_all(backend: Backend) -> tuple[list[Wire], int]:
    """Checks every site, also after one did not answer; the exit code is that of the first that did not."""
    probes: list[Wire] = []
    code = exits.OK
    for site in backend.sites():
        try:
            probes.append(backend.check_site(site["name"]))
        except HpcgateError as error:
            code = code or exits.code_of_error(error)
            click.echo(f"hpcgate: error: site {site['name']}: {clean(error.message)}", err=True)
    return probes, code


def _row(item: Wire) -> tuple[object, ...]:
    jobs = ", ".join(f"{count} {state}" for state, count in item["counts"].items() if count)
    notes = [f"drained: {item['drained']['reason']}"] if item["drained"] else []
    notes += ["stale: " + (item["error"] or "no answer")] if item["stale"] else [item["error"]] if item["error"] else []
    note = "; ".join(notes) or None
    return item["name"], item["scheduler"], item["transport"], jobs, local_time(item["polled_at"]), note
