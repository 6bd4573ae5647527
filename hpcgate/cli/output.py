"""What commands print: tables for people, aligned columns for pipes, JSON for programs."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import click

if TYPE_CHECKING:
    from rich.table import Table

#: Escape sequences in what schedulers and jobs say must not reach a terminal.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_STYLES: Final = {
    "COMPLETED": "green",
    "FAILED": "red",
    "CANCELED": "yellow",
    "RUNNING": "bold cyan",
    "ok": "green",
    "broken": "red",
    "no": "red",
    "yes": "green",
}


def print_json(value: Any) -> None:
    """One JSON document on stdout."""
    click.echo(json.dumps(value, indent=2 if sys.stdout.isatty() else None, ensure_ascii=False))


def print_table(headers: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """A table that fits the terminal, or plain aligned columns that lose nothing when stdout is none."""
    if sys.stdout.isatty():
        from rich.console import Console

        Console().print(rich_table(headers, rows))
        return
    for line in plain_lines([list(headers), *([clean(cell) for cell in row] for row in rows)]):
        click.echo(line)


def rich_table(headers: Sequence[str], rows: Iterable[Sequence[Any]]) -> Table:
    """A table for a terminal; cells are text, never markup."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for header in headers:
        table.add_column(header, no_wrap=header in ("ID", "STATE"), overflow="fold")
    for row in rows:
        cells = [clean(cell) for cell in row]
        table.add_row(*(Text(cell, style=_STYLES.get(cell, "")) for cell in cells))
    return table


def print_record(pairs: Iterable[tuple[str, Any]]) -> None:
    """Names and values, one a line; those without a value are left out."""
    shown = [(name, clean(value)) for name, value in pairs if value not in (None, "", [], {}, False)]
    width = max((len(name) for name, _ in shown), default=0)
    for name, value in shown:
        click.echo(f"{click.style(f'{name:<{width}}', bold=sys.stdout.isatty())}  {value}")


def plain_lines(rows: Sequence[Sequence[str]]) -> Iterable[str]:
    """Rows as lines of columns two spaces apart."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()


def clean(value: Any) -> str:
    """A cell as text without control characters; ``-`` for nothing."""
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        value = ", ".join(f"{key}={item}" for key, item in value.items()) or "-"
    elif isinstance(value, (list, tuple)):
        value = ", ".join(str(item) for item in value) or "-"
    return _CONTROL.sub("?", str(value))


def note(text: str) -> None:
    """One line for people on stderr."""
    click.echo(f"hpcgate: {clean(text)}", err=True)


def local_time(wire: str | None) -> str | None:
    """A time of the wire form on this machine's clock, to the second."""
    if wire is None:
        return None
    return datetime.fromisoformat(wire).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def elapsed(job: Mapping[str, Any]) -> str | None:
    """How long a job, task or attempt has run, as ``[D-]HH:MM:SS``."""
    if job["started_at"] is None:
        return None
    end = datetime.fromisoformat(job["ended_at"]) if job["ended_at"] else datetime.now(UTC)
    return clock(max(0, int((end - datetime.fromisoformat(job["started_at"])).total_seconds())))


def clock(seconds: int) -> str:
    """A time span as ``[D-]HH:MM:SS``."""
    days, rest = divmod(seconds, 86_400)
    shown = f"{rest // 3600:02}:{rest // 60 % 60:02}:{rest % 60:02}"
    return f"{days}-{shown}" if days else shown


def size_text(count: float) -> str:
    """Bytes for people, in powers of 1024."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def outcome(job: Mapping[str, Any]) -> str | None:
    """How a job ended, in a few characters: ``exit 7``, ``signal 9 (OUT_OF_MEMORY)``, ``LOST``."""
    reason = job["reason"]
    if job["signal"]:
        return f"signal {job['signal']}" + (f" ({reason})" if reason not in (None, "SIGNALED") else "")
    if job["exit_code"] is not None:
        return f"exit {job['exit_code']}" + (f" ({reason})" if reason not in (None, "EXIT_NONZERO") else "")
    return str(reason) if reason else None
