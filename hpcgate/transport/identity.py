"""Which account at which host a site's transport goes to, and with what key."""

from __future__ import annotations

import getpass
import re
from typing import Final

from hpcgate.errors import ConfigError
from hpcgate.model.site import Site, SshSettings
from hpcgate.transport.certificates import Certified
from hpcgate.transport.connection import Credentials, Target
from hpcgate.transport.credentials import KeyFile, OwnKeys

#: What may become the name of a key file: no path, no option.
_ACCOUNT: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


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
    user = account or ssh.user or getpass.getuser()
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
    """What an account is entered with; the account that polls has ``ssh.key_file`` in every mode."""
    own: Credentials = KeyFile(ssh.key_file) if ssh.key_file else OwnKeys()
    if account is None or account == ssh.user:
        return own
    identity, table = site.identity, f"[sites.{site.name}.identity]"
    if not _ACCOUNT.fullmatch(account) or account == "root":
        raise ConfigError(f"{table} accounts: {account!r} is no account that a job may run as")
    match identity.mode:
        case "mapped":
            if identity.key_dir is None:
                raise ConfigError(f"{table} key_dir: is required for mode mapped over ssh")
            return KeyFile(f"{identity.key_dir}/{account}")
        case "certificate":
            if identity.ca_key_file is None:
                raise ConfigError(f"{table} ca_key_file: is required for mode certificate")
            return Certified(identity.ca_key_file, identity.certificate_s, f"site={site.name}")
        case _:
            raise ConfigError(f"{table} mode: is {identity.mode}, so nobody can be {account!r} there")


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
