"""The same batch system behind a transport that is not this machine's own: the file is sent there and run."""

from __future__ import annotations

from pathlib import Path

import pytest
from hpcgate_local import plugin

from hpcgate.errors import SchedulerError
from hpcgate.model.scheduler import Presence
from hpcgate.model.spec import ArraySpec
from hpcgate.model.state import JobState
from hpcgate.transport.base import Transport
from hpcgate.transport.local import LocalTransport


class Elsewhere(Transport):
    """This machine, as a transport that the plugin does not know; commands start in the home folder."""

    def __init__(self):
        self._here = LocalTransport()
        self.commands = []

    def run(self, argv, **options):
        self.commands.append(tuple(argv))
        return self._here.run(argv, **options)

    def read(self, path, **options):
        return self._here.read(path, **options)

    def write(self, path, data, **options):
        self._here.write(path, data, **options)

    def list(self, path, **options):
        return self._here.list(path, **options)

    def stat(self, path):
        return self._here.stat(path)

    def mkdir(self, path, **options):
        self._here.mkdir(path, **options)

    def remove(self, path, **options):
        self._here.remove(path, **options)

    def close(self):
        self._here.close()


def test_a_job_elsewhere(machine):
    machine.transport = Elsewhere()
    job = machine.sh('echo "$WORD"; exit 3', secret_environment={"WORD": "secret word"})
    end = machine.end(job)
    assert (end.state, end.exit_code) == (JobState.FAILED, 3)
    assert machine.out(job) == "secret word\n"
    assert not any("secret" in part for command in machine.transport.commands for part in command)
    assert [path.name for path in Path(machine.site.work_root).glob("spooler-*.py")]
    assert plugin.hpcgate_find_by_key(machine.site, job, machine.transport).presence is Presence.PRESENT
    with pytest.raises(SchedulerError, match="the job cannot be held any more: it is FAILED") as caught:
        plugin.hpcgate_hold_job(machine.site, job, machine.transport)
    assert not caught.value.transient


def test_an_array_elsewhere_can_be_canceled(machine):
    machine.transport = Elsewhere()
    job = machine.sh("sleep 1000", array=ArraySpec.parse("0-3"))
    machine.wait_for(lambda: machine.see(job).tasks, "a task")
    machine.cancel(job)
    assert machine.end(job).state is JobState.CANCELED


def test_a_spool_that_cannot_be_made_is_a_site_error(machine, tmp_path):
    machine.transport = Elsewhere()
    (tmp_path / "file").write_text("")
    machine.set(spool=str(tmp_path / "spool"))
    (tmp_path / "spool").write_text("")
    with pytest.raises(SchedulerError, match="does not answer") as caught:
        machine.submit(command="true")
    assert caught.value.transient
