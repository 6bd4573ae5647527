"""Which account at which host a site's transport goes to, and with what key."""

from __future__ import annotations

import getpass
import re
from typing import Final

from hpcgate.errors import ConfigError
from hpcgate.model.identity import account_error
from hpcgate.model.site import Site, SshSettings
from hpcgate.transport.certificates import Certified
from hpcgate.transport.connection import Credentials, Target
from hpcgate.transport.credentials import KeyFile, OwnKeys

#: What of a principal's name does not get into the logs of hosts.
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9_.@+:/-]")


def target_of(site: Site, account: str | None) -> Target:
    """The target of a site's transport.

    Args:
        site: with an ``ssh`` table.
        account: whose commands these are; ``None`` = the one that polls.

    Raises:
        ConfigError: the site's tables do not say how to become the account.
    """
    ssh = site.ssh
    if ssh is None:
        raise ConfigError(f"[sites.{site.name}.ssh] is required for transport ssh")
    user = account or site.identity.poller or ssh.user or getpass.getuser()
    credentials = _credentials(site, ssh, account)
    return Target(
        host=ssh.host,
        port=ssh.port,
        user=user,
        credentials=credentials,
        known_hosts=ssh.known_hosts,
        connect_timeout_s=ssh.connect_timeout_s,
        keepalive_s=ssh.keepalive_s,
        max_channels=ssh.max_channels,
        jump=_jump(site.name, ssh, user, credentials) if ssh.jump else None,
    )


def _credentials(site: Site, ssh: SshSettings, account: str | None) -> Credentials:
    """What an account is entered with; the one that polls has ``ssh.key_file`` in every mode, where there is one."""
    identity, table = site.identity, f"[sites.{site.name}.identity]"
    if account is None or (identity.mode == "service" and account == ssh.user):
        if ssh.key_file:
            return KeyFile(ssh.key_file)
        return _certified(site, "poller") if identity.mode == "certificate" else OwnKeys()
    wrong = account_error(account)
    if wrong is not None:
        raise ConfigError(f"{table} accounts: {account!r} {wrong}")
    match identity.mode:
        case "mapped":
            if identity.key_dir is None:
                raise ConfigError(f"{table} key_dir: is required for mode mapped over ssh")
            return KeyFile(f"{identity.key_dir}/{account}")
        case "certificate":
            names = ",".join(_UNSAFE.sub("_", name) for name in identity.principals(account))
            return _certified(site, f"principal={names}")
        case _:
            raise ConfigError(f"{table} mode: is {identity.mode}, so nobody can be {account!r} there")


def _certified(site: Site, whose: str) -> Certified:
    identity = site.identity
    if identity.ca_key_file is None:
        raise ConfigError(f"[sites.{site.name}.identity] ca_key_file: is required for mode certificate")
    return Certified(identity.ca_key_file, identity.certificate_s, f"site={site.name} {whose}")


def _jump(site: str, ssh: SshSettings, user: str, credentials: Credentials) -> Target:
    """The host on the way, entered with the same key."""
    name, _, place = (ssh.jump or "").rpartition("@")
    host, colon, port = place.partition(":")
    if not host or (colon and not port.isdigit()):
        raise ConfigError(f"[sites.{site}.ssh] jump: {ssh.jump!r} is not of the form USER@HOST:PORT")
    return Target(
        host=host,
        port=int(port) if colon else 22,
        user=name or user,
        credentials=credentials,
        known_hosts=ssh.known_hosts,
        connect_timeout_s=ssh.connect_timeout_s,
        keepalive_s=ssh.keepalive_s,
        max_channels=ssh.max_channels,
    )
