"""The ``[sites.NAME.settings]`` table of a container host."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from hpcgate.errors import FieldError, InvalidSpec
from hpcgate.model.site import Site
from hpcgate_container.images import is_reference

ENGINES: Final = ("podman", "docker")
PULLS: Final = ("never", "missing")
_LEAST: Final = {"pids": 16, "gpus": 0, "max_running": 1, "max_array_tasks": 1, "kill_grace_s": 0, "keep_s": 0}
_NETWORK = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}\Z")
#: What would end a field of ``--mount``, or be taken for the quote around one.
_UNMOUNTABLE = re.compile(r'[,"\x00-\x1f\x7f]')
#: What the engine itself mounts.
_ENGINES_OWN: Final = ("/proc", "/sys", "/dev")


def _help(text: str, default: Any) -> Any:
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True, slots=True)
class Mount:
    """A folder or file of the host that jobs see.

    Args:
        source: on the host; absolute.
        target: in the container; absolute.
        writable: whether jobs may write there.
    """

    source: str
    target: str
    writable: bool = False

    @classmethod
    def parse(cls, text: str) -> Mount:
        """Reads ``SOURCE:TARGET`` or ``SOURCE:TARGET:rw``.

        Raises:
            ValueError: it is not of this form, or cannot be mounted.
        """
        parts = text.split(":")
        mode = parts.pop() if len(parts) == 3 else "ro"
        if len(parts) != 2 or mode not in ("ro", "rw"):
            raise ValueError("is not of the form SOURCE:TARGET or SOURCE:TARGET:rw")
        for path in parts:
            if not path.startswith("/") or posixpath.normpath(path) != path or path.startswith("//"):
                raise ValueError(f"names {path!r}, which is no absolute path without '.', '..' and doubled slashes")
            check_mountable(path)
        source, target = parts
        if target == "/" or any(f"{target}/".startswith(f"{own}/") for own in _ENGINES_OWN):
            raise ValueError(f"would cover {target!r}, which is the engine's own")
        return cls(source, target, mode == "rw")


def check_mountable(path: str) -> None:
    """Refuses a path that cannot stand in ``--mount``.

    Raises:
        ValueError: it holds a comma, a quote or a control character.
    """
    if match := _UNMOUNTABLE.search(path):
        raise ValueError(f"{path!r} holds {match.group()!r}, which no engine takes in a mount")


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerSettings:
    """``[sites.NAME.settings]``"""

    engine: str = _help("`podman` or `docker`", "podman")
    engine_command: tuple[str, ...] = _help(
        "words that start the engine's command, e.g. `podman --remote --url unix:///run/podman.sock`. "
        "Default: the engine's name",
        (),
    )
    image: str | None = _help("image of jobs that name none. Default: such jobs are refused", None)
    images: tuple[str, ...] = _help(
        "images that jobs may name, as patterns (`*` stands for anything, `/` too), beside `image`", ()
    )
    pull: str = _help("`never`: images are brought by the operator; `missing`: the engine fetches them", "never")
    networks: tuple[str, ...] = _help(
        "networks of the engine that jobs may ask for (`native.network`). Without one they have none", ()
    )
    mounts: tuple[str, ...] = _help("what jobs see of the host: `SOURCE:TARGET`, to write there `SOURCE:TARGET:rw`", ())
    read_only: bool = _help("whether jobs find the image's files read-only; /tmp and their folder are writable", True)
    pids: int = _help("most processes and threads of one container", 2048)
    gpus: int = _help("accelerators of the host that jobs may use", 0)
    gpu_device: str = _help(
        "podman: the CDI kind of the accelerators; theirs are `KIND=0`, `KIND=1`, ...", "nvidia.com/gpu"
    )
    max_running: int | None = _help(
        "containers at a time; a job that comes when they are there waits at the gateway. Default: no limit", None
    )
    max_array_tasks: int = _help("tasks of an array, which all start at once", 100)
    kill_grace_s: int = _help("time between TERM and KILL when a job is ended, seconds", 10)
    keep_s: float = _help("how long ended containers are kept, seconds", 3600.0)

    def __post_init__(self) -> None:
        errors = [FieldError(f"settings.{name}", message) for name, message in self._wrong()]
        if errors:
            raise InvalidSpec(errors)

    def _wrong(self) -> Iterator[tuple[str, str]]:
        for name, known in (("engine", ENGINES), ("pull", PULLS)):
            if (value := getattr(self, name)) not in known:
                yield name, f"{value!r} is none of {', '.join(known)}"
        for name, least in _LEAST.items():
            if (value := getattr(self, name)) is not None and value < least:
                yield name, f"{value} is out of range; it must be at least {least}"
        if any(not word or "\0" in word for word in self.engine_command):
            yield "engine_command", f"{list(self.engine_command)} holds a word that is empty or holds NUL"
        if not re.fullmatch(r"[a-z0-9.-]+/[A-Za-z0-9_.-]+", self.gpu_device):
            yield "gpu_device", f"{self.gpu_device!r} is no CDI kind; it must look like nvidia.com/gpu"
        yield from self._wrong_names()
        yield from self._wrong_mounts()

    def _wrong_names(self) -> Iterator[tuple[str, str]]:
        if self.image is not None and not is_reference(self.image):
            yield "image", f"{self.image!r} is not the name of an image; it must look like HOST/NAME:TAG"
        for pattern in self.images:
            if not pattern or pattern.startswith("-"):
                yield "images", f"{pattern!r} is no pattern for the names of images"
        for network in self.networks:
            if not _NETWORK.match(network):
                yield "networks", f"{network!r} is not the name of a network"

    def _wrong_mounts(self) -> Iterator[tuple[str, str]]:
        targets = []
        for text in self.mounts:
            try:
                targets.append(Mount.parse(text).target)
            except ValueError as error:
                yield "mounts", f"{text!r} {error}"
        if len(set(targets)) != len(targets):
            yield "mounts", f"{list(self.mounts)} name one target twice"

    @classmethod
    def of(cls, site: Site) -> ContainerSettings:
        """The settings of a site."""
        assert isinstance(site.settings, cls), f"site {site.name} has settings of another plugin"
        return site.settings

    def command(self) -> list[str]:
        """The words that every command of the engine begins with."""
        return list(self.engine_command) or [self.engine]

    def mounted(self) -> list[Mount]:
        """What jobs see of the host beside their own folder."""
        return [Mount.parse(text) for text in self.mounts]
