"""``PluginHost``: finds plugins, checks each by itself, and keeps those that are good.

A plugin that cannot be loaded or breaks the contract is recorded with its name and version and takes part in nothing;
the others do not notice. A host belongs to a gateway; there is none at module level.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Final, Self

import pluggy

from hpcgate.errors import ConfigError, PluginError, nearest
from hpcgate.hookspecs import PROJECT
from hpcgate.model.scheduler import SchedulerInfo
from hpcgate.model.site import Site
from hpcgate.plugin import checks, discovery, trace
from hpcgate.plugin.answers import AnswerRecorder
from hpcgate.plugin.discovery import Candidate
from hpcgate.plugin.record import PluginRecord
from hpcgate.transport.base import Transport

_log = logging.getLogger(__name__)

GROUP: Final = "hpcgate"
Opener = Callable[[Site, str | None], Transport]


class PluginHost:
    """The plugins of one gateway. Made by ``load``; nothing is added later.

    Attributes:
        manager: pluggy's. Only ``plugin.lifecycle`` calls hooks on it, but for those that register something.
        answers: what schedulers answered to submits, kept where no wrapper can lose it.
    """

    def __init__(self) -> None:
        self.manager = checks.new_manager()
        self.answers = AnswerRecorder()
        self._records: list[PluginRecord] = []
        self._schedulers: dict[str, SchedulerInfo] = {}
        self._transports: dict[str, Opener] | None = None

    @classmethod
    def load(
        cls,
        *,
        group: str = GROUP,
        extra: Sequence[tuple[str, object]] = (),
        environ: Mapping[str, str] = os.environ,
    ) -> Self:
        """Loads what is installed.

        Args:
            group: entry-point group.
            extra: (name, plugin) pairs besides; they take the place of installed plugins of the same name.
            environ: ``HPCGATE_LOAD_PLUGINS`` and ``HPCGATE_BLOCK_PLUGINS`` (plugins or distributions, separated by
                commas; neither touches ``extra``), ``HPCGATE_TRACE_HOOKS``.
        """
        host = cls()
        candidates = discovery.find(group, extra)
        given = {name for name, _ in extra}
        chosen = [each for each in candidates if not host._blocked(each, given, environ)]
        doubled = {name for name, count in Counter(each.name for each in chosen).items() if count > 1}
        for candidate in chosen:
            if candidate.name in doubled:
                host._broken(candidate, _doubled_message(candidate, chosen))
            else:
                host._load_one(candidate)
        # Last, so that it is the innermost of all wrappers, also of those that ask to be.
        host.manager.register(host.answers, "hpcgate-answers")
        if environ.get("HPCGATE_TRACE_HOOKS"):
            trace.switch_on(host.manager)
        return host

    # --- what there is ----------------------------------------------------------------------------------------------

    @property
    def records(self) -> tuple[PluginRecord, ...]:
        """Every plugin that was found, by name."""
        return tuple(sorted(self._records, key=lambda record: (record.name, record.distribution or "")))

    @property
    def schedulers(self) -> Mapping[str, SchedulerInfo]:
        """The schedulers that can be used, by name."""
        return MappingProxyType(self._schedulers)

    def scheduler(self, name: str) -> SchedulerInfo:
        """What a scheduler says of itself.

        Raises:
            PluginError: it is installed, but broken.
            ConfigError: it is not installed, blocked, or no scheduler.
        """
        if name in self._schedulers:
            return self._schedulers[name]
        records = [record for record in self.records if record.name == name]
        for record in records:
            if record.status == "broken":
                raise PluginError(f"{record} is broken: {record.error}")
        if records:
            raise ConfigError(f"{records[0]} is {records[0].error or 'no scheduler'}")
        raise ConfigError(f"scheduler '{name}' is not installed{nearest(name, list(self._schedulers))}")

    def record(self, plugin: object) -> PluginRecord | None:
        """The record of a loaded plugin object."""
        name = self.manager.get_name(plugin)
        return next((record for record in self._records if record.name == name and record.status == "ok"), None)

    def has_listeners(self, hook_name: str) -> bool:
        """Whether any plugin implements a hook, e.g. ``"job_state_changed"``."""
        full = hook_name if hook_name.startswith(f"{PROJECT}_") else f"{PROJECT}_{hook_name}"
        return bool(self.implementations(full))

    # --- what plugins register --------------------------------------------------------------------------------------

    def transports(self) -> Mapping[str, Opener]:
        """Transports that plugins bring: name -> how one is opened for a site and an account."""
        if self._transports is None:
            self._transports = dict(self._collect("hpcgate_register_transports"))
        return self._transports

    def dialects(self) -> tuple[Any, ...]:
        """Dialects that plugins bring."""
        return tuple(item for (item,) in self._collect("hpcgate_register_dialects"))

    def commands(self) -> tuple[Any, ...]:
        """CLI commands that plugins bring."""
        return tuple(item for (item,) in self._collect("hpcgate_register_commands"))

    def _collect(self, hook_name: str) -> list[tuple[Any, ...]]:
        """What each plugin passes to ``register``; of one that fails, nothing."""
        collected: list[tuple[Any, ...]] = []
        for plugin, call in self.each(hook_name):
            mine: list[tuple[Any, ...]] = []
            try:
                call(register=lambda *items, mine=mine: mine.append(items))
            except Exception as error:  # noqa: BLE001 - one plugin's bug must not stop the others
                self._spoil(plugin, f"{hook_name}: {type(error).__name__}: {error}")
                _log.exception("%s of %s failed", hook_name, self.manager.get_name(plugin))
            else:
                collected.extend(mine)
        return collected

    def each(self, hook_name: str) -> list[tuple[object, Callable[..., Any]]]:
        """The plugins that implement a hook, in calling order, each with a caller that reaches it alone."""
        plugins = list(dict.fromkeys(impl.plugin for impl in reversed(self.implementations(hook_name))))
        return [
            (plugin, self.manager.subset_hook_caller(hook_name, [other for other in plugins if other is not plugin]))
            for plugin in plugins
        ]

    def implementations(self, hook_name: str) -> list[pluggy.HookImpl]:
        """All implementations of a hook, wrappers included; the last is called first."""
        caller: pluggy.HookCaller = getattr(self.manager.hook, hook_name)
        return caller.get_hookimpls()

    # --- loading ----------------------------------------------------------------------------------------------------

    def _blocked(self, candidate: Candidate, given: set[str], environ: Mapping[str, str]) -> bool:
        if candidate.distribution is None:
            return False
        why = discovery.selected({candidate.name, candidate.distribution}, environ)
        if why is None and candidate.name in given:
            why = "the caller gave another plugin of this name"
        if why is not None:
            self._records.append(_record(candidate, "blocked", f"blocked: {why}"))
        return why is not None

    def _load_one(self, candidate: Candidate) -> None:
        try:
            plugin = candidate.load()
            checked = checks.register(self.manager, candidate.name, plugin)
        except checks.BrokenPlugin as error:
            self._broken(candidate, str(error))
            return
        except (Exception, SystemExit) as error:  # noqa: BLE001 - importing a plugin may raise anything
            _log.debug("plugin '%s' cannot be loaded", candidate.name, exc_info=True)
            self._broken(candidate, f"{type(error).__name__}: {error}")
            return
        record = _record(candidate, "ok", None)
        record = replace(record, kind=checked.kind, summary=_summary(plugin))
        if checked.info is not None:
            self._schedulers[candidate.name] = checked.info
            version = candidate.version or checked.info.version
            record = replace(record, version=version, summary=checked.info.summary)
        else:
            _warn_of_hijack(record, checked.plain)
        self._records.append(record)

    def _broken(self, candidate: Candidate, error: str) -> None:
        record = _record(candidate, "broken", error)
        _log.warning("%s is broken and was left out: %s", record, error)
        self._records.append(record)

    def _spoil(self, plugin: object, error: str) -> None:
        for at, record in enumerate(self._records):
            if record is self.record(plugin):
                self._records[at] = replace(record, status="broken", error=error)


def _record(candidate: Candidate, status: Any, error: str | None) -> PluginRecord:
    version = candidate.version or "unknown"
    return PluginRecord(
        name=candidate.name,
        version=version,
        distribution=candidate.distribution,
        kind="other",
        status=status,
        error=error,
    )


def _doubled_message(candidate: Candidate, chosen: Sequence[Candidate]) -> str:
    others = [each for each in chosen if each.name == candidate.name and each is not candidate]
    named = ", ".join(
        f"{each.distribution or 'one given by the caller'} {each.version or ''}".strip() for each in others
    )
    return f"another plugin has the same name ({named}); uninstall one, or name one in HPCGATE_BLOCK_PLUGINS"


def _summary(plugin: object) -> str:
    lines = (getattr(plugin, "__doc__", None) or "").strip().splitlines()
    return lines[0] if lines else ""


def _warn_of_hijack(record: PluginRecord, plain: Sequence[str]) -> None:
    for hook in sorted(checks.ADDRESSED.intersection(plain)):
        _log.warning("%s is no scheduler, so its %s is never called; it may only wrap it", record, hook)
