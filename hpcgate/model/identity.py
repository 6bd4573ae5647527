"""Which accounts jobs may run as, and what an ``identity`` table may say."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Final

from hpcgate.model.site import IdentitySettings, SshSettings

MODES: Final = ("service", "mapped", "certificate")
#: What an account is called: no path, no option, no number.
_ACCOUNT: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*\$?")

#: Accounts that systems make for themselves; a job that runs as one of them is a job that runs the machine.
SYSTEM_ACCOUNTS: Final = """
    root toor daemon bin sys sync adm games man lp mail news uucp operator proxy www-data backup list irc gnats nobody
    nfsnobody halt shutdown ftp apache httpd nginx sshd ssh messagebus dbus polkitd rtkit avahi chrony ntp rpc rpcuser
    statd postfix exim smmsp named bind ldap nslcd nscd sssd tss uuidd syslog _apt mysql mariadb postgres redis munge
    slurm slurmdbd pbs pbsdata pbsadmin torque docker dnsmasq libvirt qemu kvm abrt unbound tcpdump cron lxd
"""


def account_error(account: str) -> str | None:
    """Why no job may run as an account, at the end of a sentence that begins with its name; ``None`` = it may."""
    if not _ACCOUNT.fullmatch(account):
        return "is no name of an account"
    if account.lower() in SYSTEM_ACCOUNTS.split() or account.startswith("systemd-"):
        return "is a system account; jobs run as ordinary accounts only"
    return None


def identity_errors(
    transport: str, ssh: SshSettings | None, identity: IdentitySettings, event_spool: str | None
) -> Iterator[tuple[str, str]]:
    """What is wrong with a site's ``identity`` table: (key below the site's table, message)."""
    if identity.mode not in MODES:
        yield "identity.mode", f"must be {', '.join(MODES[:-1])} or {MODES[-1]}, not {identity.mode!r}"
        return
    if identity.run_as is not None:
        yield from _run_as_errors(transport, identity)
    if identity.mode == "service":
        yield from _unused(identity, "poller", "accounts", "key_dir", "ca_key_file")
        return
    if transport != "ssh":
        yield "identity.mode", f"{identity.mode!r} needs transport ssh; over {transport!r} it must be service"
        return
    yield from _unused(identity, "ca_key_file" if identity.mode == "mapped" else "key_dir")
    required = "key_dir" if identity.mode == "mapped" else "ca_key_file"
    if getattr(identity, required) is None:
        yield f"identity.{required}", f"is required for mode {identity.mode}"
    if event_spool is not None and not event_spool.startswith("/"):
        yield (
            "event_spool",
            f"must be an absolute path for mode {identity.mode}, not {event_spool!r}: all accounts share it",
        )
    poller = identity.poller or (ssh.user if ssh else None)
    if poller is None:
        yield "identity.poller", f"is required for mode {identity.mode}, unless ssh.user is given"
    elif poller == "root" or not _ACCOUNT.fullmatch(poller):
        yield "identity.poller", f"{poller!r} may not poll; it must be an account without such rights"
    yield from _accounts_errors(identity, poller)


def _run_as_errors(transport: str, identity: IdentitySettings) -> Iterator[tuple[str, str]]:
    # What decides whose account a job gets is never read and then not heeded.
    if transport != "local":
        yield "identity.run_as", f"needs transport local; over {transport!r} it is ssh.user that jobs run as"
    elif (wrong := account_error(identity.run_as or "")) is not None:
        yield "identity.run_as", f"{identity.run_as!r} {wrong}"


def _unused(identity: IdentitySettings, *keys: str) -> Iterator[tuple[str, str]]:
    for key in keys:
        if getattr(identity, key):
            yield f"identity.{key}", f"has no meaning for mode {identity.mode}; leave it out or choose another mode"


def _accounts_errors(identity: IdentitySettings, poller: str | None) -> Iterator[tuple[str, str]]:
    if not identity.accounts:
        yield "identity.accounts", f"is required for mode {identity.mode}: a table of principal = account"
    for principal, account in identity.accounts.items():
        wrong = account_error(account)
        if wrong is None and account == poller:
            wrong = "is the account that polls, which may see more than a job should"
        if wrong is not None:
            yield "identity.accounts", f"{principal!r} = {account!r}: it {wrong}"
    for account, count in Counter(identity.accounts.values()).items():
        if count > 1 and not identity.shared_account:
            names = " and ".join(repr(each) for each in identity.principals(account))
            message = f"{names} would all run jobs as {account!r} and could read each other's files"
            yield "identity.accounts", f"{message}; give each an account, or set shared_account = true"
