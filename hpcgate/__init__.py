"""hpcgate: one way to run work on any batch system, and one record of what became of it.

The names below are loaded when they are first used, so that ``import hpcgate`` costs next to nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hpcgate.config import Config, load_config
    from hpcgate.gateway import Gateway, open_gateway
    from hpcgate.hookspecs import hookimpl
    from hpcgate.model.job import Job
    from hpcgate.model.principal import Principal
    from hpcgate.model.spec import JobSpec, Resources
    from hpcgate.model.state import JobState, Reason

__version__ = "0.1.0"

_HOME = {
    "Config": "hpcgate.config",
    "Gateway": "hpcgate.gateway",
    "Job": "hpcgate.model.job",
    "JobSpec": "hpcgate.model.spec",
    "JobState": "hpcgate.model.state",
    "Principal": "hpcgate.model.principal",
    "Reason": "hpcgate.model.state",
    "Resources": "hpcgate.model.spec",
    "hookimpl": "hpcgate.hookspecs",
    "load_config": "hpcgate.config",
    "open_gateway": "hpcgate.gateway",
}

__all__ = [
    "Config",
    "Gateway",
    "Job",
    "JobSpec",
    "JobState",
    "Principal",
    "Reason",
    "Resources",
    "hookimpl",
    "load_config",
    "open_gateway",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'hpcgate' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value
