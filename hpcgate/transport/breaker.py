"""When a host that cannot be reached is asked again."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Final

from hpcgate.errors import TransportError

#: Failed connections in a row after which calls fail at once.
THRESHOLD: Final = 3
FIRST_PAUSE_S: Final = 2.0
LONGEST_PAUSE_S: Final = 60.0


class Breaker:
    """A circuit breaker. After ``threshold`` failures in a row nobody tries until a pause is over; then one may.

    Pauses double and vary by half of their length, so that many gateways do not come back at the same moment.
    A refusal that will not get better by itself (a wrong key, an unknown host) counts as ``threshold`` failures:
    hosts lock out those who keep knocking.

    Args:
        threshold: failures in a row that open it.
        clock: seconds, monotonic.
        vary: a number between its two arguments.
    """

    def __init__(
        self,
        *,
        threshold: int = THRESHOLD,
        clock: Callable[[], float] = time.monotonic,
        vary: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._threshold = threshold
        self._clock = clock
        self._vary = vary
        self._failures = 0
        self._pauses = 0
        self._until = 0.0
        self._error: TransportError | None = None

    @property
    def is_open(self) -> bool:
        """Whether calls fail at once."""
        return self._error is not None and self._clock() < self._until

    def check(self) -> None:
        """Lets a call pass.

        Raises:
            TransportError: the last failure, while the pause lasts.
        """
        left_s = self._until - self._clock()
        if self._error is not None and left_s > 0:
            raise TransportError(
                f"{self._error.message} (not tried again for {left_s:.0f} s)", transient=self._error.transient
            )

    def failed(self, error: TransportError) -> None:
        """Counts a failed connection."""
        self._failures += self._threshold if not error.transient else 1
        if self._failures < self._threshold:
            return
        pause_s = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2**self._pauses)
        self._pauses = min(self._pauses + 1, 16)
        self._error = error
        self._until = self._clock() + self._vary(0.5 * pause_s, 1.5 * pause_s)

    def succeeded(self) -> None:
        """Starts anew."""
        self._failures, self._pauses, self._error = 0, 0, None

    def retry_delay_s(self) -> float:
        """How long to wait before the next of the few tries that are made before it opens."""
        return self._vary(0.5, 1.5) * 0.1 * float(2**self._failures)
