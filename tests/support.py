"""What several test folders use: people, and waiting for conditions."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hpcgate.errors import HpcgateError, InvalidSpec, QuotaExceeded
from hpcgate.model.principal import Principal, Role

ANN = Principal(name="ann")
BOB = Principal(name="bob")
ROOT = Principal(name="root", roles=frozenset({Role.ADMIN, Role.USER}))


def eventually(condition: Callable[[], Any], timeout_s: float = 20.0) -> Any:
    """Waits for a condition; its value once it is true. What takes long is looked at less and less often."""
    deadline, pause_s = time.monotonic() + timeout_s, 0.01
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"still {value!r} after {timeout_s} s"
        time.sleep(pause_s)
        pause_s = min(pause_s * 1.1, 0.1)


def made(kind: type[HpcgateError]) -> HpcgateError:
    """An error of a class."""
    if kind is InvalidSpec:
        return InvalidSpec([])
    if kind is QuotaExceeded:
        return QuotaExceeded("x", project="p", quota="time", asked=2, left=1)
    return kind("x")


def is_stopped(pid: int) -> None:
    """Waits until a process was stopped by a signal."""
    eventually(lambda: Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T", 60)
