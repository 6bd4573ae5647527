"""Arguments that several commands take, and the split of an argv at ``--``."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, TypeVar

import click

from hpcgate.cli.completion import complete_job_ids

F = TypeVar("F", bound=Callable[..., Any])

ID = click.IntRange(min=1)


def job_id(function: F) -> F:
    """The argument ``ID``."""
    return click.argument("job_id", metavar="ID", type=ID, shell_complete=complete_job_ids)(function)


def job_ids(function: F) -> F:
    """The arguments ``ID...``; ``-`` reads them from standard input, one a line."""
    decorated = click.argument(
        "job_ids", metavar="ID...", nargs=-1, required=True, callback=_ids, shell_complete=complete_job_ids
    )
    return decorated(function)


def as_json(function: F) -> F:
    """The option ``--json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(function)


def _ids(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> list[int]:
    texts = [word for value in values for word in (sys.stdin.read().split() if value == "-" else [value])]
    for text in texts:
        if not (text.isascii() and text.isdecimal() and int(text) > 0):
            raise click.BadParameter(f"{text!r} is no id of a job; ids are whole numbers from 1", ctx, param)
    return list(dict.fromkeys(map(int, texts)))


class CommandAfterDashes(click.Command):
    """A command whose arguments after ``--`` are a command line that is not its own: ``ctx.meta[AFTER_DASHES]``."""

    AFTER_DASHES = "hpcgate.after_dashes"

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:  # noqa: D102 - click's own
        if "--" in args:
            at = args.index("--")
            ctx.meta[self.AFTER_DASHES] = args[at + 1 :]
            args = args[:at]
        return super().parse_args(ctx, args)
