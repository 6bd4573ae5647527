"""``hpcgate plugin``: about the plugins installed here, whatever server HPCGATE_URL names."""

# ruff: noqa: D301 - click wants a real backspace before lines that stay as they are

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import MISSING, Field, asdict, fields
from pathlib import Path
from typing import Any, get_type_hints

import click

from hpcgate.cli.arguments import as_json
from hpcgate.cli.log import log_briefly
from hpcgate.cli.output import clean, print_json, print_record, print_table
from hpcgate.errors import NotFound, PluginError, nearest
from hpcgate.model.codec import encode
from hpcgate.model.scheduler import Approximated, SchedulerInfo
from hpcgate.plugin.manager import PluginHost
from hpcgate.plugin.record import PluginRecord

Wire = dict[str, Any]


@click.group()
def plugin() -> None:
    """Look at plugins, or start one."""


@plugin.command("list")
@as_json
def list_plugins(as_json: bool) -> None:
    """List the plugins installed here, also broken ones.

    \b
    Example:
      hpcgate plugin list
    """
    records = [asdict(record) for record in _host().records]
    if as_json:
        print_json(records)
        return
    print_table(
        ("NAME", "VERSION", "KIND", "STATUS", "ABOUT"),
        [(r["name"], r["version"], r["kind"], r["status"], r["error"] or r["summary"]) for r in records],
    )


@plugin.command("show")
@click.argument("name")
@as_json
def show(name: str, as_json: bool) -> None:
    """Show what a plugin can do, and its settings.

    \b
    Example:
      hpcgate plugin show local
    """
    host = _host()
    record = _record(host, name)
    if record.status != "ok":
        raise PluginError(f"{record} is {record.status}: {record.error}")
    info = host.schedulers.get(name)
    if as_json:
        print_json(asdict(record) | (_scheduler_to_wire(info) if info else {}))
        return
    print_record([(key, value) for key, value in asdict(record).items() if key != "error"])
    if info:
        _print_scheduler(info)


@plugin.command("new")
@click.argument("name")
@click.option(
    "--kind",
    type=click.Choice(["scheduler", "dialect"]),
    default="scheduler",
    help="What it will be.",
    show_default=True,
)
@click.option(
    "--directory",
    "-d",
    type=click.Path(path_type=Path),
    help="Where to put it. Default: hpcgate-NAME or hpcgate-dialect-NAME here.",
)
def new(name: str, kind: str, directory: Path | None) -> None:
    """Start a plugin: a distribution that installs and passes the first tests.

    \b
    Examples:
      hpcgate plugin new lsf && pip install -e ./hpcgate-lsf
      hpcgate plugin new --kind dialect tickets && pip install -e ./hpcgate-dialect-tickets
    """
    from hpcgate.plugin.scaffold import create, distribution

    target = directory or Path(distribution(name, kind))
    create(name, target, kind)
    click.echo(target)


def _host() -> PluginHost:
    with log_briefly():
        return PluginHost.load()


def _record(host: PluginHost, name: str) -> PluginRecord:
    records = {record.name: record for record in host.records}
    if name not in records:
        raise NotFound(f"there is no plugin {name!r}{nearest(name, list(records))}")
    return records[name]


def _scheduler_to_wire(info: SchedulerInfo) -> Wire:
    return {
        "contract": info.contract,
        "capabilities": sorted(info.capabilities),
        "fields": {
            name: f"approximated: {support.how}" if isinstance(support, Approximated) else support
            for name, support in sorted(info.fields.items())
        },
        "settings": list(_settings(info.settings)),
    }


def _print_scheduler(info: SchedulerInfo) -> None:
    wire = _scheduler_to_wire(info)
    print_record([("contract", wire["contract"]), ("capabilities", wire["capabilities"])])
    click.echo()
    print_table(("FIELD OF A JOB", "TREATMENT"), wire["fields"].items())
    click.echo()
    print_table(
        ("SETTING", "TYPE", "DEFAULT", "MEANING"),
        [
            (s["name"], s["type"], "required" if s["required"] else clean(s["default"]), s["help"])
            for s in wire["settings"]
        ],
    )


def _settings(kind: type[Any]) -> Iterator[Wire]:
    hints = get_type_hints(kind)
    for item in fields(kind):
        required, default = _default(item)
        yield {
            "name": item.name,
            "type": _type_text(hints[item.name]),
            "required": required,
            "default": encode(default),
            "help": item.metadata.get("help", ""),
        }


def _default(item: Field[Any]) -> tuple[bool, Any]:
    if item.default is not MISSING:
        return False, item.default
    return (False, item.default_factory()) if item.default_factory is not MISSING else (True, None)


def _type_text(hint: Any) -> str:
    return (
        hint.__name__
        if isinstance(hint, type) and not hasattr(hint, "__origin__")
        else str(hint).replace("typing.", "")
    )
