"""Commands and folders at a site, beside jobs."""

from __future__ import annotations

import pytest
from support import ANN, BOB

from hpcgate.errors import Forbidden, InvalidSpec
from hpcgate.model.principal import Principal, Role
from hpcgate.model.spec import JobSpec
from hpcgate.service.admission import JobRequest


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SHELL", "/bin/sh")
    return tmp_path


def test_a_command(gateway, home):
    ran = gateway.shell.run(ANN, "fake.example.org", "echo $((1 + 1)); pwd; exit 3", timeout_s=20)
    assert (ran.result.exit_status, ran.result.out, ran.late) == (3, f"2\n{home}\n", False)
    folder = home / "a folder"
    gateway.shell.make_folder(ANN, None, str(folder))
    gateway.shell.make_folder(ANN, None, str(folder))
    assert gateway.shell.run(ANN, None, "pwd", folder=str(folder), timeout_s=20).result.out == f"{folder}\n"


def test_one_that_takes_too_long_tells_what_it_printed(gateway):
    ran = gateway.shell.run(ANN, None, "echo begun; exec sleep 60", timeout_s=0.3)
    assert (ran.late, ran.result.out) == (True, "begun\n")


def test_one_that_ends_as_if_it_had_taken_too_long(gateway):
    assert not gateway.shell.run(ANN, None, "exit 124", timeout_s=20).late


def test_who_may(make_gateway):
    gateway = make_gateway(sites={"fake": {"scheduler": "fake"}})
    reader = Principal(name="sue", roles=frozenset({Role.SUPPORT}))
    with pytest.raises(Forbidden):
        gateway.shell.run(reader, None, "true", timeout_s=5)
    with pytest.raises(InvalidSpec, match="there is no site 'nowhere'"):
        gateway.shell.home(ANN, "nowhere")
    gateway.jobs.submit(ANN, JobRequest(spec=JobSpec(command="true")))
    with pytest.raises(Forbidden, match="run as one account"):
        gateway.shell.run(BOB, None, "true", timeout_s=5)
