"""What a poll does beside looking. Each is at most one command, however many containers there are.

It starts what a dead gateway has left unstarted, ends what is over its time, and clears away what has ended and is
written down.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Final

from hpcgate.errors import HpcgateError, SchedulerError
from hpcgate.model.state import Reason
from hpcgate.transport.base import Transport
from hpcgate_container import labels
from hpcgate_container.engine import Seen, Talk
from hpcgate_container.observe import Folders, attempt_of, index_of, key_of
from hpcgate_container.script import LATE_S

_log = logging.getLogger(__name__)

#: How long a container may be seen unstarted before its submit counts as broken off, seconds.
UNSTARTED_S: Final = 10.0


class Watch:
    """Since when containers have been seen as they are. By this process's own clock: hosts have other ones.

    Args:
        clock: seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._since: dict[str, dict[tuple[str, str], float]] = {}

    def look(self, digest: str, seen: Iterable[Seen]) -> dict[str, float]:
        """Takes notice of all containers of a site.

        Returns:
            How long each has been in its state, seconds, by name.
        """
        now = self._clock()
        with self._lock:
            known = self._since.get(digest, {})
            fresh = {(each.name, each.status): known.get((each.name, each.status), now) for each in seen}
            self._since[digest] = fresh
        return {name: now - since for (name, _), since in fresh.items()}


def interrupted(
    seen: Sequence[Seen], ends: Collection[str], active: Collection[str], ages: dict[str, float]
) -> list[Seen]:
    """Containers whose submit ended between making and starting them.

    Args:
        seen: all containers.
        ends: the names of those that have ended.
        active: the keys of jobs that the gateway believes to be there.
        ages: how long each has been seen in its state, seconds.
    """
    return [
        each
        for each in seen
        if each.new
        and labels.HOLD not in each.labels
        and each.name not in ends
        and key_of(each) in active
        and ages[each.name] >= UNSTARTED_S
    ]


def overdue(seen: Sequence[Seen], ages: dict[str, float], grace_s: int) -> list[Seen]:
    """Containers that neither their own clock nor the engine's has ended."""
    return [
        each
        for each in seen
        if each.status == "running"
        and (walltime_s := int(each.labels.get(labels.WALLTIME, "0")))
        and ages[each.name] > walltime_s + grace_s + 2 * LATE_S
    ]


def stale(seen: Sequence[Seen], active: Collection[str], now: float, keep_s: float) -> list[Seen]:
    """Containers that are not needed any more: what became of them has been written down.

    Args:
        seen: all containers.
        active: the keys of jobs that the gateway believes to be there.
        now: epoch seconds.
        keep_s: how long they are kept all the same, seconds.
    """
    return [
        each
        for each in seen
        if key_of(each) not in active
        and (each.ended or each.new)
        and (over_at := each.ended_at or each.created_at) is not None
        and now - over_at > keep_s
    ]


def tidily(what: str, act: Callable[[], None]) -> None:
    """Does what a poll does not depend on; a failure is logged, and the next poll tries again."""
    try:
        act()
    except HpcgateError as error:
        _log.warning("%s: %s", what, error.message)


def launch(talk: Talk, containers: Sequence[Seen], folders: Folders, transport: Transport) -> None:
    """Starts containers. Those that the engine cannot start get the record of a launch that failed.

    Raises:
        SiteError: the engine did not answer, so that nobody knows.
    """
    names = [each.name for each in containers]
    try:
        talk.start(names).run(transport)
    except SchedulerError as error:
        # Raises where the engine does not answer at all.
        for each in talk.inspect(names).run(transport):
            if each.new:
                _write_failure(each, error.message, folders, transport)


def _write_failure(seen: Seen, words: str, folders: Folders, transport: Transport) -> None:
    record = {
        "native_id": labels.native_id(key_of(seen)),
        "exit_code": None,
        "signal": None,
        "reason": Reason.LAUNCH_FAILED,
        "message": words,
        "ended_at": time.time(),
    }
    path = folders.of(key_of(seen)).exit(attempt_of(seen), index_of(seen))
    transport.write(path, json.dumps(record).encode())
