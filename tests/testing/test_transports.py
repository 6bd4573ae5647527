"""Files in memory behave as files do; commands are answered as planned."""

import pytest

from hpcgate.errors import CommandTimeout, TransportError
from hpcgate.testing.transports import MemoryTransport, ScriptedTransport
from hpcgate.transport.base import CommandResult


@pytest.fixture
def memory():
    return MemoryTransport()


def test_read_gives_the_part_that_was_asked_for(memory):
    memory.write("~/file", b"0123456789", mode=0o640)
    assert memory.read("/home/test/file").data == b"0123456789"
    chunk = memory.read("~/file", offset=4, length=3)
    assert (chunk.data, chunk.offset, chunk.size) == (b"456", 4, 10)
    assert memory.read("~/file", offset=20).data == b""
    info = memory.stat("~/file")
    assert (info.name, info.size, info.mode, info.is_dir) == ("file", 10, 0o640, False)


def test_what_is_not_there(memory):
    assert memory.stat("/nothing") is None
    with pytest.raises(FileNotFoundError):
        memory.read("/nothing")
    with pytest.raises(FileNotFoundError):
        memory.list("/nothing")
    memory.remove("/nothing")
    with pytest.raises(TransportError):
        memory.write("/nothing/file", b"")


def test_folders(memory):
    memory.mkdir("/a/b/c")
    memory.mkdir("/a/b")
    memory.write("/a/b/file", b"x")
    memory.write("/a/bc", b"x")
    assert [(entry.name, entry.is_dir) for entry in memory.list("/a/b")] == [("c", True), ("file", False)]
    assert [entry.name for entry in memory.list("/")] == ["a", "home"]
    with pytest.raises(TransportError):
        memory.mkdir("/a/b/file/d")
    with pytest.raises(TransportError):
        memory.read("/a/b")
    memory.remove("/a/b")
    assert [entry.name for entry in memory.list("/a")] == ["bc"]


def test_memory_runs_nothing(memory):
    with pytest.raises(TransportError):
        memory.run(["true"])


def test_closing(memory):
    with memory:
        assert not memory.closed
    assert memory.closed


def test_answers_come_in_order_and_the_last_stays():
    transport = ScriptedTransport()
    transport.on("squeue", stdout="one")
    transport.on("squeue", stdout="two", exit_status=1, stderr=b"\xff")
    assert [transport.run(["squeue", "-a"]).out for _ in range(3)] == ["one", "two", "two"]
    assert transport.run(["squeue"]) == CommandResult(1, b"two", b"\xff")
    assert [command.argv for command in transport.commands][:2] == [("squeue", "-a"), ("squeue", "-a")]


def test_the_longest_prefix_answers():
    transport = ScriptedTransport()
    transport.on("scontrol", stdout="any")
    transport.on("scontrol", "hold", stdout="hold")
    assert transport.run(["scontrol", "hold", "7"]).out == "hold"
    assert transport.run(["scontrol", "show"]).out == "any"


def test_errors_and_calls():
    transport = ScriptedTransport()
    transport.on("sbatch", error=CommandTimeout("slow"))
    transport.on("cat", call=lambda command: CommandResult(0, command.stdin, b""))
    with pytest.raises(CommandTimeout):
        transport.run(["sbatch"])
    assert transport.run(["cat"], stdin=b"echo").stdout == b"echo"


def test_a_command_that_nobody_planned_fails_the_test():
    with pytest.raises(AssertionError, match=r"no answer was planned for \['rm', '-r'\]"):
        ScriptedTransport().run(["rm", "-r"])
