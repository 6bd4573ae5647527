"""How each container runtime is called to run one task: a row of a table each, and pure.

What all of them are asked for:

- the work folder is mounted at its own path (``charliecloud``, which cannot make mount points: at ``/mnt``) and
  nothing else of the machine; the task starts in its folder there;
- variables reach the container by name: a value never stands in an argument, where everybody on the node could read
  it, unless the runtime itself would go by that variable (``PATH``, say), and then it must not be secret;
- no privilege is gained, no capability is kept, and there is no network unless the task asks for it, as far as the
  runtime can tell: ``apptainer``, ``singularity``, ``udocker`` and ``charliecloud`` run as the account and share the
  network of the node.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

#: What a container gets when it is told to stop: so long, seconds, until it is killed. Batch systems wait longer.
STOP_S: Final = 8

#: Variables that runtimes, their helpers and the dynamic linker go by: given to a client, they would change it.
_ENGINES_OWN: Final = re.compile(
    r"PATH|HOME|USER|IFS|ENV|TMPDIR|LD_.*|XDG_.*|_?CONTAINERS?_.*|PODMAN_.*|DOCKER_.*|BUILDAH_.*|STORAGE_.*|REGISTR.*"
    r"|UDOCKER_.*|PYTHON.*|APPTAINER.*|SINGULARITY.*|GODEBUG|GO.*PROXY|(HTTPS?|NO|ALL|FTP)_PROXY|SSL_CERT_.*"
    r"|NOTIFY_SOCKET|LISTEN_.*",
    re.IGNORECASE,
)
_SCHEME: Final = re.compile(r"[a-z][a-z0-9+.-]*://")
_IMAGE_FILE: Final = re.compile(r"(/|\./|\.\./|~/)|.*\.(sif|simg|img|sqsh|sqfs)\Z")


class Variables(Enum):
    """How variables get into a container."""

    #: ``--env NAME``: the value comes from the environment of the client.
    NAMED = "named"
    #: By the client's own environment, under a prefix.
    PREFIXED = "prefixed"
    #: The client hands its whole environment on.
    INHERITED = "inherited"


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What a runtime is asked for.

    Args:
        image: as the task names it.
        command: program; ``None`` = the image's own.
        args: its arguments.
        work: absolute path of the folder that is mounted.
        workdir: where the task starts, relative to ``work``; empty = there.
        name: for the container, unique on the machine.
        user: ``UID:GID`` of the account.
        userns: the user namespace for ``podman``: ``keep-id``, or ``host`` where the account is root.
        names: variables that are passed by their names.
        shown: variables that are passed with their values, for all to see.
        network: whether there shall be one.
    """

    image: str
    command: str | None
    args: Sequence[str] = ()
    work: str
    workdir: str = ""
    name: str = ""
    user: str = ""
    userns: str = ""
    names: Sequence[str] = ()
    shown: Mapping[str, str] = field(default_factory=dict)
    network: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """One container runtime.

    Args:
        name: as config names it.
        program: what is run.
        arguments: its arguments for a call.
        variables: how they get into the container.
        prefix: of variables, where they are prefixed.
        stop: arguments that end the container of a call and wait for it; ``None`` = it is a child of the client, which
            a signal ends.
        local_images: whether images may be files and folders.
        needs_command: whether an image's own command is not known to it.
    """

    name: str
    program: str
    arguments: Callable[[Call], list[str]]
    variables: Variables
    prefix: str = ""
    stop: Callable[[Call], list[str]] | None = None
    local_images: bool = False
    needs_command: bool = False

    def reserved(self, variable: str) -> bool:
        """Whether the runtime itself would go by a variable that is meant for the container."""
        return self.variables is Variables.NAMED and _ENGINES_OWN.fullmatch(variable) is not None

    def refuses(self, image: str) -> str | None:
        """Why it cannot run such an image; ``None`` = it may be able to."""
        plain = image.removeprefix("docker://")
        if not self.local_images and (_SCHEME.match(plain) or _IMAGE_FILE.match(plain)):
            return f"{image!r} is no image of a registry, e.g. docker.io/library/debian:12, which {self.name} needs"
        return None


