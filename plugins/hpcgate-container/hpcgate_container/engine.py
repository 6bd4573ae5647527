"""The engine's commands, and what their answers mean."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from hpcgate.errors import JobRejected
from hpcgate.model.site import Site
from hpcgate.scheduler.command import Answer, Command
from hpcgate_container.settings import ContainerSettings
from hpcgate_container.times import epoch

#: How many containers one command line names: less than any limit on its length.
CHUNK: Final = 1500

_TAKEN: Final = re.compile(r"name .* is already in use", re.IGNORECASE)
_GONE: Final = re.compile(r"no such (?:container|object)|no container with name or id", re.IGNORECASE)
_NOT_RUNNING: Final = re.compile(
    r"state improper|is not running|not paused|already paused|is paused|can only (?:kill|pause|create exec)",
    re.IGNORECASE,
)
#: What an engine says of a job that it will never take. Whatever else it says may be over in a while.
_FOR_GOOD: Final = re.compile(
    r"image not known|no such image|manifest unknown|invalid reference|unauthorized|repository does not exist"
    r"|access (?:to the resource is )?denied|short-name .* did not resolve|unknown flag|invalid argument"
    r"|no such network|network not found|network .* not found|minimum memory|range of cpus"
    r"|could not select device driver|unresolvable cdi|no such file or directory|does not exist"
    r"|incompatible|not permitted|permission denied",
    re.IGNORECASE,
)
_NO_ANSWER: Final = re.compile(r"cannot connect|unable to connect|connection refused|daemon running", re.IGNORECASE)

#: One line of JSON a container, the same of both engines.
_TEMPLATE: Final = (
    '{"id":{{json .ID}},"name":{{json .Name}},"created":{{json .Created}},"state":{{json .State}},'
    '"labels":{{json .Config.Labels}},'
    '"node":{{json .Config.Hostname}}}'
)


#: The engines' words for a container that has not been started yet, and for one that will not go on.
NEW: Final = frozenset({"created", "configured", "initialized"})
ENDED: Final = frozenset({"exited", "stopped", "dead"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A container as the engine describes it.

    Args:
        id: the engine's number for it.
        name: its name.
        status: the engine's word, e.g. ``running``.
        exit_code: only of one that has ended; -1 where the engine does not know it.
        oom_killed: whether the engine noticed that the kernel ended a process for want of memory.
        error: what the engine complains about.
        created_at, started_at, ended_at: epoch seconds.
        labels: as they were given.
        node: the host it is on.
    """

    id: str
    name: str
    status: str
    exit_code: int | None
    oom_killed: bool
    error: str
    created_at: float | None
    started_at: float | None
    ended_at: float | None
    labels: Mapping[str, str]
    node: str = ""

    @property
    def new(self) -> bool:
        """Whether it has not been started yet."""
        return self.status in NEW

    @property
    def ended(self) -> bool:
        """Whether it will not go on."""
        return self.status in ENDED


@dataclass(frozen=True)
class EngineCommand(Command[None]):
    """One command whose answer is its success.

    Args:
        words: program and arguments.
        forgives: what its complaint may match without being one.
        limit_s: how long it may take, seconds.
    """

    words: Sequence[str]
    forgives: re.Pattern[str] | None = None
    limit_s: float = 60.0

    @property
    def timeout_s(self) -> float:  # type: ignore[override]
        """See ``Command``."""
        return self.limit_s

    def argv(self) -> list[str]:
        """See ``Command``."""
        return list(self.words)

    def parse(self, answer: Answer) -> None:
        """See ``Command``."""
        if answer.exit_status == 0 or (self.forgives is not None and self.forgives.search(answer.stderr)):
            return
        improper = _NOT_RUNNING.search(answer.stderr) or _GONE.search(answer.stderr)
        raise answer.error(transient=not improper)


@dataclass(frozen=True)
class Create(Command[bool]):
    """``create``; the answer is whether the container is new.

    Args:
        words: program and arguments.
        limit_s: how long it may take, seconds; fetching an image takes longest.
    """

    words: Sequence[str]
    limit_s: float = 60.0

    @property
    def timeout_s(self) -> float:  # type: ignore[override]
        """See ``Command``."""
        return self.limit_s

    def argv(self) -> list[str]:
        """See ``Command``."""
        return list(self.words)

    def parse(self, answer: Answer) -> bool:
        """See ``Command``.

        Raises:
            JobRejected: the engine will never take it.
            SchedulerError: it did not take it now.
        """
        if answer.exit_status == 0:
            return True
        if _TAKEN.search(answer.stderr):
            return False
        error = answer.error(transient=True)
        if _FOR_GOOD.search(answer.stderr) and not _NO_ANSWER.search(answer.stderr):
            raise JobRejected(error.message)
        raise error


