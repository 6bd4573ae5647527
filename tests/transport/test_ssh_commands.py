"""What only a transport over ssh can get wrong with commands and files."""

from __future__ import annotations

import os
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import pytest
from live.sshd import NOISE, new_account, new_sshd, open_transport
from support import eventually

from hpcgate.errors import OutputTooLarge, TransportError

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def transport(sshd, account):
    with open_transport(sshd, account) as transport:
        yield transport


@pytest.fixture
def folder(account, transport):
    path = f"{account.home}/{uuid4().hex}"
    transport.mkdir(path)
    yield path
    transport.remove(path)


# --- commands


def test_the_noise_is_there(sshd, account):
    """What the other tests here stand on: a plain ssh client sees all of it."""
    known_hosts = f"UserKnownHostsFile={sshd.path('known_hosts')}"
    options = ["-F", "none", "-p", str(sshd.port), "-i", sshd.path("user_key"), "-o", known_hosts]
    argv = ["ssh", *options, f"{account.name}@{sshd.address}", "echo out; echo err >&2"]
    plain = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert plain.stdout == "Welcome to the cluster!\nno newline at the end of thisout\nbye\n"
    assert "Authorised users only" in plain.stderr
    assert "quota: 99 % used\nerr\n" in plain.stderr


def test_noise_reaches_nobody(transport):
    result = transport.run(["sh", "-c", "echo out; echo err >&2"])
    assert (result.exit_status, result.stdout, result.stderr) == (0, b"out\n", b"err\n")
    assert transport.run(["printf", "%s", "no newline"]).stdout == b"no newline"
    assert transport.run(["true"]).stdout == b""


def test_it_runs_as_the_account_in_its_home(transport, account):
    result = transport.run(["sh", "-c", "id -un; pwd"])
    assert result.out.splitlines() == [account.name, account.home]


@pytest.mark.parametrize("status", [0, 1, 35, 124, 125, 126, 127, 128, 137, 153, 168, 187, 255])
def test_every_exit_status_is_told_from_a_signal(transport, status):
    assert transport.run(["sh", "-c", f"exit {status}"]).exit_status == status


@pytest.mark.parametrize(("name", "status"), [("TERM", -15), ("KILL", -9), ("SEGV", -11), ("HUP", -1)])
def test_a_signal_is_told_from_an_exit_status(transport, name, status):
    assert transport.run(["sh", "-c", f"kill -{name} $$"]).exit_status == status


def test_binary_and_undecodable_arguments(transport):
    argument = os.fsdecode(bytes(range(1, 256)))
    assert transport.run(["printf", "%s", argument]).stdout == bytes(range(1, 256))
    assert transport.run(["sh", "-c", 'printf %s "$V"'], environment={"V": argument}).stdout == bytes(range(1, 256))


def test_four_kilobytes_of_environment(transport):
    value = 'it\'s "$4" \\ `k`!\n' * 256
    assert transport.run(["sh", "-c", 'printf %s "$V"'], environment={"V": value}).out == value


def test_what_no_command_line_can_hold(transport):
    with pytest.raises(TransportError, match="NUL") as caught:
        transport.run(["echo", "a\0b"])
    assert not caught.value.transient
    with pytest.raises(TransportError, match=r"its command line has \d+ bytes; .* 120000") as caught:
        transport.run(["echo", "x" * 200_000])
    assert not caught.value.transient
    assert transport.run(["printf", "%s", "x" * 110_000]).stdout == b"x" * 110_000


@pytest.mark.parametrize("program", ["a=b", "-n", "--help"])
def test_a_program_is_not_taken_for_something_else(transport, program):
    result = transport.run([program], environment={"A": "1"})
    assert result.exit_status == 127
    assert "No such file" in result.err


def test_large_input_and_output_at_once(transport):
    data = os.urandom(8 << 20)  # more than any window
    assert transport.run(["cat"], stdin=data).stdout == data