def _folder(call: Call, work: str) -> str:
    return f"{work}/{call.workdir}" if call.workdir else work


def _named(call: Call) -> list[str]:
    return [*(f"--env={name}={value}" for name, value in call.shown.items()), *(f"--env={name}" for name in call.names)]


def _program(call: Call) -> list[str]:
    """The image with its command in place of the image's own."""
    entrypoint = [] if call.command is None else [f"--entrypoint={call.command}"]
    return [*entrypoint, call.image.removeprefix("docker://"), *call.args]


def _engine(call: Call) -> list[str]:
    return [
        "run",
        "--rm",
        f"--name={call.name}",
        "--cap-drop=ALL",
        "--security-opt=no-new-privileges",
        "--stop-signal=TERM",
        "--log-driver=none",
        *(() if call.network else ("--network=none",)),
        f"--volume={call.work}:{call.work}",
        f"--workdir={_folder(call, call.work)}",
        *_named(call),
    ]


def _podman(call: Call) -> list[str]:
    # Without root, the account is root in there unless it is told to stay itself. With root there is nothing to map.
    return [*_engine(call), f"--userns={call.userns}", *_program(call)]


def _docker(call: Call) -> list[str]:
    # The daemon is root: what runs in there is the account.
    return [*_engine(call), f"--user={call.user}", *_program(call)]


def _stop(call: Call) -> list[str]:
    return ["stop", "-t", str(STOP_S), call.name]


def _singularity(call: Call) -> list[str]:
    image = call.image
    if not _SCHEME.match(image) and not _IMAGE_FILE.match(image):
        image = f"docker://{image}"
    return [
        "exec" if call.command is not None else "run",
        "--containall",
        "--no-privs",
        "--no-eval",
        f"--bind={call.work}:{call.work}",
        f"--pwd={_folder(call, call.work)}",
        image,
        *(() if call.command is None else (call.command,)),
        *call.args,
    ]


def _udocker(call: Call) -> list[str]:
    return [
        "run",
        "--rm",
        "--nobanner",
        f"--volume={call.work}:{call.work}",
        f"--workdir={_folder(call, call.work)}",
        *_named(call),
        call.image.removeprefix("docker://"),
        *(() if call.command is None else (call.command,)),
        *call.args,
    ]


def _charliecloud(call: Call) -> list[str]:
    return [
        "--private-tmp",
        f"--bind={call.work}:/mnt",
        f"--cd={_folder(call, '/mnt')}",
        call.image.removeprefix("docker://"),
        "--",
        call.command or "",
        *call.args,
    ]


_ALL: Final = (
    Runtime(name="podman", program="podman", arguments=_podman, stop=_stop, variables=Variables.NAMED),
    Runtime(name="docker", program="docker", arguments=_docker, stop=_stop, variables=Variables.NAMED),
    Runtime(
        name="apptainer",
        program="apptainer",
        arguments=_singularity,
        variables=Variables.PREFIXED,
        prefix="APPTAINERENV_",
        local_images=True,
    ),
    Runtime(
        name="singularity",
        program="singularity",
        arguments=_singularity,
        variables=Variables.PREFIXED,
        prefix="SINGULARITYENV_",
        local_images=True,
    ),
    Runtime(name="udocker", program="udocker", arguments=_udocker, variables=Variables.NAMED),
    Runtime(
        name="charliecloud",
        program="ch-run",
        arguments=_charliecloud,
        variables=Variables.INHERITED,
        local_images=True,
        needs_command=True,
    ),
)

#: By the names of ``model.site.RUNTIMES``.
RUNTIMES: Final[Mapping[str, Runtime]] = {runtime.name: runtime for runtime in _ALL}
