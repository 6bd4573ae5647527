"""Ctrl-C and SIGTERM while a job is followed: they must reach the job too."""

from __future__ import annotations

import signal
from types import FrameType, TracebackType
from typing import Any, Self


class Interrupted(KeyboardInterrupt):
    """SIGINT or SIGTERM arrived.

    Args:
        signum: which of them.
    """

    def __init__(self, signum: int) -> None:
        super().__init__()
        self.signum = signum


class Interrupts:
    """Turns both signals into ``Interrupted``, but not before ``arm`` is called.

    A submit is not cut in the middle, where nobody could tell whether there is a job to cancel; the second signal
    is believed at once all the same.
    """

    def __init__(self) -> None:
        self._armed = False
        self._received: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        for signum in (signal.SIGINT, signal.SIGTERM):
            self._before[signum] = signal.signal(signum, self._on_signal)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for signum, handler in self._before.items():
            signal.signal(signum, handler)

    def arm(self) -> None:
        """From here on a signal raises ``Interrupted``; one that came before does so now."""
        self._armed = True
        if self._received is not None:
            raise Interrupted(self._received)

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:
        if self._armed or self._received is not None:
            raise Interrupted(signum)
        self._received = signum
