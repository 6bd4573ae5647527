"""What becomes of calls when the host, the network or the keys are not as they should be."""

from __future__ import annotations

import socket
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from pathlib import Path

import paramiko
import pytest
from live.sshd import make_key, new_sshd, open_transport, site_of
from paramiko.common import DEFAULT_WINDOW_SIZE, MSG_CHANNEL_CLOSE, MSG_CHANNEL_WINDOW_ADJUST
from support import eventually

from hpcgate.errors import CommandTimeout, TransportError
from hpcgate.transport.ssh import SshOpener

pytestmark = pytest.mark.live


@pytest.fixture
def server(account):
    """A server of the test's own, to be broken."""
    with new_sshd() as server:
        yield server


@contextmanager
def refusal(match: str):
    with pytest.raises(TransportError, match=match) as caught:
        yield
    assert not isinstance(caught.value, CommandTimeout)
    assert not caught.value.transient


@contextmanager
def trouble(match: str):
    with pytest.raises(TransportError, match=match) as caught:
        yield
    assert not isinstance(caught.value, CommandTimeout)
    assert caught.value.transient


# --- keys


def test_an_unknown_host_is_refused_before_any_key_is_shown(server, account):
    server.write("known_hosts", "")
    with open_transport(server, account) as transport:
        with refusal(rf"host key of \[127.0.0.1\]:{server.port} \(ssh-ed25519 SHA256:.*known_hosts"):
            transport.run(["true"])
        with refusal("is not known"):
            transport.read("~/file")
    assert "Accepted publickey" not in server.read("log")


def test_another_key_than_the_known_one(server, account):
    server.believe("other_key.pub")
    with open_transport(server, account) as transport, refusal("is not the one in .*known_hosts: it shows ssh-ed25519"):
        transport.run(["true"])


def test_no_known_hosts_file(server, account):
    with (
        open_transport(server, account, known_hosts="/no/such/file") as transport,
        refusal(r"/no/such/file \(known_hosts\) is not there"),
    ):
        transport.run(["true"])


def test_a_host_that_is_known_by_a_key_it_would_not_show_first(account):
    with new_sshd() as server:
        server.stop()
        make_key(server.folder / "rsa_key", "rsa")
        server.options["HostKey"] = f"{server.path('host_key')}\nHostKey {server.path('rsa_key')}"
        server.start()
        server.believe("rsa_key.pub")
        with open_transport(server, account) as transport:
            assert transport.run(["true"]).exit_status == 0


def test_a_wrong_key(server, account):
    with open_transport(server, account, key_file=server.path("other_key")) as transport:
        with refusal(rf"{account.name}@127.0.0.1:{server.port}: the host refused the account or its key"):
            transport.run(["true"])
        before = server.read("log")
        with refusal("not tried again for"):
            transport.run(["true"])
        assert server.read("log") == before, "nobody knocks on and on"


def test_keys_that_cannot_be_used(server, account):
    server.write("nonsense", "-----BEGIN OPENSSH PRIVATE KEY-----\ntop secret\n-----END OPENSSH PRIVATE KEY-----\n")
    for file, said in (
        (server.path("nonsense"), "no key that can be read"),
        ("/no/such/key", "cannot be read: No such"),
    ):
        with open_transport(server, account, key_file=file) as transport, refusal(said) as caught:
            transport.run(["true"])
        assert "secret" not in repr(caught)


def test_a_key_with_a_passphrase(server, account):
    path = server.path("locked")
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "open sesame", "-f", path], check=True)
    with open_transport(server, account, key_file=path) as transport, refusal("protected by a passphrase"):
        transport.run(["true"])


# --- the network


def test_a_host_that_is_not_there(server, account):
    server.stop()
    with open_transport(server, account, connect_timeout_s=1.0) as transport:
        with trouble("cannot be reached: .*"):
            transport.run(["true"])
        begun = time.monotonic()
        with trouble(r"not tried again for \d s"):
            transport.list("~/")
        assert time.monotonic() - begun < 0.1
        server.start()
        eventually(lambda: _works(transport))


def _works(transport) -> bool:
    try:
        return transport.run(["true"]).exit_status == 0
    except TransportError as error:
        assert error.transient
        return False


def test_a_name_that_does_not_resolve(server, account):
    with open_transport(server, account, host="no-such-host.invalid") as transport, trouble("cannot be reached: "):
        transport.run(["true"])


def test_a_port_where_somebody_else_listens(account, server):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with (
            open_transport(server, account, port=port, connect_timeout_s=0.5) as transport,
            trouble("cannot be reached"),
        ):
            transport.run(["true"])


def test_a_restarted_server_is_found_again(server, account):
    with open_transport(server, account) as transport:
        transport.write("~/kept", b"1")
        server.stop()
        server.start()
        assert transport.run(["echo", "again"]).out == "again\n"
        assert transport.read("~/kept").data == b"1"
        server.drop()
        assert transport.read("~/kept").data == b"1", "files are asked for once more"
        transport.remove("~/kept")


def test_a_connection_that_breaks_under_a_command(server, account):
    """Whether the command took effect is not known, and it is not started a second time."""
    with open_transport(server, account) as transport:
        code = "echo run >> ~/runs; sleep 2"
        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(transport.run, ["sh", "-c", code])
            eventually(lambda: transport.stat("~/runs"))
            server.drop()
            with pytest.raises(CommandTimeout, match="the connection broke while 'sh' ran"):
                running.result()
        assert transport.read("~/runs").data == b"run\n"
        transport.remove("~/runs")


