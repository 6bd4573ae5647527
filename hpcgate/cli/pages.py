"""Pages of a list: the options that say how much of it is wanted, and the reading of so much."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any

import click

from hpcgate.cli.backend import Wire
from hpcgate.cli.output import note
from hpcgate.model.query import DEFAULT_LIMIT, MAX_LIMIT


@dataclass(frozen=True, slots=True)
class Pages:
    """How much of a list is wanted.

    Args:
        limit: most items, unless everything is wanted.
        cursor: where the last page ended; ``None`` = from the beginning.
        everything: all pages.
    """

    limit: int
    cursor: str | None
    everything: bool

    def read(self, page: Callable[[str | None, int], tuple[list[Wire], str | None]]) -> tuple[list[Wire], str | None]:
        """The items that are wanted, and where to go on; ``None`` = there are no more.

        Args:
            page: reads one, from a cursor on and with at most so many items.
        """
        items, cursor = page(self.cursor, MAX_LIMIT if self.everything else self.limit)
        while self.everything and cursor is not None:
            more, cursor = page(cursor, MAX_LIMIT)
            items += more
        return items, cursor


def paged(what: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Adds the options of pages to a command, which gets them as ``pages``."""
    options = (
        click.option(
            "--limit",
            "-n",
            type=click.IntRange(1, MAX_LIMIT),
            default=DEFAULT_LIMIT,
            show_default=True,
            help=f"Most {what} to list.",
        ),
        click.option("--cursor", metavar="TEXT", help="Go on where the last page ended."),
        click.option("--all", "everything", is_flag=True, help="List all that match, not one page."),
    )

    def add(function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def command(*args: Any, limit: int, cursor: str | None, everything: bool, **rest: Any) -> Any:
            return function(*args, pages=Pages(limit, cursor, everything), **rest)

        for option in reversed(options):
            command = option(command)
        return command

    return add


def tell_of_more(cursor: str | None) -> None:
    """Says how to go on, if there is more."""
    if cursor is not None:
        note(f"there are more; go on with --cursor {cursor}, or see them all with --all")
