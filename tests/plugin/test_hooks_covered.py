"""Every hook of the contract is callable through a typed method and tested."""

import inspect
from pathlib import Path

import pytest

from hpcgate import hookspecs
from hpcgate.plugin.lifecycle import Lifecycle
from hpcgate.plugin.manager import PluginHost
from hpcgate.scheduler.base import Scheduler

HOOKS = sorted(name for name in vars(hookspecs) if name.startswith("hpcgate_"))
REGISTRATION = {
    "hpcgate_scheduler_info": PluginHost.scheduler,
    "hpcgate_register_transports": PluginHost.transports,
    "hpcgate_register_dialects": PluginHost.dialects,
    "hpcgate_register_commands": PluginHost.commands,
}
ADDRESSED = [name for name in HOOKS if getattr(hookspecs, name).hpcgate_spec["firstresult"]]


def test_there_are_hooks():
    assert len(HOOKS) == 24


@pytest.mark.parametrize("hook", HOOKS)
def test_hook_has_a_typed_method(hook):
    method = REGISTRATION.get(hook) or getattr(Lifecycle, hook.removeprefix("hpcgate_"))
    hints = inspect.get_annotations(method)
    assert set(hints) == {*inspect.signature(method).parameters, "return"} - {"self"}
    if hook not in REGISTRATION:
        assert len(inspect.signature(method).parameters) - 1 == len(
            inspect.signature(getattr(hookspecs, hook)).parameters
        )


@pytest.mark.parametrize("hook", HOOKS)
def test_hook_has_a_test(hook):
    here = Path(__file__).parent
    tests = (here / "test_lifecycle.py").read_text() + (here / "test_manager.py").read_text()
    assert f"def test_hook_{hook.removeprefix('hpcgate_')}(" in tests


@pytest.mark.parametrize("hook", HOOKS)
def test_hook_says_when_it_is_called(hook):
    assert inspect.getdoc(getattr(hookspecs, hook)).startswith("Called ")


@pytest.mark.parametrize("hook", [*ADDRESSED, "hpcgate_scheduler_info"])
def test_scheduler_base_has_the_hook_with_the_same_arguments(hook):
    wanted = list(inspect.signature(getattr(hookspecs, hook)).parameters)
    assert list(inspect.signature(getattr(Scheduler, hook)).parameters)[1:] == wanted
    if "site" in wanted:
        assert wanted[0] == "site"
    if "transport" in wanted:
        assert wanted[-1] == "transport"
