"""``HPCGATE_TRACE_HOOKS``: a log line for every hook call, with who was asked and what came of it."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import pluggy

_log = logging.getLogger("hpcgate.hooks")


def switch_on(manager: pluggy.PluginManager) -> None:
    """Logs every hook call of ``manager`` to the logger ``hpcgate.hooks``, level INFO."""

    def before(hook_name: str, impls: Sequence[pluggy.HookImpl], kwargs: Mapping[str, Any]) -> None:
        asked = ", ".join(impl.plugin_name for impl in reversed(impls)) or "nobody"
        _log.info("%s(%s) -> %s", hook_name, _arguments(kwargs), asked)

    def after(
        outcome: pluggy.Result[Any], hook_name: str, impls: Sequence[pluggy.HookImpl], kwargs: Mapping[str, Any]
    ) -> None:
        error = outcome.exception
        if error is None:
            _log.info("%s: %s", hook_name, type(outcome.get_result()).__name__)
        else:
            _log.info("%s: %s: %s", hook_name, type(error).__name__, error)

    manager.add_hookcall_monitoring(before, after)


def _arguments(kwargs: Mapping[str, Any]) -> str:
    """What a call is about: names, ids and counts alone. Specs hold what must not get into a log."""
    return ", ".join(f"{name}={_short(value)}" for name, value in kwargs.items())


def _short(value: object) -> str:
    if isinstance(value, (int, str)):
        return repr(value)
    if isinstance(value, (list, tuple)):
        return f"[{len(value)}]"
    for name in ("id", "name", "seq"):
        found = getattr(value, name, None)
        if isinstance(found, (int, str)):
            return f"{type(value).__name__} {found}"
    return type(value).__name__
