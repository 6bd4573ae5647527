"""What changes seldom at a site, and is asked for once: which PBS it is, its largest node, the account's home."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from hpcgate.errors import SiteError
from hpcgate.model.site import Site
from hpcgate.scheduler.command import Answer, Command
from hpcgate.transport.base import Transport
from hpcgate_pbs import qstat
from hpcgate_pbs.settings import PbsSettings
from hpcgate_pbs.site import largest_node

T = TypeVar("T")

#: Nodes come and go, but not by the minute.
NODES_KEPT_S: Final = 600.0
FOR_GOOD: Final = float("inf")

_OPENPBS = re.compile(r"pbs_version\s*=\s*(\S+)")
_TORQUE = re.compile(r"^\s*version:\s*(\S+)", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Version:
    """Which PBS a site has.

    Args:
        text: its number.
        torque: whether it is Torque, which has other options by the same names (``qstat -x`` prints XML).
    """

    text: str
    torque: bool = False


@dataclass(frozen=True)
class AskVersion(Command[Version]):
    """``qstat --version``."""

    bin_dir: str | None

    def argv(self) -> list[str]:
        """See ``Command``."""
        return [qstat.program("qstat", self.bin_dir), "--version"]

    def parse(self, answer: Answer) -> Version:
        """See ``Command``. Torque says it on stderr."""
        if match := _OPENPBS.search(answer.stdout):
            return Version(match.group(1))
        if match := _TORQUE.search(f"{answer.stdout}\n{answer.stderr}"):
            return Version(match.group(1), torque=True)
        raise answer.error(transient=True)


@dataclass(frozen=True)
class AskHome(Command[str]):
    """The account's home folder."""

    def argv(self) -> list[str]:
        """See ``Command``."""
        return ["/bin/sh", "-c", "cd && pwd"]

    def parse(self, answer: Answer) -> str:
        """See ``Command``."""
        answer.expect(0)
        home = answer.stdout.strip()
        if not home.startswith("/"):
            raise ValueError(f"{home!r} is no home folder")
        return home


class Remembered(Generic[T]):
    """Answers by key, each for a time. Thread-safe; two threads may ask for the same at once.

    Args:
        kept_s: how long an answer counts, seconds.
        clock: seconds.
    """

    def __init__(self, kept_s: float, clock: Callable[[], float]) -> None:
        self._kept_s = kept_s
        self._clock = clock
        self._lock = threading.Lock()
        self._answers: dict[tuple[str, str], tuple[float, T]] = {}

    def get(self, key: tuple[str, str], ask: Callable[[], T]) -> T:
        """The answer that is remembered, or a fresh one."""
        with self._lock:
            known = self._answers.get(key)
        if known is not None and self._clock() - known[0] < self._kept_s:
            return known[1]
        fresh = ask()
        with self._lock:
            self._answers[key] = (self._clock(), fresh)
        return fresh


class Facts:
    """What is known of sites.

    Args:
        clock: seconds, for how long an answer is kept.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._versions: Remembered[Version] = Remembered(FOR_GOOD, clock)
        self._homes: Remembered[str] = Remembered(FOR_GOOD, clock)
        self._nodes: Remembered[tuple[int, int] | None] = Remembered(NODES_KEPT_S, clock)

    def version(self, site: Site, transport: Transport) -> Version:
        """Which PBS it is."""
        bin_dir = PbsSettings.of(site).bin_dir
        return self._versions.get((site.name, bin_dir or ""), lambda: AskVersion(bin_dir).run(transport))

    def home(self, site: Site, account: str | None, transport: Transport) -> str:
        """The home folder of the account that a transport leads to."""
        return self._homes.get((site.name, account or ""), lambda: AskHome().run(transport))

    def largest_node(self, site: Site, transport: Transport) -> tuple[int, int] | None:
        """Most cores and most KiB of memory of any one node; ``None`` where the nodes are not told."""
        bin_dir = PbsSettings.of(site).bin_dir

        def ask() -> tuple[int, int] | None:
            try:
                return largest_node(qstat.nodes(bin_dir).run(transport))
            except SiteError:
                return None  # a job must not fail because nodes could not be counted

        return self._nodes.get((site.name, bin_dir or ""), ask)
