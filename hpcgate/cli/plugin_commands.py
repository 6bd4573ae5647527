"""Commands that installed plugins bring along."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import cache

import click

from hpcgate.cli.log import log_briefly

_log = logging.getLogger(__name__)


@cache
def plugin_commands() -> Mapping[str, click.Command]:
    """By name. Loading every plugin takes time, so this is asked only when nothing else answers to a name."""
    from hpcgate.plugin.manager import PluginHost

    found: dict[str, click.Command] = {}
    with log_briefly():
        for command in PluginHost.load().commands():
            if isinstance(command, click.Command) and command.name:
                found[command.name] = command
            else:
                _log.warning("a plugin registered %r, which is no click command with a name; it is left out", command)
    return found
