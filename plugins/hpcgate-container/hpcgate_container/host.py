"""What changes seldom at a container host, and is asked for once in a while: the account, the engine, its limits."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from hpcgate.errors import SchedulerError
from hpcgate.model.site import Site
from hpcgate.scheduler.command import Answer, Command
from hpcgate.transport.base import Transport
from hpcgate_container.settings import ContainerSettings

#: Engines are updated, but not by the minute.
KEPT_S: Final = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """The account that a transport leads to.

    Args:
        uid, gid: its numbers.
        home: its home folder, absolute.
    """

    uid: int
    gid: int
    home: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """An engine as it describes itself.

    Args:
        kind: ``podman`` or ``docker``; how it is spoken to, as the site says.
        version: its number.
        rootless: whether it runs as an ordinary account.
        node: the host's name.
        cpus, memory_mib: what the host has.
        runtime: what starts the processes, e.g. ``crun``.
        cgroups: ``v1`` or ``v2``.
        limits: which of ``cpu``, ``memory`` and ``pids`` it can limit.
        selinux: whether mounted folders have to be labelled.
    """

    kind: str
    version: str
    rootless: bool
    node: str
    cpus: int
    memory_mib: int
    runtime: str
    cgroups: str
    limits: frozenset[str]
    selinux: bool = False


@dataclass(frozen=True)
class AskAccount(Command[Account]):
    """Who and where the account is."""

    def argv(self) -> list[str]:
        """See ``Command``."""
        return ["/bin/sh", "-c", "id -u && id -g && cd && pwd -P"]

    def parse(self, answer: Answer) -> Account:
        """See ``Command``."""
        answer.expect(0)
        uid, gid, home = answer.stdout.splitlines()[-3:]
        if not home.startswith("/"):
            raise ValueError(f"{home!r} is no home folder")
        return Account(uid=int(uid), gid=int(gid), home=home)


@dataclass(frozen=True)
class AskEngine(Command[Engine]):
    """``podman info`` or ``docker info``.

    Args:
        command: words that start the engine's command.
        kind: how it is spoken to.
    """

    command: Sequence[str]
    kind: str

    def argv(self) -> list[str]:
        """See ``Command``."""
        return [*self.command, "info", "--format", "{{json .}}"]

    def parse(self, answer: Answer) -> Engine:
        """See ``Command``."""
        answer.expect(0)
        info = json.loads(answer.stdout)
        if "host" in info:
            return replace(_podman(info), kind=self.kind)  # podman answers to the name of docker too
        if errors := info.get("ServerErrors"):
            raise SchedulerError(f"{self.command[0]} does not answer: {'; '.join(errors)}")
        return replace(_docker(info), kind=self.kind)


def _podman(info: Mapping[str, Any]) -> Engine:
    host, security = info["host"], info["host"].get("security", {})
    usable = frozenset(host.get("cgroupControllers") or ()) & {"cpu", "memory", "pids"}
    rootless = bool(security.get("rootless"))
    v2 = host.get("cgroupVersion") == "v2"
    return Engine(
        kind="podman",
        version=info["version"]["Version"],
        rootless=rootless,
        node=host["hostname"],
        cpus=int(host["cpus"]),
        memory_mib=int(host["memTotal"]) >> 20,
        runtime=host.get("ociRuntime", {}).get("name", "unknown"),
        cgroups=host.get("cgroupVersion", "v1"),
        # An ordinary account has no part in the control groups of version 1, whatever is listed.
        limits=usable if v2 or not rootless else frozenset(),
        selinux=bool(security.get("selinuxEnabled")),
    )


def _docker(info: Mapping[str, Any]) -> Engine:
    security = " ".join(info.get("SecurityOptions") or ())
    told = {"cpu": "CpuCfsQuota", "memory": "MemoryLimit", "pids": "PidsLimit"}
    return Engine(
        kind="docker",
        version=info["ServerVersion"],
        rootless="name=rootless" in security,
        node=info["Name"],
        cpus=int(info["NCPU"]),
        memory_mib=int(info["MemTotal"]) >> 20,
        runtime=info.get("DefaultRuntime", "unknown"),
        cgroups=f"v{info.get('CgroupVersion', '1')}",
        limits=frozenset(name for name, key in told.items() if info.get(key)),
        selinux="name=selinux" in security,
    )


class Hosts:
    """What is known of hosts. Thread-safe; two threads may ask for the same at once.

    Args:
        clock: seconds, for how long an answer is kept.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._answers: dict[tuple[object, ...], tuple[float, Any]] = {}

    def account(self, site: Site, account: str | None, transport: Transport) -> Account:
        """The account that a transport leads to."""
        found: Account = self._get(("account", site.name, account), lambda: AskAccount().run(transport))
        return found

    def engine(self, site: Site, transport: Transport) -> Engine:
        """The site's engine."""
        settings = ContainerSettings.of(site)
        asked = AskEngine(settings.command(), settings.engine)
        found: Engine = self._get(("engine", site.name, settings.engine, *asked.command), lambda: asked.run(transport))
        return found

    def forget(self, site: Site) -> None:
        """Asks anew for everything about a site."""
        with self._lock:
            self._answers = {key: answer for key, answer in self._answers.items() if key[1] != site.name}

    def _get(self, key: tuple[object, ...], ask: Callable[[], Any]) -> Any:
        with self._lock:
            known = self._answers.get(key)
        if known is not None and self._clock() - known[0] < KEPT_S:
            return known[1]
        fresh = ask()
        with self._lock:
            self._answers[key] = (self._clock(), fresh)
        return fresh
