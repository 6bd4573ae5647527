"""A ``hpcgate serve`` of a test's own, and curl."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support import eventually


@dataclass(frozen=True, slots=True)
class Curled:
    """What curl got."""

    status: int
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def curl(*arguments: str, stdin: bytes = b"") -> Curled:
    """Runs curl as a user does; redirects are not followed."""
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed: sh tests/live/provision.sh")
    argv = ["curl", "-sS", "--max-time", "30", "-w", "\n%{http_code}", *arguments]
    done = subprocess.run(argv, input=stdin, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr.decode()
    body, _, status = done.stdout.rpartition(b"\n")
    return Curled(int(status), body)


@dataclass(frozen=True, slots=True)
class Serving:
    """A running server with its worker.

    Args:
        url: of its root.
        token: of its first admin.
    """

    url: str
    token: str


@contextmanager
def serving(home: Path, config: str) -> Iterator[Serving]:
    """``hpcgate serve`` with this configuration, until the block is left."""
    home.mkdir(parents=True)
    (home / "hpcgate.toml").write_text(config)
    log = home / "log"
    environ = {name: value for name, value in os.environ.items() if not name.startswith("HPCGATE_")}
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "hpcgate", "--config", str(home / "hpcgate.toml"), "serve", "--port", "0"],
            env={**environ, "HPCGATE_HOME": str(home), "HOME": str(home)},
            stdout=subprocess.DEVNULL,
            stderr=stderr,
        )

    def found() -> str | None:
        assert process.poll() is None, log.read_text()
        match = re.search(r"serving (https?://\S+)", log.read_text())
        return match and match.group(1)

    try:
        url = eventually(found, 60)
        yield Serving(url, (home / "admin.token").read_text().strip())
    finally:
        process.terminate()
        assert process.wait(60) == 0, log.read_text()
