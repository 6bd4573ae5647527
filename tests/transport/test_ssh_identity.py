"""As whom the far side is entered, and with what: one account, a key an account, short-lived certificates."""

from __future__ import annotations

import gc
import re
import socket
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519
from live.sshd import make_key, new_account, new_sshd, site_of
from support import eventually

from hpcgate.errors import ConfigError, TransportError
from hpcgate.model.site import IdentitySettings, SshSettings
from hpcgate.transport.certificates import Certified, sign
from hpcgate.transport.credentials import KeyFile, OwnKeys
from hpcgate.transport.identity import target_of
from hpcgate.transport.ssh import SshOpener

SSH = SshSettings(host="login", user="svc", key_file="/keys/svc", known_hosts="/keys/hosts")


def target(account=None, **identity):
    return target_of(site_of(SSH, identity=IdentitySettings(**identity)), account)


# --- which credentials


def test_service_is_one_account():
    assert (target().user, target().credentials) == ("svc", KeyFile("/keys/svc"))
    assert target("svc") == target()
    with pytest.raises(ConfigError, match=r"\[sites.there.identity\] mode: is service, so nobody can be 'ann' there"):
        target("ann")


def test_the_poller_is_an_account_of_its_own():
    assert target(mode="mapped", key_dir="/keys", poller="watch").user == "watch"
    there = target_of(
        site_of(
            SshSettings(host="login"),
            identity=IdentitySettings(mode="certificate", ca_key_file="/keys/ca", poller="watch"),
        ),
        None,
    )
    assert (there.user, there.credentials) == ("watch", Certified("/keys/ca", 300, "site=there poller"))


def test_a_certificate_names_the_principals():
    accounts = {"ann": "x1", "b\nob 1": "x1", "carol": "x2"}
    there = target("x1", mode="certificate", ca_key_file="/keys/ca", accounts=accounts)
    assert there.credentials.purpose == "site=there principal=ann,b_ob_1"


def test_mapped_takes_a_key_by_account():
    there = target("ann", mode="mapped", key_dir="/keys/users")
    assert (there.user, there.credentials) == ("ann", KeyFile("/keys/users/ann"))
    assert target(mode="mapped", key_dir="/keys/users").credentials == KeyFile("/keys/svc"), "the poller's own"
    with pytest.raises(ConfigError, match="key_dir: is required"):
        target("ann", mode="mapped")


@pytest.mark.parametrize("account", ["root", "../svc", "a/b", "-x", "", " ", "a b"])
@pytest.mark.parametrize("mode", ["mapped", "certificate"])
def test_what_is_no_account(account, mode):
    with pytest.raises(ConfigError, match=r"is a system account|is no name of an account"):
        target(account, mode=mode, key_dir="/keys", ca_key_file="/keys/ca")


def test_accounts_have_connections_of_their_own():
    ann, bob = (target(name, mode="certificate", ca_key_file="/keys/ca") for name in ("ann", "bob"))
    assert ann != bob
    assert ann == target("ann", mode="certificate", ca_key_file="/keys/ca")


@pytest.mark.parametrize("jump", ["", "@", "host:port"])
def test_a_jump_that_is_none(jump):
    ssh = SshSettings(host="login", jump="x")
    object.__setattr__(ssh, "jump", jump or "@")
    with pytest.raises(ConfigError, match=r"jump: .* is not of the form USER@HOST:PORT"):
        target_of(site_of(ssh), None)


# --- certificates


def test_a_certificate_says_who_for_how_long_and_nothing_more():
    authority, key = ed25519.Ed25519PrivateKey.generate(), ed25519.Ed25519PrivateKey.generate()
    text = sign(authority, key.public_key(), account="ann", key_id="why", valid_s=300)
    certificate = serialization.load_ssh_public_identity(text)
    assert isinstance(certificate, serialization.SSHCertificate)
    certificate.verify_cert_signature()
    assert certificate.type is serialization.SSHCertificateType.USER
    assert (certificate.valid_principals, certificate.key_id) == ([b"ann"], b"why")
    assert 0 < certificate.valid_before - time.time() <= 300
    assert (certificate.extensions, certificate.critical_options) == ({}, {})
    assert certificate.public_key().public_bytes_raw() == key.public_key().public_bytes_raw()


