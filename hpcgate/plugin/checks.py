"""What a plugin must fulfil to take part; one that does not leaves no trace in the manager."""

from __future__ import annotations

from dataclasses import dataclass, is_dataclass
from typing import Any, Final

import pluggy

from hpcgate import hookspecs
from hpcgate.model.scheduler import CONTRACT_VERSION, SchedulerInfo
from hpcgate.plugin.record import Kind

#: Hooks that every scheduler has; the others are capabilities.
CORE: Final = (
    "hpcgate_scheduler_info",
    "hpcgate_render_script",
    "hpcgate_submit_job",
    "hpcgate_submit_jobs",
    "hpcgate_poll_jobs",
    "hpcgate_find_by_key",
    "hpcgate_cancel_jobs",
)
#: Hooks that reach one scheduler alone.
ADDRESSED: Final = frozenset(
    name
    for name, spec in vars(hookspecs).items()
    if getattr(spec, f"{hookspecs.PROJECT}_spec", None) and getattr(spec, f"{hookspecs.PROJECT}_spec")["firstresult"]
)


class BrokenPlugin(Exception):
    """The plugin does not keep the contract; the message says what it breaks."""


@dataclass(frozen=True, slots=True)
class Checked:
    """What a good plugin turned out to be.

    Args:
        kind: what it brings.
        info: what it says of itself, if it is a scheduler.
        plain: the hooks that it implements and does not wrap.
    """

    kind: Kind
    info: SchedulerInfo | None
    plain: tuple[str, ...]


def new_manager() -> pluggy.PluginManager:
    """A plugin manager that knows the hooks and no plugin."""
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    return manager


def register(manager: pluggy.PluginManager, name: str, plugin: object) -> Checked:
    """Registers a plugin that keeps the contract, and no other.

    Args:
        manager: where to.
        name: of its entry point.
        plugin: the object that the entry point names.

    Raises:
        BrokenPlugin: it breaks the contract.
        Exception: whatever its ``hpcgate_scheduler_info`` raises.
    """
    if isinstance(plugin, type):
        raise BrokenPlugin(f"the entry point names the class {plugin.__name__}; it must name an instance of it")
    try:
        hash(plugin)
    except TypeError:
        raise BrokenPlugin("the plugin object is not hashable") from None
    if manager.is_registered(plugin):
        raise BrokenPlugin(f"it is the same object as plugin '{manager.get_name(plugin)}'")
    try:
        manager.register(plugin, name)
        manager.check_pending()
        return _check(manager, name, plugin)
    except pluggy.PluginValidationError as error:
        _unregister(manager, plugin)
        raise BrokenPlugin(" ".join(str(error).split())) from error
    except BaseException:
        _unregister(manager, plugin)
        raise


def _unregister(manager: pluggy.PluginManager, plugin: object) -> None:
    if manager.is_registered(plugin):
        manager.unregister(plugin)


def _check(manager: pluggy.PluginManager, name: str, plugin: object) -> Checked:
    implemented = {
        caller.name: next(impl for impl in caller.get_hookimpls() if impl.plugin is plugin)
        for caller in manager.get_hookcallers(plugin) or ()
    }
    if not implemented:
        raise BrokenPlugin("it implements no hook; are its functions marked with @hookimpl?")
    plain = tuple(hook for hook, impl in implemented.items() if not wraps(impl))
    if "hpcgate_scheduler_info" not in plain:
        return Checked("dialect" if "hpcgate_register_dialects" in plain else "other", None, plain)
    info: Any = implemented["hpcgate_scheduler_info"].function()
    _check_info(name, info)
    if missing := [hook for hook in CORE if hook not in plain]:
        raise BrokenPlugin(f"every scheduler implements {missing[0]}; this one does not")
    return Checked("scheduler", info, plain)


def wraps(impl: pluggy.HookImpl) -> bool:
    """Whether an implementation wraps the others of its hook."""
    return impl.wrapper or impl.hookwrapper


def _check_info(name: str, info: object) -> None:
    if not isinstance(info, SchedulerInfo):
        raise BrokenPlugin(f"hpcgate_scheduler_info returned {type(info).__name__}, not SchedulerInfo")
    if info.name != name:
        raise BrokenPlugin(f"its entry point is named '{name}', but it calls itself '{info.name}'")
    if info.contract.partition(".")[0] != CONTRACT_VERSION.partition(".")[0]:
        raise BrokenPlugin(f"it was written for hook contract {info.contract}; this hpcgate has {CONTRACT_VERSION}")
    if not is_dataclass(info.settings):
        raise BrokenPlugin(f"its settings must be a dataclass, not {info.settings!r}")