def test_300_kb_into_a_command_that_answers_late(transport):
    data = b"x" * 300_000
    assert transport.run(["sh", "-c", "sleep 0.3; wc -c"], stdin=data).out.strip() == "300000"


def test_a_command_that_reads_nothing_of_much_input(transport):
    assert transport.run(["sh", "-c", "exec 0<&-; exit 3"], stdin=b"x" * (8 << 20)).exit_status == 3


def test_a_hung_command_is_ended_there_too(transport, account):
    begun = time.monotonic()
    with pytest.raises(TransportError, match="did not end within"):
        transport.run(["sh", "-c", "trap '' TERM; sleep 4321 & trap '' HUP; sleep 4321"], timeout_s=0.3)
    assert time.monotonic() - begun < 4
    eventually(lambda: not any("4321" in line for line in account.processes()))


def test_too_much_output_ends_the_command_there(transport, account):
    with pytest.raises(OutputTooLarge):
        transport.run(["yes", "marked-1234"], max_output=1000)
    eventually(lambda: not any("marked-1234" in line for line in account.processes()))


def test_a_background_child_does_not_keep_the_caller(transport):
    begun = time.monotonic()
    result = transport.run(["sh", "-c", "sleep 30 & echo $!"])
    assert time.monotonic() - begun < 10
    assert transport.run(["kill", "-KILL", result.out.strip()]).exit_status == 0, "it lives on, as it should"


def test_arguments_are_not_in_messages(transport):
    with pytest.raises(TransportError) as caught:
        transport.run(["sh", "-c", "sleep 100; echo hush"], timeout_s=0.1)
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize("shell", ["/bin/dash", "/bin/sh", "/bin/tcsh"])
def test_other_login_shells(sshd, shell):
    if not Path(shell).exists():
        pytest.skip(f"needs {shell}: run tests/live/provision.sh")
    with new_account("s", shell=shell) as account, open_transport(sshd, account) as transport:
        awkward = ["it's", '"', "$HOME", "`id`", "a\\b", "\\", "hi! !!", "new\nline", "*", "~"]
        result = transport.run(["printf", "%s\\0", *awkward], environment={"A": "!\\\n"})
        assert result.out.split("\0")[:-1] == awkward
        assert transport.run(["sh", "-c", "exit 153"]).exit_status == 153
        assert transport.run(["sh", "-c", "kill -TERM $$"]).exit_status == -15
        transport.write("~/file", b"x")
        assert transport.read("~/file").data == b"x"


def test_a_shell_that_runs_no_commands(sshd):
    with new_account("n", shell="/usr/sbin/nologin") as account, open_transport(sshd, account) as transport:
        with pytest.raises(TransportError, match=r"shell runs no commands; it says 'This account is currently"):
            transport.run(["true"])
        with pytest.raises(TransportError, match="offers no SFTP"):
            transport.read("~/file")


def test_a_shell_that_traces_what_it_does(sshd):
    with new_account("x", noise=f"{NOISE}\nset -xv\n") as account, open_transport(sshd, account) as transport:
        result = transport.run(["sh", "-c", "echo out; echo err >&2"])
        assert (result.out, result.err) == ("out\n", "err\n")


def test_thirty_threads_share_eight_channels(account):
    with new_sshd() as server, open_transport(server, account) as transport, ThreadPoolExecutor(30) as pool:

        def work(n: int) -> None:
            for m in range(5):
                text = f"{n}-{m}"
                assert transport.run(["cat"], stdin=text.encode()).out == text
                transport.write(f"~/thread-{n}", text.encode())
                assert transport.read(f"~/thread-{n}").data == text.encode()
            transport.remove(f"~/thread-{n}")

        for done in [pool.submit(work, n) for n in range(30)]:
            done.result()
        assert len(server.connections()) == 1


# --- files


def test_reading_is_not_kept_up_by_a_fifo_or_device(transport, folder):
    transport.run(["mkfifo", f"{folder}/fifo"])
    for path in (f"{folder}/fifo", "/dev/zero"):
        with pytest.raises(TransportError, match="no regular file"):
            transport.read(path)


