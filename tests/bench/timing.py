"""How long something takes."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any


def each_ms(count: int, call: Callable[[], Any], *, warm: int = 2) -> list[float]:
    """Wall-clock milliseconds of each of ``count`` calls, after ``warm`` that do not count."""
    for _ in range(warm):
        call()
    took = []
    for _ in range(count):
        began = time.perf_counter()
        call()
        took.append(1000 * (time.perf_counter() - began))
    return took


def median_ms(count: int, call: Callable[[], Any], *, warm: int = 2) -> float:
    """Median of ``each_ms``."""
    return median(each_ms(count, call, warm=warm))


def p95(values: Sequence[float]) -> float:
    """The value that 95 of 100 do not exceed."""
    return sorted(values)[max(0, math.ceil(0.95 * len(values)) - 1)]


def once_s(call: Callable[[], Any]) -> tuple[float, float]:
    """Wall-clock and CPU seconds (of this process) of one call."""
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - wall, time.process_time() - cpu


def until(condition: Callable[[], Any], timeout_s: float, *, every_s: float = 0.02) -> Any:
    """Waits for a condition; its value once it is true.

    Raises:
        TimeoutError: it did not become true.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        if value := condition():
            return value
        if time.monotonic() > deadline:
            raise TimeoutError(f"not so after {timeout_s:g} s: {condition.__name__}")
        time.sleep(every_s)