@pytest.fixture
def authority_server(account, tmp_path):
    """A server that believes certificates and no keys."""
    with new_sshd() as server:
        server.stop()
        make_key(server.folder / "ca")
        server.write("authorized_keys", "")
        server.options["TrustedUserCAKeys"] = server.path("ca.pub")
        server.start()
        yield server


def certified(server, account, **changed):
    identity = IdentitySettings(
        mode="certificate", accounts={"ann": account}, **{"ca_key_file": server.path("ca"), **changed}
    )
    settings = SshSettings(
        host=server.address, port=server.port, user="hpcgate-poller", known_hosts=server.path("known_hosts")
    )
    return SshOpener()(site_of(settings, identity=identity), account)


@pytest.mark.live
def test_a_certificate_opens_its_account(authority_server, account):
    with certified(authority_server, account.name) as transport:
        assert transport.run(["id", "-un"]).out.strip() == account.name
        transport.write("~/file", b"x")
        transport.remove("~/file")
    log = authority_server.read("log")
    assert f'ID "hpcgate site=there principal=ann account={account.name} request=' in log.replace(
        "ID hpcgate", 'ID "hpcgate'
    )


@pytest.mark.live
def test_a_certificate_opens_no_other_account(authority_server, account, tmp_path):
    with new_account("o") as other:
        key = ed25519.Ed25519PrivateKey.generate()
        authority = serialization.load_ssh_private_key((authority_server.folder / "ca").read_bytes(), None)
        private, certificate = tmp_path / "id", tmp_path / "id-cert.pub"
        private.touch(0o600)
        private.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
            )
        )

        def enter(user: str, **fields) -> int:
            made = {"account": account.name, "key_id": "test", "valid_s": 60, **fields}
            certificate.write_bytes(sign(authority, key.public_key(), **made) + b"\n")
            options = ["-F", "none", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no", "-o", "LogLevel=QUIET"]
            options += ["-o", "UserKnownHostsFile=/dev/null", "-i", str(private), "-p", str(authority_server.port)]
            argv = ["ssh", *options, f"{user}@{authority_server.address}", "true"]
            return subprocess.run(argv, capture_output=True, check=False).returncode

        assert enter(account.name) == 0
        assert enter(other.name) == 255
        assert enter(account.name, valid_s=-30) == 255, "its time is over"


@pytest.mark.live
def test_another_authority_opens_nothing(authority_server, account):
    make_key(authority_server.folder / "other_ca")
    with certified(authority_server, account.name, ca_key_file=authority_server.path("other_ca")) as transport:
        with pytest.raises(TransportError, match="the host refused the account or its key") as caught:
            transport.run(["true"])
        assert not caught.value.transient


@pytest.mark.live
@pytest.mark.parametrize("kind", ["rsa", "ecdsa"])
def test_authorities_of_other_kinds(authority_server, account, kind):
    make_key(authority_server.folder / kind, kind)
    trusted = authority_server.read("ca.pub") + authority_server.read(f"{kind}.pub")
    authority_server.write("ca.pub", trusted)
    with certified(authority_server, account.name, ca_key_file=authority_server.path(kind)) as transport:
        assert transport.run(["true"]).exit_status == 0


@pytest.fixture
def agent(monkeypatch, tmp_path):
    """An ssh-agent of the test's own."""
    path = tmp_path / "agent"
    process = subprocess.Popen(["ssh-agent", "-D", "-a", str(path)], stdout=subprocess.DEVNULL)
    try:
        eventually(path.exists)
        monkeypatch.setenv("SSH_AUTH_SOCK", str(path))
        yield
    finally:
        process.terminate()
        process.wait()


@pytest.mark.live
@pytest.mark.parametrize("kind", ["ed25519", "rsa", "ecdsa"])
def test_an_authority_in_an_agent(authority_server, account, agent, kind):
    make_key(authority_server.folder / kind, kind)
    authority_server.write("ca.pub", authority_server.read(f"{kind}.pub"))
    there = certified(authority_server, account.name, ca_key_file=authority_server.path(f"{kind}.pub"))
    with there as transport, pytest.raises(TransportError, match="does not have the private half"):
        transport.run(["true"])
    subprocess.run(["ssh-add", "-q", authority_server.path(kind)], check=True, capture_output=True)
    (authority_server.folder / kind).unlink()
    with certified(authority_server, account.name, ca_key_file=authority_server.path(f"{kind}.pub")) as transport:
        assert transport.run(["id", "-un"]).out.strip() == account.name


def test_without_an_agent(monkeypatch, tmp_path):
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    make_key(tmp_path / "ca")
    there = target("ann", mode="certificate", ca_key_file=str(tmp_path / "ca.pub"))
    with pytest.raises(TransportError, match="no ssh-agent"):
        there.credentials.arguments("ann")
    (tmp_path / "ca.pub").write_text("ssh-ed25519 nonsense\n")
    with pytest.raises(TransportError, match="is no public key that can be read"):
        there.credentials.arguments("ann")


@pytest.fixture
def dead_agent(monkeypatch, tmp_path):
    """A variable that still names an agent that has gone; so does one of a session that was left."""
    with socket.socket(socket.AF_UNIX) as gone:
        gone.bind(str(tmp_path / "gone"))
    monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "gone"))
    monkeypatch.setenv("HOME", str(tmp_path))  # has no keys


