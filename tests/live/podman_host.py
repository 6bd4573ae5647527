"""A podman of the test's own: storage, settings and one small image in a temporary folder, reached by its socket.

The engine runs as root and is spoken to by an ordinary account, as a docker daemon is by members of its group. (An
engine of the account's own would want subordinate ids, and control groups v2 for its limits, which CI does not have.)
"""

from __future__ import annotations

import os
import shlex
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest
from live.tiny_image import packed
from support import eventually

IMAGE: Final = "localhost/tiny:1"
PROGRAMS: Final = ("podman", "runc", "busybox")
# runc, because crun refuses hybrid control groups; the limits, because nobody may raise them in a container of CI's.
_SETTINGS: Final = """\
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[engine]
runtime = "runc"
"""


def require_podman() -> None:
    """Skips where no podman can be started."""
    missing = [name for name in PROGRAMS if shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin") is None]
    if os.geteuid() != 0 or missing:
        pytest.skip(f"needs root and {', '.join(PROGRAMS)}: run tests/live/provision.sh")


class PodmanHost:
    """An engine.

    Args:
        root: folder for everything; anybody may enter it.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.socket = root / "podman.sock"
        self._service: subprocess.Popen[bytes] | None = None

    @property
    def command(self) -> tuple[str, ...]:
        """Words by which an ordinary account speaks to it."""
        return ("podman", "--remote", "--url", f"unix://{self.socket}")

    def run(self, *words: str, check: bool = True, stdin: bytes = b"") -> str:
        """Runs a command of podman as root, beside the service."""
        answer = subprocess.run(
            [*self._own(), *words], input=stdin, env=self._environment(), capture_output=True, timeout=60, check=False
        )
        assert answer.returncode == 0 or not check, f"podman {' '.join(words)}: {answer.stderr.decode()}"
        return answer.stdout.decode()

    def program(self, folder: Path) -> None:
        """Puts a ``podman`` into a folder for PATH that leads to this engine, for those who run it as root."""
        (folder / "podman").write_text(
            f"#!/bin/sh\nexport CONTAINERS_CONF={shlex.quote(str(self.root / 'containers.conf'))}\n"
            f'exec {shutil.which("podman")} {shlex.join(self._own()[1:])} "$@"\n'
        )
        (folder / "podman").chmod(0o755)

    def _own(self) -> list[str]:
        places = [f"--{name}={self.root / name}" for name in ("root", "runroot", "tmpdir")]
        return ["podman", *places, "--cgroup-manager=cgroupfs"]

    def _environment(self) -> dict[str, str]:
        return {**os.environ, "CONTAINERS_CONF": str(self.root / "containers.conf")}

    # --- life

    def start(self) -> None:
        """Makes the image and brings up the service."""
        (self.root / "containers.conf").write_text(_SETTINGS)
        self.run("import", "-", IMAGE, stdin=packed(self.root / "tree"))
        self.serve()

    def serve(self) -> None:
        """Brings up the service, open to all accounts."""
        with (self.root / "service.log").open("ab") as log:
            self._service = subprocess.Popen(
                [*self._own(), "system", "service", "--time=0", f"unix://{self.socket}"],
                env=self._environment(),
                cwd=self.root,  # conmon leaves a file there when memory runs out
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        eventually(self.socket.exists)
        self.socket.chmod(0o666)

    def stop_service(self) -> None:
        """Ends the service; containers go on."""
        if self._service is not None:
            self._service.terminate()
            self._service.wait(timeout=20)
            self._service = None
        self.socket.unlink(missing_ok=True)

    @contextmanager
    def unreachable(self) -> Iterator[None]:
        """While it lasts nobody answers at the socket."""
        self.stop_service()
        try:
            yield
        finally:
            self.serve()

    def close(self) -> None:
        """Ends all containers and the service."""
        self.stop_service()
        self.run("rm", "--all", "--force", "--time=0", check=False)
        storage = self.root / "root" / "overlay"
        if storage.is_mount():
            subprocess.run(["umount", str(storage)], check=True)


@contextmanager
def new_podman() -> Iterator[PodmanHost]:
    """An engine that is running."""
    require_podman()
    root = Path(tempfile.mkdtemp(prefix="hpcgate-podman-"))
    root.chmod(root.stat().st_mode | stat.S_IROTH | stat.S_IXOTH | stat.S_IRGRP | stat.S_IXGRP)
    host = PodmanHost(root)
    try:
        host.start()
        yield host
    finally:
        host.close()
        shutil.rmtree(root)
