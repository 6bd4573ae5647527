"""Lines of the report: what was measured, what the bare alternative takes, and what was promised."""

from __future__ import annotations

import json
import os
import platform
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Bare:
    """The same without hpcgate, or the least that anything could take."""

    name: str
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line.

    Args:
        name: what was measured.
        value: how much, in ``unit``.
        bare: alternatives, in the same unit.
        target: what was promised, in words; empty where nothing was.
        ok: whether the promise is kept; ``None`` where there is none.
        note: what else a reader should know.
    """

    name: str
    value: float
    unit: str
    bare: tuple[Bare, ...] = ()
    target: str = ""
    ok: bool | None = None
    note: str = ""

    def text(self) -> str:
        """The line as it is printed."""
        verdict = {None: "", True: "ok", False: "MISS"}[self.ok]
        first, *others = [_bare_text(self, each) for each in self.bare] or [""]
        lines = [f"{self.name:<62} {shown(self.value, self.unit):>12}  {first:<56} {self.target:<26} {verdict}"]
        lines += [f"{'':<62} {'':>12}  {other}" for other in others]
        if self.note:
            lines.append(f"{'':<4}{self.note}")
        return "\n".join(line.rstrip() for line in lines)


def _bare_text(line: Line, bare: Bare) -> str:
    ratio = f"x{line.value / bare.value:.2f}" if bare.value else "x-"
    return f"{bare.name} {shown(bare.value, line.unit)} ({ratio})"


def shown(value: float, unit: str) -> str:
    """A number with its unit, three significant digits."""
    digits = f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return f"{digits} {unit}"


@dataclass(slots=True)
class Report:
    """Prints lines as they come, and keeps them."""

    lines: list[Line] = field(default_factory=list)

    def head(self) -> None:
        """What the figures depend on."""
        load = " ".join(Path("/proc/loadavg").read_text().split()[:3])
        print(
            f"hpcgate bench, {time.strftime('%Y-%m-%d %H:%M UTC', time.gmtime())}, Python {platform.python_version()}, "
            f"{_cores()} cores, load {load}"
        )

    def title(self, text: str) -> None:
        """Begins a group of lines."""
        print(f"\n-- {text}", flush=True)

    def add(self, line: Line) -> None:
        """Prints a line."""
        self.lines.append(line)
        print(line.text(), flush=True)

    def close(self, took_s: float) -> None:
        """What is to be remembered of it all."""
        missed = [line.name for line in self.lines if line.ok is False]
        kept = sum(line.ok is True for line in self.lines)
        print(f"\n{kept} targets kept, {len(missed)} missed, {took_s:.0f} s", *missed, sep="\n  missed: ", flush=True)

    @property
    def missed(self) -> bool:
        """Whether any promise is broken."""
        return any(line.ok is False for line in self.lines)

    def write(self, path: Path) -> None:
        """The lines as JSON."""
        path.write_text(json.dumps([asdict(line) for line in self.lines], indent=1), encoding="utf-8")


def _cores() -> int:
    return len(os.sched_getaffinity(0))