@pytest.mark.parametrize("path", ["relative", "", "~", "~root/x"])
def test_a_relative_path_is_refused(transport, path):
    with pytest.raises(TransportError, match="neither absolute nor below ~/"):
        transport.read(path)


def test_a_large_file(transport, folder):
    data = os.urandom(5_000_000)
    transport.write(f"{folder}/large", data)
    assert transport.read(f"{folder}/large").data == data
    part = transport.read(f"{folder}/large", offset=1_234_567, length=2_000_000)
    assert (part.data, part.size) == (data[1_234_567:3_234_567], len(data))


def test_a_file_that_is_being_written_to(transport, folder):
    transport.run(
        ["sh", "-c", f"nohup sh -c 'while :; do echo line; done' > {folder}/log 2>&1 & echo $! > {folder}/pid"]
    )
    try:
        eventually(lambda: (info := transport.stat(f"{folder}/log")) and info.size > 1000)
        seen = b""
        for _ in range(20):
            chunk = transport.read(f"{folder}/log", offset=len(seen), length=50_000)
            assert chunk.size >= len(seen) + len(chunk.data)
            seen += chunk.data
        assert seen == (b"line\n" * len(seen))[: len(seen)]
    finally:
        transport.run(["sh", "-c", f"kill -KILL $(cat {folder}/pid)"])


def test_mkdir_is_not_at_the_mercy_of_the_umask(sshd):
    with new_account("u", noise="umask 077") as account, open_transport(sshd, account) as transport:
        transport.mkdir("~/folder/below", mode=0o1777)
        transport.write("~/folder/file", b"", mode=0o644)
        assert [transport.stat(f"~/folder{part}").mode for part in ("", "/below", "/file")] == [0o1777, 0o1777, 0o644]


def test_a_folder_where_none_can_be(transport):
    with pytest.raises(TransportError, match=r"'/proc/hpcgate/below' cannot be made: No such file"):
        transport.mkdir("/proc/hpcgate/below")
    transport.mkdir("/")


def test_a_file_that_comes_while_it_is_asked_for(transport, folder):
    """Not there yet is "not found", whenever it appears."""
    loop = f"while [ ! -e '{folder}/stop' ]; do touch '{folder}/it'; rm '{folder}/it'; done"
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(transport.run, ["sh", "-c", loop])
        try:
            for _ in range(300):
                with suppress(FileNotFoundError):
                    assert transport.read(f"{folder}/it").data == b""
        finally:
            transport.write(f"{folder}/stop", b"")
        running.result()


def test_what_the_account_may_not(transport, folder):
    for doing in (
        lambda: transport.write("/etc/hpcgate-test", b""),
        lambda: transport.mkdir("/etc/hpcgate-test"),
        lambda: transport.read("/etc/shadow"),
        lambda: transport.list("/root"),
        lambda: transport.remove("/etc/hostname"),
        lambda: transport.remove("/etc/ssh"),
    ):
        with pytest.raises(TransportError, match=r"'/.*' cannot be") as caught:
            doing()
        assert not caught.value.transient
    assert transport.list(folder) == []


def test_a_failed_write_leaves_nothing(transport, folder):
    transport.mkdir(f"{folder}/target")
    with pytest.raises(TransportError, match="cannot be written"):
        transport.write(f"{folder}/target", b"x")
    assert [entry.name for entry in transport.list(folder)] == ["target"]


def test_a_full_disk_keeps_the_old_content(transport, folder):
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,mode=1777", "tmpfs", folder], check=True)
    try:
        transport.write(f"{folder}/file", b"old")
        with pytest.raises(TransportError, match="cannot be written"):
            transport.write(f"{folder}/file", b"x" * 1_000_000)
        assert transport.read(f"{folder}/file").data == b"old"
        assert [entry.name for entry in transport.list(folder)] == ["file"]
    finally:
        subprocess.run(["umount", "-l", folder], check=True)
