"""The launcher, started as pbs_mom starts the shell of a job."""

from __future__ import annotations

import subprocess

import pytest
from hpcgate_pbs.submission import LAUNCHER


@pytest.mark.parametrize("argument", [True, False], ids=["as its argument", "on stdin"])
@pytest.mark.parametrize("sandbox", [True, False], ids=["sandbox", "home"])
def test_the_launcher_becomes_the_script(tmp_path, argument, sandbox):
    """Where the server gives each job a folder of its own, it says ``cd FOLDER;`` in front of the script."""
    launcher, script = tmp_path / "shell", tmp_path / "7.head.SC"
    launcher.write_text(LAUNCHER)
    launcher.chmod(0o700)
    script.write_text('#!/bin/sh\necho "$$"\nexit 7\n')
    line = f"cd {tmp_path};{script}" if sandbox else str(script)
    with subprocess.Popen(
        ["-shell", *([line] if argument else [])],
        executable=str(launcher),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        stdout, _ = process.communicate("" if argument else f"{line}\n")
    assert (stdout.strip(), process.returncode) == (str(process.pid), 7)
