"""known_hosts as OpenSSH reads it."""

from __future__ import annotations

import base64
import hashlib
import hmac

import pytest

from hpcgate.errors import TransportError
from hpcgate.transport.hostkeys import KnownHosts, fingerprint

ONE, TWO, OTHER = (base64.b64encode(name.encode()).decode() for name in ("one", "two", "other"))


@pytest.fixture
def known(tmp_path):
    def write(*lines: str) -> KnownHosts:
        (tmp_path / "known_hosts").write_text("\n".join(lines) + "\n")
        return KnownHosts(str(tmp_path / "known_hosts"))

    return write


def check(known: KnownHosts, host: str, key: str = ONE, port: int = 22) -> str:
    try:
        known.check(host, port, "ssh-ed25519", key)
    except TransportError as error:
        assert not error.transient
        return error.message
    return "believed"


@pytest.mark.parametrize(
    ("names", "host", "port", "believed"),
    [
        ("login", "login", 22, True),
        ("login", "LOGIN", 22, True),
        ("login,10.0.0.1", "10.0.0.1", 22, True),
        ("login", "login2", 22, False),
        ("login?", "login2", 22, True),
        ("*.example.org", "a.example.org", 22, True),
        ("*.example.org,!evil.example.org", "evil.example.org", 22, False),
        ("login", "login", 2222, False),
        ("[login]:2222", "login", 2222, True),
        ("[login]:2222", "login", 22, False),
        ("[*.example.org]:2222", "a.example.org", 2222, True),
    ],
)
def test_names(known, names, host, port, believed):
    said = check(known("# a comment", "", f"{names} ssh-ed25519 {ONE} comment"), host, port=port)
    assert (said == "believed") is believed
    if not believed:
        assert "is not known in" in said


def test_hashed_names(known):
    salt = b"salt" * 5
    digest = hmac.new(salt, b"[login]:2222", hashlib.sha1).digest()
    hashed = "|1|" + "|".join(base64.b64encode(part).decode() for part in (salt, digest))
    hosts = known(f"{hashed} ssh-ed25519 {ONE}", "|1|broken ssh-ed25519 AAAA")
    assert check(hosts, "login", port=2222) == "believed"
    assert "is not known" in check(hosts, "login")


def test_several_keys_of_one_name(known):
    """A name may stand for several login nodes."""
    hosts = known(f"login ssh-ed25519 {ONE}", f"login ssh-ed25519 {TWO}", f"login ssh-rsa {TWO}")
    assert check(hosts, "login", ONE) == check(hosts, "login", TWO) == "believed"
    assert "is not the one in" in check(hosts, "login", OTHER)
    assert hosts.types("login", 22) == {"ssh-ed25519", "ssh-rsa"}
    assert hosts.types("elsewhere", 22) == frozenset()


def test_a_revoked_key(known):
    hosts = known(f"login ssh-ed25519 {ONE}", f"@revoked * ssh-ed25519 {ONE}", f"login ssh-ed25519 {TWO}")
    assert "is revoked" in check(hosts, "login", ONE)
    assert check(hosts, "login", TWO) == "believed"


def test_an_authority_is_no_host(known):
    assert "is not known" in check(known(f"@cert-authority * ssh-ed25519 {ONE}"), "login")


def test_the_message_says_what_to_compare(known):
    said = check(known(), "login")
    assert fingerprint(ONE) in said
    assert "known_hosts" in said


def test_fingerprint_is_that_of_ssh_keygen():
    digest = hashlib.sha256(b"one").digest()
    assert fingerprint(ONE) == "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


def test_a_file_that_cannot_be_read(tmp_path):
    assert "is not there" in check(KnownHosts(str(tmp_path / "none")), "login")
    assert "cannot be read" in check(KnownHosts(str(tmp_path)), "login")


def test_without_a_file_of_its_own(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    said = check(KnownHosts(), "login.invalid")
    assert "~/.ssh/known_hosts or /etc/ssh/ssh_known_hosts" in said
