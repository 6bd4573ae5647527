"""A tiny image: busybox and next to nothing else. For container engines, and as a folder for charliecloud."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path


def unpack(root: Path) -> Path:
    """Makes the image as a folder that any user may read."""
    for name in ("bin", "usr/bin", "etc", "dev", "proc", "sys", "home", "mnt", "tmp", "run", "var/tmp"):
        (root / name).mkdir(parents=True)
    for name in ("tmp", "var/tmp"):
        (root / name).chmod(0o1777)  # what is mounted there is as open as this
    for name in ("passwd", "group", "hosts", "resolv.conf"):
        (root / "etc" / name).touch()
    shutil.copy(shutil.which("busybox") or "busybox", root / "bin/busybox")
    for name in subprocess.run(["busybox", "--list"], capture_output=True, text=True, check=True).stdout.split():
        if name != "busybox":
            (root / "bin" / name).symlink_to("busybox")
    (root / "usr/bin/env").symlink_to("/bin/busybox")
    subprocess.run(["chmod", "-R", "a+rX", str(root)], check=True)
    return root


def packed(root: Path) -> bytes:
    """The image as a tar file.

    Args:
        root: a folder that is not there yet, for a moment.
    """
    tree = unpack(root)
    tar = subprocess.run(["tar", "-C", str(tree), "-c", "."], capture_output=True, check=True).stdout
    shutil.rmtree(tree)
    return tar