@pytest.mark.live
def test_an_agent_that_has_gone_leaves_nothing_open(authority_server, account, dead_agent):
    there = SshOpener()(site_of(authority_server.settings(account, key_file=None)), None)
    with there as transport, pytest.raises(TransportError, match="the host refused the account or its key"):
        transport.run(["true"])
    gc.collect()  # a socket that nobody has closed would warn now, and a warning is an error


def test_an_agent_that_has_gone_is_not_asked(dead_agent):
    assert not OwnKeys().arguments("ann")["allow_agent"]
    home = Path("~").expanduser()
    make_key(home / "ca")
    there = target("ann", mode="certificate", ca_key_file=str(home / "ca.pub"))
    with pytest.raises(TransportError, match="no ssh-agent"):
        there.credentials.arguments("ann")
    gc.collect()


@pytest.mark.live
def test_an_agent_that_listens_is_asked(agent):
    assert OwnKeys().arguments("ann")["allow_agent"]


@pytest.mark.live
def test_a_connection_is_renewed_before_its_certificate_ends(authority_server, account):
    with certified(authority_server, account.name, certificate_s=5) as transport:
        with ThreadPoolExecutor(1) as pool:
            long = pool.submit(transport.run, ["sh", "-c", "sleep 5; echo whole"])
            eventually(lambda: transport.run(["true"]).exit_status == 0)
            eventually(lambda: transport.run(["true"]) and authority_server.read("log").count("request=") == 2)
            assert len(authority_server.connections()) == 2, "what is under way on the first one may end there"
            assert long.result().out == "whole\n"
        eventually(lambda: transport.run(["true"]) and len(authority_server.connections()) == 1)
    ids = re.findall("request=([0-9a-f]+)", authority_server.read("log"))
    assert len(ids) == len(set(ids)) >= 2


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read: No such"),
        ("secret nonsense", "is no private key"),
        ("-----BEGIN OPENSSH", "is no pr"),
    ],
)
def test_an_authority_that_cannot_be_used(tmp_path, content, said):
    file = tmp_path / "ca"
    if content is not None:
        file.write_text(content)
    there = target("ann", mode="certificate", ca_key_file=str(file))
    with pytest.raises(TransportError, match=said) as caught:
        there.credentials.arguments("ann")
    assert not caught.value.transient
    assert "secret" not in str(caught.value)


@pytest.mark.live
def test_a_key_for_each_account(account):
    with new_account("m") as other, new_sshd() as server:
        server.stop()
        (server.folder / "keys").mkdir()
        for each in (account, other):
            make_key(server.folder / "keys" / each.name)
            server.write(f"authorized_{each.name}", server.read(f"keys/{each.name}.pub"))
        server.options["AuthorizedKeysFile"] = server.path("authorized_%u")
        server.start()
        opener = SshOpener()
        site = site_of(server.settings(account), identity=IdentitySettings(mode="mapped", key_dir=server.path("keys")))
        with opener(site, other.name) as transport:
            assert transport.run(["id", "-un"]).out.strip() == other.name
