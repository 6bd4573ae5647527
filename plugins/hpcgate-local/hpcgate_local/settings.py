"""The ``[sites.NAME.settings]`` table of a local site."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass, field
from typing import Any, Final

from hpcgate.errors import FieldError, InvalidSpec
from hpcgate.model.site import Site

_LEAST: Final = {"cpus": 1, "memory_mib": 1, "kill_grace_s": 0, "linger_s": 0, "keep_s": 1, "history_days": 1}


def _help(text: str, default: Any) -> Any:
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalSettings:
    """``[sites.NAME.settings]``"""

    cpus: int | None = _help("cores that jobs may take together. Default: all of the machine", None)
    memory_mib: int | None = _help("memory that jobs may ask for together, MiB. Default: the machine's", None)
    spool: str | None = _help("folder of the queue, on a local file system. Default: `WORK_ROOT/.spool`", None)
    environment: tuple[str, ...] = _help(
        "variables of the gateway that jobs get beside HOME USER LOGNAME SHELL PATH LANG LC_* TZ TMPDIR", ()
    )
    kill_grace_s: float = _help("time between TERM and KILL when a job is ended, seconds", 10.0)
    linger_s: float = _help("how long the spooler stays when nothing is left to do, seconds", 30.0)
    keep_s: float = _help("how long ended jobs stay in the listing, seconds", 300.0)
    history_days: float = _help("how long the queue remembers ended jobs, days", 30.0)

    def __post_init__(self) -> None:
        errors = [
            FieldError(f"settings.{name}", f"{value} is out of range; it must be at least {least:g}")
            for name, least in _LEAST.items()
            if (value := getattr(self, name)) is not None and value < least
        ]
        if self.spool is not None and not self.spool.startswith(("/", "~/")):
            errors.append(FieldError("settings.spool", f"{self.spool!r} is neither absolute nor below ~/"))
        if errors:
            raise InvalidSpec(errors)

    @classmethod
    def of(cls, site: Site) -> LocalSettings:
        """The settings of a site."""
        assert isinstance(site.settings, cls), f"site {site.name} has settings of another plugin"
        return site.settings

    def spool_folder(self, site: Site) -> str:
        """Where the queue of a site is: absolute, or below ``~/``."""
        if self.spool is not None:
            return self.spool
        # A queue is one account's: where several have their folders side by side, each has it at home.
        alone = site.identity.mode == "service" or site.work_root.startswith("~/")
        return posixpath.join(site.work_root if alone else f"~/.hpcgate/{site.name}", ".spool")
