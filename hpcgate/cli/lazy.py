"""A click group that imports a command when it is used, so that a quick one starts quickly."""

# ruff: noqa: D102 - the methods are click's own

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import click

from hpcgate.errors import nearest


@dataclass(frozen=True, slots=True)
class Entry:
    """A command that has not been imported.

    Args:
        module: where it is defined.
        attribute: its name there.
        help: its line in the list of commands (a test compares it with the command's own).
    """

    module: str
    attribute: str
    help: str


class LazyGroup(click.Group):
    """A group whose commands stand in a table.

    Args:
        sections: heading -> command name -> where it is.
        more: finds further commands (of plugins); called only when help is shown or a name is unknown.
    """

    def __init__(
        self,
        *args: Any,
        sections: Mapping[str, Mapping[str, Entry]],
        more: Callable[[], Mapping[str, click.Command]] = dict,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self._sections = sections
        self._entries = {name: entry for section in sections.values() for name, entry in section.items()}
        self._more = more

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*self._entries, *sorted(self._extra())]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = self._entries.get(cmd_name)
        if entry is None:
            return self._extra().get(cmd_name)
        command = getattr(import_module(entry.module), entry.attribute)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            raise click.UsageError(f"no such command {args[0]!r}{nearest(args[0], self.list_commands(ctx))}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for heading, section in self._sections.items():
            _write(formatter, heading, [(name, entry.help) for name, entry in section.items()])
        extra = [(name, command.get_short_help_str()) for name, command in sorted(self._extra().items())]
        _write(formatter, "Commands of plugins", extra)

    def _extra(self) -> Mapping[str, click.Command]:
        return {name: command for name, command in self._more().items() if name not in self._entries}


def _write(formatter: click.HelpFormatter, heading: str, rows: Sequence[tuple[str, str]]) -> None:
    if rows:
        with formatter.section(heading):
            formatter.write_dl(rows)
