"""The local transport: the contract, and what only it can promise."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from transport.contract import TransportConformance

from hpcgate.errors import TransportError
from hpcgate.transport.local import LocalTransport


@pytest.fixture
def transport():
    with LocalTransport() as transport:
        yield transport


@pytest.fixture
def folder(tmp_path):
    return str(tmp_path)


class TestLocalTransport(TransportConformance):
    @pytest.fixture(autouse=True)
    def _home(self, monkeypatch, tmp_path_factory):
        home = tmp_path_factory.mktemp("home")
        (home / "file").touch()
        monkeypatch.setenv("HOME", str(home))


def test_a_program_that_is_not_there(transport):
    with pytest.raises(TransportError, match=r"'/no/such/program' cannot be started: .*No such file") as caught:
        transport.run(["/no/such/program"])
    assert not caught.value.transient


def test_a_background_child_does_not_keep_the_caller(transport):
    began = time.monotonic()
    result = transport.run(["sh", "-c", "sleep 30 & echo $!"])
    assert time.monotonic() - began < 10
    os.kill(int(result.out), 9)


def test_nothing_is_left_open(transport):
    before, children = _names("/proc/self/fd"), _children()
    transport.run(["cat"], stdin=b"x")
    for timeout_s, most in ((0.05, 100), (5.0, 0)):
        with pytest.raises(TransportError):
            transport.run(["sh", "-c", "echo; sleep 5"], timeout_s=timeout_s, max_output=most)
    assert _names("/proc/self/fd") == before
    assert _children() == children, "dead ones count until they are waited for"


def test_a_fifo_is_not_read(transport, tmp_path):
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(TransportError, match="no regular file"):
        transport.read(str(tmp_path / "fifo"))


def test_a_read_behind_any_end_is_empty(transport, tmp_path):
    (tmp_path / "file").write_bytes(b"0123")
    for offset in (4, 5, 2**45, 2**63 - 1):
        chunk = transport.read(str(tmp_path / "file"), offset=offset)
        assert (chunk.data, chunk.size) == (b"", 4)


def test_a_path_that_no_file_can_have_is_not_there(transport, tmp_path):
    (tmp_path / "file").touch()
    assert transport.stat(str(tmp_path / "file" / "below")) is None
    assert transport.stat(str(tmp_path / ("x" * 300))) is None


def test_a_name_that_is_too_long_is_hopeless(transport, tmp_path):
    with pytest.raises(TransportError, match="too long") as caught:
        transport.mkdir(str(tmp_path / ("x" * 300)))
    assert not caught.value.transient


def test_an_endless_device_is_not_read(transport):
    with pytest.raises(TransportError, match="no regular file"):
        transport.read("/dev/zero")


@pytest.mark.parametrize("path", ["relative", "", "~", "~root/x"])
def test_a_relative_path_is_refused(transport, path):
    with pytest.raises(TransportError, match="neither absolute nor below ~/"):
        transport.read(path)


def test_mkdir_is_not_at_the_mercy_of_the_umask(transport, tmp_path):
    old = os.umask(0o777)
    try:
        transport.mkdir(str(tmp_path / "folder" / "below"), mode=0o750)
    finally:
        os.umask(old)
    assert (tmp_path / "folder" / "below").stat().st_mode & 0o777 == 0o750


def test_a_failed_write_leaves_nothing(transport, tmp_path):
    (tmp_path / "target").mkdir()
    with pytest.raises(TransportError, match="cannot be written"):
        transport.write(str(tmp_path / "target"), b"x")
    assert _names(tmp_path) == {"target"}


def _names(folder):
    return {path.name for path in Path(folder).iterdir()}


def _children():
    return {pid for task in Path("/proc/self/task").iterdir() for pid in (task / "children").read_text().split()}
