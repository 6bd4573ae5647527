"""One look at the containers of a site. What has ended does not change, so that it is looked at once."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hpcgate.transport.base import Transport
from hpcgate_container.engine import CHUNK, Seen, Talk
from hpcgate_container.observe import End, Folders, end_of


@dataclass(frozen=True, slots=True)
class View:
    """What a look has shown.

    Args:
        seen: all containers.
        ends: how those that have ended did, by name.
    """

    seen: Sequence[Seen]
    ends: Mapping[str, End]


class Sight:
    """Remembers the ended containers of sites, for as long as the engine has them. Thread-safe.

    An ended container that somebody starts again by hand runs nothing, and stays what it was.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ended: dict[str, dict[str, tuple[Seen, End]]] = {}

    def look(self, talk: Talk, label: str, value: str, folders: Folders, transport: Transport) -> View:
        """All containers with a label.

        Args:
            talk: to the engine.
            label: its name.
            value: its value.
            folders: of their jobs.
            transport: the way there.

        Raises:
            SiteError: the engine or a folder did not answer.
        """
        ids = talk.ids({label: value}).run(transport)
        with self._lock:
            known = {each: self._ended[value][each] for each in ids if each in self._ended.get(value, {})}
        seen = inspect(talk, [each for each in ids if each not in known], transport)
        ends = {each.name: end for each in seen if (end := end_of(each, folders)) is not None}
        known |= {each.id: (each, ends[each.name]) for each in seen if each.ended and each.name in ends}
        with self._lock:
            self._ended[value] = known
        old = [known[each] for each in ids if each in known]
        return View(
            seen=[*(each for each, _ in old), *(each for each in seen if each.id not in known)],
            ends={each.name: end for each, end in old} | ends,
        )


def inspect(talk: Talk, ids: Sequence[str], transport: Transport) -> list[Seen]:
    """Containers as they are; as many commands as their ids need lines."""
    seen: list[Seen] = []
    for start in range(0, len(ids), CHUNK):
        seen += talk.inspect(ids[start : start + CHUNK]).run(transport)
    return seen
