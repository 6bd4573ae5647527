"""Arguments that several commands take, and the split of an argv at ``--``."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import click

from hpcgate.cli.completion import complete_job_ids
from hpcgate.errors import InvalidSpec
from hpcgate.model.spec import indices_of

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


@dataclass(frozen=True, slots=True)
class Target:
    """A job, or some tasks of an array.

    Args:
        indices: of the tasks; empty = the whole job.
    """

    job_id: int
    indices: tuple[int, ...] = ()


def targets(*, required: bool) -> Callable[[F], F]:
    """The arguments ``ID[INDICES]...``; ``-`` reads them from standard input, one a line."""
    return click.argument(
        "targets",
        metavar="ID[INDICES]...",
        nargs=-1,
        required=required,
        callback=_targets,
        shell_complete=complete_job_ids,
    )


def as_json(function: F) -> F:
    """The option ``--json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(function)


def _words(values: tuple[str, ...]) -> list[str]:
    return [word for value in values for word in (sys.stdin.read().split() if value == "-" else [value])]


def _targets(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> list[Target]:
    found = []
    for text in _words(values):
        number, bracket, rest = text.partition("[")
        _check_id(number if not bracket or rest.endswith("]") else text, ctx, param)
        try:
            found.append(Target(int(number), indices_of(rest[:-1]) if bracket else ()))
        except InvalidSpec as error:
            raise click.BadParameter(error.errors[0].message, ctx, param) from None
    return list(dict.fromkeys(found))


def _check_id(text: str, ctx: click.Context, param: click.Parameter) -> None:
    if not (text.isascii() and text.isdecimal() and int(text) > 0):
        raise click.BadParameter(f"{text!r} is no id of a job; ids are whole numbers from 1", ctx, param)


def _ids(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> list[int]:
    texts = _words(values)
    for text in texts:
        _check_id(text, ctx, param)
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
