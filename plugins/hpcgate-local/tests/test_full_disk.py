"""A full disk below the spool: nothing is called failed that is not, and work goes on when there is room."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from hpcgate.model.state import JobState

pytestmark = pytest.mark.live

WAITS = "until [ -e go ]; do sleep 0.02; done"


@pytest.fixture
def disk(machine):
    """A small disk of its own for the spool."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to mount a small disk")
    folder = machine.root / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], check=True)
    try:
        machine.set(spool=str(folder / "spool"))
        yield folder
        (folder / "filler").unlink(missing_ok=True)
        machine.leave()
    finally:
        machine.set(spool=None)
        subprocess.run(["umount", "-l", folder], check=True)


def fill(disk):
    """Takes all room that there is; the file that does."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (4096, 1):
            try:
                while file.write(b"x" * size):
                    pass
            except OSError:
                continue
    return filler


def test_a_job_that_ends_while_the_disk_is_full_has_ended_as_it_has(machine, disk):
    job = machine.sh(f"{WAITS}; exit 3")
    machine.running(job)
    supervisor = machine.supervisor(job)
    filler = fill(disk)
    machine.go(job)
    record = Path(job.folder, "exit.1")
    machine.wait_for(record.exists, "the record in the job's folder, which is on another disk")
    until = time.monotonic() + 1.5  # longer than the pause between two tries
    while time.monotonic() < until:
        assert any(each.pid == supervisor.pid for each in machine.own_processes())
        time.sleep(0.05)
    runs = Path(machine.spool.runs)
    assert [path.name for path in runs.iterdir()] == [f"{job.native_id}-1"], "no try leaves a file"
    filler.unlink()
    end = machine.end(job)
    assert (end.state, end.reason, end.exit_code) == (JobState.FAILED, "EXIT_NONZERO", 3)