@dataclass(frozen=True)
class Ids(Command[list[str]]):
    """``ps``: the ids of all containers with these labels, ended ones too.

    Args:
        command: words that start the engine's command.
        labels: name -> value.
        status: only those in this state.
    """

    command: Sequence[str]
    labels: Mapping[str, str]
    status: str | None = None

    def argv(self) -> list[str]:
        """See ``Command``."""
        filters = [f"--filter=label={name}={value}" for name, value in self.labels.items()]
        filters += [] if self.status is None else [f"--filter=status={self.status}"]
        return [*self.command, "ps", "--all", "--quiet", "--no-trunc", *filters]

    def parse(self, answer: Answer) -> list[str]:
        """See ``Command``."""
        answer.expect(0)
        ids = answer.stdout.split()
        if wrong := [each for each in ids if not re.fullmatch(r"[0-9a-f]{64}", each)]:
            raise ValueError(f"{wrong[0]!r} is no id of a container")
        return ids


@dataclass(frozen=True)
class Inspect(Command[list[Seen]]):
    """``inspect``: the containers as they are. Those that are gone are left out.

    Args:
        command: words that start the engine's command.
        names: ids or names.
    """

    command: Sequence[str]
    names: Sequence[str]

    def argv(self) -> list[str]:
        """See ``Command``."""
        return [*self.command, "inspect", "--type=container", f"--format={_TEMPLATE}", *self.names]

    def parse(self, answer: Answer) -> list[Seen]:
        """See ``Command``."""
        if answer.exit_status != 0 and not _only_gone(answer.stderr):
            raise answer.error(transient=True)
        return [_seen(json.loads(line)) for line in answer.stdout.splitlines() if line.strip()]


def _only_gone(stderr: str) -> bool:
    lines = [line for line in stderr.splitlines() if line.strip()]
    return bool(lines) and all(_GONE.search(line) for line in lines)


def _seen(row: Mapping[str, Any]) -> Seen:
    state = row["state"]
    status = str(state["Status"]).lower()
    started_at, ended_at = epoch(state.get("StartedAt")), epoch(state.get("FinishedAt"))
    over = status in ENDED and ended_at is not None and started_at is not None
    if ended_at is not None and started_at is not None:
        ended_at = max(ended_at, started_at)  # podman notes the start a little late, after a short run's end
    return Seen(
        id=str(row["id"]),
        name=str(row["name"]).removeprefix("/"),
        status=status,
        exit_code=int(state["ExitCode"]) if over else None,
        oom_killed=bool(state.get("OOMKilled")),
        error=str(state.get("Error") or ""),
        created_at=epoch(row.get("created")),
        started_at=started_at,
        ended_at=ended_at,
        labels=row.get("labels") or {},
        node=str(row.get("node") or ""),
    )


class Talk:
    """The commands, for one site.

    Args:
        site: whose engine is spoken to.
    """

    def __init__(self, site: Site) -> None:
        settings = ContainerSettings.of(site)
        self._settings = settings
        self.command = settings.command()

    def ids(self, labels: Mapping[str, str], status: str | None = None) -> Ids:
        """All containers with these labels."""
        return Ids(self.command, labels, status)

    def inspect(self, names: Sequence[str]) -> Inspect:
        """How containers are."""
        return Inspect(self.command, names)

    def start(self, names: Sequence[str]) -> EngineCommand:
        """Lets containers run."""
        return EngineCommand([*self.command, "start", *names])

    def stop(self, names: Sequence[str]) -> EngineCommand:
        """TERM, and KILL after the grace time. Containers that are gone are no complaint."""
        grace_s = self._settings.kill_grace_s
        ignore = ["--ignore"] if self._settings.engine == "podman" else []
        words = [*self.command, "stop", *ignore, "-t", str(grace_s), *names]
        # podman ends several at once, but remote ones one after the other.
        return EngineCommand(words, forgives=_GONE, limit_s=60.0 + grace_s * min(len(names), 10))

    def kill(self, names: Sequence[str], signal: str) -> EngineCommand:
        """Sends a signal to the first process of containers."""
        return EngineCommand([*self.command, "kill", f"--signal={signal}", *names])

    def pause(self, names: Sequence[str]) -> EngineCommand:
        """Freezes all processes."""
        return EngineCommand([*self.command, "pause", *names])

    def unpause(self, names: Sequence[str]) -> EngineCommand:
        """Lets them go on."""
        return EngineCommand([*self.command, "unpause", *names])

    def exec(self, name: str, folder: str, argv: Sequence[str]) -> list[str]:
        """The words of a command beside a job's own."""
        return [*self.command, "exec", f"--workdir={folder}", name, *argv]

    def remove(self, names: Sequence[str]) -> EngineCommand:
        """Removes containers that do not run, with the volumes that are theirs alone."""
        ignore = ["--ignore"] if self._settings.engine == "podman" else []
        return EngineCommand([*self.command, "rm", *ignore, "--volumes", *names], forgives=_GONE)
