"""Running commands, in this process or in one of their own."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from hpcgate.cli import main

CONFIG = """
[sites.local]
scheduler = "local"
identity = {shared_account = true}
aliases = ["here"]
poll = {min_s = 0.05, max_s = 0.5, spool_s = 0.05}
[sites.local.settings]
linger_s = 1.0
kill_grace_s = 1.0
"""


@dataclass(frozen=True)
class Result:
    code: int
    raw_out: bytes
    raw_err: bytes

    @property
    def out(self) -> str:
        return self.raw_out.decode()

    @property
    def err(self) -> str:
        return self.raw_err.decode()

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass
class Cli:
    """Runs commands in this process."""

    capture: pytest.CaptureFixture[bytes]
    patch: pytest.MonkeyPatch
    environ: dict[str, str] = field(default_factory=dict)

    def __call__(self, *argv: str | int, stdin: bytes = b"") -> Result:
        self.capture.readouterr()
        with self.patch.context() as patch:
            patch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(stdin), encoding="utf-8"))
            for name, value in self.environ.items():
                patch.setenv(name, value)
            code = main.run([str(arg) for arg in argv])
        out, err = self.capture.readouterr()
        assert b"Traceback" not in err, err.decode()
        return Result(code, out, err)

    def ok(self, *argv: str | int, stdin: bytes = b"") -> Result:
        result = self(*argv, stdin=stdin)
        assert result.code == 0, result
        return result

    def submit(self, *argv: str | int) -> int:
        return int(self.ok("submit", *argv).out)


@contextmanager
def spawned(environ: Mapping[str, str], *argv: str, **kwargs: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A command in a process of its own."""
    process = subprocess.Popen(
        [sys.executable, "-m", "hpcgate", *argv],
        env={**os.environ, **environ},
        stdout=kwargs.pop("stdout", subprocess.PIPE),
        stderr=kwargs.pop("stderr", subprocess.PIPE),
        **kwargs,
    )
    with process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def runs_in(home: Path) -> bool:
    """Whether a batch system still works in a folder, which must not vanish under it."""
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if str(home).encode() in entry.read_bytes():
                return True
        except OSError:
            continue
    return False
