"""``[dialects.bsp.settings]``: which systems there are, by the names that clients know."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from hpcgate.errors import FieldError, InvalidSpec

_HPC: Final = re.compile(r"[A-Z0-9_-]{1,64}\Z")
_TOOL: Final = re.compile(r"[A-Z0-9_]{1,64}\Z")


class Kind(StrEnum):
    """What jobs of a system are: a command line beside a file, or a tool that is run on what is in a zip."""

    COMMAND = "command"
    TOOL = "tool"


def _help(text: str, **default: Any) -> Any:
    return field(metadata={"help": text}, **default)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hpc:
    """``[dialects.bsp.settings.hpc.NAME]``"""

    site: str = _help("the site where its jobs run")
    kind: Kind = _help("`command` (as Piz Daint was) or `tool` (as NSG is)")
    projects: tuple[str, ...] = _help("projects of `[projects]` that its users see")
    default_project: str | None = _help("of jobs that name none", default=None)
    title: str | None = _help("its name for people. Default: NAME", default=None)
    tools: Mapping[str, str] = _help(
        "of kind `tool`: what runs the start file, by the name of the tool", default_factory=dict
    )
    shell: str = _help("of kind `command`: what runs the command line, by its `-c`", default="/bin/bash")
    max_nodes: int | None = _help("largest `node_number`", default=None)
    min_cores: int | None = _help("smallest `core_number`", default=None)
    max_cores: int | None = _help("largest `core_number`", default=None)
    max_hours: float | None = _help("largest `runtime`, hours", default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """``[dialects.bsp.settings]``

    ``hpc`` has upper-case names, however the file writes them.
    """

    hpc: Mapping[str, Hpc] = _help("the systems, by name")

    def __post_init__(self) -> None:
        errors = list(_errors(self.hpc))
        if errors:
            raise InvalidSpec(errors)
        object.__setattr__(self, "hpc", {name.upper(): hpc for name, hpc in self.hpc.items()})


def _errors(systems: Mapping[str, Hpc]) -> Iterator[FieldError]:
    if not systems:
        yield FieldError("hpc", "names no system; give at least one table [dialects.bsp.settings.hpc.NAME]")
    seen: set[str] = set()
    for name, hpc in systems.items():
        at = f"hpc.{name}"
        if not _HPC.match(name.upper()):
            yield FieldError(at, f"{name!r} is no name; letters, digits, _ and -, at most 64")
        if name.upper() in seen:
            yield FieldError(at, "is named twice; upper and lower case are the same")
        seen.add(name.upper())
        yield from _errors_of(at, hpc)


def _errors_of(at: str, hpc: Hpc) -> Iterator[FieldError]:
    if not hpc.projects:
        yield FieldError(f"{at}.projects", "is empty; name at least one of [projects]")
    if hpc.default_project is not None and hpc.default_project not in hpc.projects:
        yield FieldError(f"{at}.default_project", f"{hpc.default_project!r} is none of its projects")
    if (hpc.kind is Kind.TOOL) != bool(hpc.tools):
        wanted = "is required of kind 'tool'" if hpc.kind is Kind.TOOL else "goes with kind 'tool' only"
        yield FieldError(f"{at}.tools", wanted)
    for tool, interpreter in hpc.tools.items():
        if not _TOOL.match(tool):
            yield FieldError(f"{at}.tools", f"{tool!r} is no name of a tool; upper-case letters, digits and _")
        if not _is_command(interpreter):
            yield FieldError(f"{at}.tools.{tool}", f"{interpreter!r} is no command such as 'python3'")
    for name in ("max_nodes", "min_cores", "max_cores", "max_hours"):
        value = getattr(hpc, name)
        if value is not None and value <= 0:
            yield FieldError(f"{at}.{name}", f"must be more than 0, not {value:g}")


def _is_command(text: str) -> bool:
    try:
        return bool(shlex.split(text))
    except ValueError:
        return False
