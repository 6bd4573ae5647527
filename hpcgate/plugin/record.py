"""What is known of each plugin that was found, loadable or not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["scheduler", "dialect", "other"]
Status = Literal["ok", "broken", "blocked"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginRecord:
    """One plugin.

    Args:
        name: of its entry point.
        version: of its distribution; ``"unknown"`` where there is none.
        distribution: that it came with; ``None`` for one that was given by the caller.
        kind: what it brings, as far as it could be loaded.
        status: ``broken`` and ``blocked`` ones take part in nothing.
        error: why it is not ``ok``.
        summary: one line about it.
    """

    name: str
    version: str
    distribution: str | None
    kind: Kind
    status: Status
    error: str | None = None
    summary: str = ""

    def __str__(self) -> str:
        return f"plugin '{self.name}' {self.version}"
