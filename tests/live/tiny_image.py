"""A tiny image for the containers of tasks: busybox and nothing else. For podman, and as a folder for charliecloud."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

TINY: Final = "localhost/tasks-tiny:1"
HOW_TO_GET: Final = "needs root, podman, runc and ch-run: run tests/live/provision.sh as root on Debian"
_CONF: Final = """\
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
"""


def require(*programs: str) -> None:
    """Skips where one of the programs is missing, or the tests are not root."""
    if os.geteuid() != 0 or not all(shutil.which(program) for program in (*programs, "busybox")):
        pytest.skip(HOW_TO_GET)


def unpack(root: Path) -> Path:
    """Makes the image as a folder that any user may read."""
    for name in ("bin", "dev", "proc", "sys", "home", "mnt", "tmp", "etc"):
        (root / name).mkdir(parents=True)
    for name in ("passwd", "group", "hosts", "resolv.conf"):
        (root / "etc" / name).touch()
    shutil.copy(shutil.which("busybox") or "busybox", root / "bin/busybox")
    for name in ("sh", "echo", "cat", "env", "sleep", "pwd", "id", "ls", "grep", "tr", "touch"):
        (root / "bin" / name).symlink_to("busybox")
    subprocess.run(["chmod", "-R", "a+rX", str(root)], check=True)
    return root


class Podman:
    """A podman with its storage in a folder of its own.

    Args:
        root: that folder; ``bin`` in it holds the program.
    """

    def __init__(self, root: Path) -> None:
        self.bin = root / "bin"
        self.bin.mkdir(parents=True)
        (root / "containers.conf").write_text(_CONF)
        places = ["--root", str(root / "store"), "--runroot", str(root / "run"), "--storage-driver", "vfs"]
        shim = self.bin / "podman"
        shim.write_text(
            f"#!/bin/sh\nexport CONTAINERS_CONF={shlex.quote(str(root / 'containers.conf'))}\n"
            f'exec {shutil.which("podman")} {shlex.join(places)} "$@"\n'
        )
        shim.chmod(0o755)
        tar = subprocess.run(["tar", "-C", str(unpack(root / "image")), "-c", "."], stdout=subprocess.PIPE, check=True)
        self("import", "-", TINY, stdin=tar.stdout)

    def __call__(self, *arguments: str, stdin: bytes = b"") -> str:
        """Runs a command and gives its output."""
        argv = [str(self.bin / "podman"), *arguments]
        return subprocess.run(argv, input=stdin, capture_output=True, check=True, timeout=60).stdout.decode()


@contextmanager
def tiny_podman(root: Path) -> Iterator[Podman]:
    """A podman with the tiny image; in the end its containers and its storage are gone."""
    require("podman", "runc")
    podman = Podman(root)
    yield podman
    podman("rm", "--all", "--force", "--time", "0")
    podman("rmi", "--all", "--force")
