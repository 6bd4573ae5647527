"""Work that nobody waits for longer than promised. It goes on by itself where it is not done by then."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextvars import copy_context
from typing import Final, TypeVar

from hpcgate.errors import CommandTimeout

T = TypeVar("T")

_log = logging.getLogger(__name__)
_NAME: Final = "deadline"


def within(seconds: float, work: Callable[[], T], release: Callable[[], None]) -> T:
    """What ``work`` gives, or raises.

    Args:
        seconds: how long to wait for it.
        work: has limits of its own, so that it ends some time.
        release: gives back what its thread holds (``Gateway.release_thread``).

    Raises:
        CommandTimeout: it is not done yet, and goes on. Should it fail later, the log has it.
    """
    done: list[T] = []
    failed: list[BaseException] = []
    lock, left = threading.Lock(), threading.Event()

    def run() -> None:
        try:
            done.append(work())
        except BaseException as error:  # noqa: BLE001 - it is raised where somebody waits for it
            with lock:
                failed.append(error)
                if left.is_set():
                    _log.warning("what nobody waits for any more has failed: %s", error)
        finally:
            release()

    thread = threading.Thread(target=copy_context().run, args=(run,), name=_NAME, daemon=True)
    thread.start()
    thread.join(seconds)
    if done:
        return done[0]
    with lock:
        if failed:
            raise failed[0]
        left.set()
    raise CommandTimeout(f"timeout: there was no answer within {seconds:g} s")
