"""A host with an address of its own, over a wire that can be cut; and one that is reached through another."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from live.sshd import new_network, new_sshd, open_transport
from support import eventually

from hpcgate.errors import CommandTimeout, TransportError

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def network(account):
    with new_network() as network:
        yield network


@pytest.fixture
def server(network):
    """An sshd on the other host."""
    prefix = ("ip", "netns", "exec", network.name)
    with new_sshd(address=network.there, port=22, prefix=prefix) as server:
        server.write("known_hosts", f"{network.there} {server.read('host_key.pub')}")  # port 22 is not named there
        yield server


def test_it_is_another_host(server, account, network):
    with open_transport(server, account) as transport:
        assert network.there in transport.run(["ip", "-brief", "address"]).out
        assert transport.run(["sh", "-c", "echo $SSH_CONNECTION"]).out.split()[0] == network.here


def test_a_cut_wire_is_noticed_long_before_the_time_limit(server, account, network):
    with open_transport(server, account, keepalive_s=1, connect_timeout_s=1) as transport:
        with ThreadPoolExecutor(1) as pool:
            begun = time.monotonic()
            running = pool.submit(transport.run, ["sh", "-c", "touch ~/up; sleep 55"], timeout_s=60)
            eventually(lambda: transport.stat("~/up"))
            network.cut()
            try:
                with pytest.raises(CommandTimeout, match="the connection broke"):
                    running.result()
                assert time.monotonic() - begun < 30
                with pytest.raises(TransportError, match="cannot be reached") as caught:
                    transport.run(["true"])
                assert caught.value.transient
                assert not isinstance(caught.value, CommandTimeout)
            finally:
                network.mend()
        eventually(lambda: _works(transport))
        transport.run(["rm", "up"])


def _works(transport) -> bool:
    try:
        return transport.run(["true"]).exit_status == 0
    except TransportError:
        return False


def test_through_another_host(server, account, network):
    with new_sshd() as way:
        way.write("authorized_keys", server.read("user_key.pub"))
        server.write("known_hosts", server.read("known_hosts") + way.read("known_hosts"))
        jump = f"{account.name}@{way.address}:{way.port}"
        with open_transport(server, account, jump=jump) as transport:
            assert network.there in transport.run(["ip", "-brief", "address"]).out
            assert transport.run(["cat"], stdin=b"x" * 3_000_000).stdout == b"x" * 3_000_000
            transport.write("~/file", b"x")
            transport.remove("~/file")
            assert len(way.connections()) == 1
            way.drop()
            assert transport.run(["true"]).exit_status == 0
        eventually(lambda: not way.connections())
        server.write("known_hosts", way.read("known_hosts"))
        with (
            open_transport(server, account, jump=jump) as transport,
            pytest.raises(TransportError, match=rf"host key of {network.there}"),
        ):
            transport.run(["true"])