@pytest.mark.parametrize(
    ("message", "argv", "outcome"),
    [
        (MSG_CHANNEL_CLOSE, ["true"], nullcontext()),
        (
            MSG_CHANNEL_WINDOW_ADJUST,
            ["head", "-c", str(DEFAULT_WINDOW_SIZE + 1), "/dev/zero"],
            pytest.raises(CommandTimeout, match="connection broke while 'head' ran"),
        ),
    ],
)
def test_a_connection_that_breaks_while_something_is_said_about_a_channel(sshd, account, message, argv, outcome):
    """The library says by itself that a channel ends, and how much more may come; it fails there in its own way."""
    said = paramiko.Transport._send_user_message

    def breaks(self, data):
        if data.asbytes()[0] == message:
            raise EOFError
        said(self, data)

    with open_transport(sshd, account, max_channels=1) as transport:
        with pytest.MonkeyPatch.context() as patch, outcome:
            patch.setattr(paramiko.Transport, "_send_user_message", breaks)
            transport.run(argv)
        assert transport.run(["echo", "next"]).out == "next\n", "the channel was given back"


def test_files_in_the_middle_of_a_storm(server, account):
    """Connections break again and again; what was written is there, and whole."""
    stop = threading.Event()

    def storm() -> None:
        while not stop.wait(0.15):
            server.drop()

    with open_transport(server, account) as transport, ThreadPoolExecutor(1) as pool:
        raging = pool.submit(storm)
        written = -1
        until = time.monotonic() + 5
        try:
            for n in range(10_000):
                if time.monotonic() > until and (written > 3 or time.monotonic() > until + 40):
                    break
                try:
                    transport.write("~/storm", str(n).encode() * 1000)
                    written = n
                except TransportError as error:
                    assert error.transient
        finally:
            stop.set()
            raging.result()
        assert written > 3
        eventually(lambda: _works(transport))
        left = transport.read("~/storm").data
        assert int(left[: len(left) // 1000]) >= written
        transport.remove("~/storm")


def test_a_host_that_hangs(server, account):
    with open_transport(server, account, connect_timeout_s=0.5) as transport:
        assert transport.run(["true"]).exit_status == 0
        with server.frozen():
            begun = time.monotonic()
            with trouble("cannot be reached|broke again"):
                transport.run(["true"], timeout_s=1)
            assert time.monotonic() - begun < 10
        eventually(lambda: _works(transport))


def test_a_host_that_hangs_under_a_command(server, account):
    with open_transport(server, account, connect_timeout_s=0.5) as transport:
        transport.run(["true"])
        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(transport.run, ["sh", "-c", "touch ~/up; sleep 0.6"], timeout_s=0.5)
            eventually(lambda: transport.stat("~/up"))
            with server.frozen(), pytest.raises(CommandTimeout, match=r"did not end within 0\.5 s"):
                running.result()
        eventually(lambda: _works(transport))
        transport.remove("~/up")


# --- limits of the host


@pytest.mark.parametrize("most", [1, 2, 4])
def test_a_host_with_few_sessions(account, most):
    with new_sshd(options={"MaxSessions": str(most)}) as server, open_transport(server, account) as transport:
        with ThreadPoolExecutor(12) as pool:
            results = list(pool.map(lambda n: transport.run(["sh", "-c", f"sleep 0.05; echo {n}"]).out, range(24)))
            assert results == [f"{n}\n" for n in range(24)]
            assert all(pool.map(lambda n: transport.stat("/etc/passwd"), range(24)))
        assert len(server.connections()) == 1, "a refused channel does not cost the connection"


def test_a_command_waits_for_a_file_session(server, account):
    with open_transport(server, account, max_channels=1) as transport:
        for _ in range(3):
            transport.write("~/one", b"1")
            assert transport.run(["cat", "one"]).out == "1"
        transport.remove("~/one")


def test_a_host_without_sftp(account):
    with new_sshd(options={"Subsystem": "other /bin/true"}) as server, open_transport(server, account) as transport:
        with refusal("offers no SFTP"):
            transport.read("~/file")
        assert transport.run(["true"]).exit_status == 0


def test_a_forced_command(account):
    with (
        new_sshd(options={"ForceCommand": "echo no commands here"}) as server,
        open_transport(server, account) as transport,
        trouble("login shell runs no commands; it says 'bye' and 'quota"),
    ):
        transport.run(["true"])


# --- sharing


def test_equal_targets_share_a_connection_until_the_last_one_closes(server, account):

    opener = SshOpener()
    site = site_of(server.settings(account))
    one, two = opener(site, None), opener(site, account.name)
    assert (one.run(["true"]).exit_status, two.run(["true"]).exit_status) == (0, 0)
    assert len(server.connections()) == 1
    one.close()
    assert two.run(["true"]).exit_status == 0
    two.close()
    eventually(lambda: not server.connections())
    with pytest.raises(TransportError, match="is closing"):
        two.run(["true"])


def test_nothing_is_left_behind(server, account):
    threads = threading.active_count()
    files = _open_files()
    for _ in range(3):
        with open_transport(server, account) as transport:
            transport.run(["true"])
            transport.stat("/")
        with (
            open_transport(server, account, key_file=server.path("other_key")) as transport,
            pytest.raises(TransportError),
        ):
            transport.run(["true"])
    eventually(lambda: threading.active_count() <= threads)
    eventually(lambda: _open_files() <= files)


def _open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))
