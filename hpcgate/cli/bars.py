"""Tables of numbers, with a bar for each line where there is a terminal to draw it on."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import click

from hpcgate.cli.output import clean

#: No bar is shorter; below that a terminal is too narrow for bars.
_SHORTEST: Final = 8


@dataclass(frozen=True, slots=True)
class Column:
    """A column.

    Args:
        right: whether its cells end, rather than begin, under each other.
    """

    title: str
    right: bool = False


def print_bars(
    columns: Sequence[Column], rows: Sequence[Sequence[str]], parts: Sequence[float | None], title: str
) -> None:
    """A table whose lines end with bars on a terminal; plain aligned columns elsewhere.

    Args:
        columns: the columns.
        rows: a cell for each of them.
        parts: how long the bar of each row is, from 0 to 1; ``None`` = it has none.
        title: of the bars.
    """
    lines = [[each.title for each in columns], *([clean(cell) if cell else "" for cell in row] for row in rows)]
    if sys.stdout.isatty():
        _draw(columns, lines[1:], parts, title)
        return
    widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
    for line in lines:
        cells = [
            cell.rjust(width) if column.right else cell.ljust(width)
            for column, cell, width in zip(columns, line, widths, strict=True)
        ]
        click.echo("  ".join(cells).rstrip())


def _draw(columns: Sequence[Column], rows: Sequence[Sequence[str]], parts: Sequence[float | None], title: str) -> None:
    from rich.bar import Bar
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0), expand=True)
    for column in columns:
        table.add_column(
            column.title, justify="right" if column.right else "left", overflow="fold", no_wrap=column.right
        )
    table.add_column(title, ratio=1, min_width=_SHORTEST)
    for row, part in zip(rows, parts, strict=True):
        bar = Text("") if part is None else Bar(1.0, 0.0, part, color="cyan")
        table.add_row(*map(Text, row), bar)
    console.print(table)
