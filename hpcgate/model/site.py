"""A configured cluster or machine."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from hpcgate.errors import FieldError, InvalidSpec

#: Container runtimes that a task may ask for, and that a site may run.
RUNTIMES: Final = ("podman", "docker", "apptainer", "singularity", "udocker", "charliecloud")
#: In place of a runtime: tasks run without a container.
HOST: Final = "host"

_NAME: Final = re.compile(r"[^\s-]\S*")
#: Life of a certificate, seconds: long enough to log in by clocks that differ, and no substitute for a key.
LEAST_CERTIFICATE_S: Final = 5
MOST_CERTIFICATE_S: Final = 86_400


def _help(text: str, **default: Any) -> Any:
    return field(metadata={"help": text}, **default)


#: What a poll may take on top of the poll table before what is known counts as old, seconds.
STALE_SLACK_S: Final = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PollTable:
    """How often a site may be asked.

    Args:
        min_s: least time between two listings of the scheduler, seconds.
        max_s: longest time between two listings while jobs are active, seconds.
        spool_s: time between two looks into the event spool, seconds.
    """

    min_s: float = 15.0
    max_s: float = 120.0
    spool_s: float = 2.0

    @property
    def promised_s(self) -> float:
        """How old what is known of an active job may be before it counts as stale, seconds."""
        return 2 * self.max_s + STALE_SLACK_S


@dataclass(frozen=True, slots=True, kw_only=True)
class SshSettings:
    """``[sites.NAME.ssh]``: how the host is reached."""

    host: str = _help("name or address of the login node")
    port: int = _help("its port", default=22)
    user: str | None = _help("account there. Default: the gateway's own name", default=None)
    key_file: str | None = _help("private key", default=None)
    known_hosts: str | None = _help("file of the host keys that are believed; others are refused", default=None)
    jump: str | None = _help("`USER@HOST:PORT` through which the host is reached", default=None)
    connect_timeout_s: float = _help("for each step until a connection stands, seconds", default=10.0)
    keepalive_s: float = _help("between two signs of life on an idle connection, seconds", default=15.0)
    max_channels: int = _help("commands and file sessions at a time; below the host's `MaxSessions`", default=8)

    def __post_init__(self) -> None:
        errors = [
            FieldError(f"ssh.{name}", f"{value} is out of range; it must be {least} to {most}")
            for name, least, most in (
                ("port", 1, 65_535),
                ("connect_timeout_s", 0.1, 600),
                ("keepalive_s", 1, 3600),
                ("max_channels", 1, 1000),
            )
            if not least <= (value := getattr(self, name)) <= most
        ]
        errors += [
            FieldError(f"ssh.{name}", f"{value!r} is no name; it must not be empty, begin with '-' or hold white space")
            for name in ("host", "user", "jump")
            if (value := getattr(self, name)) is not None and not _NAME.fullmatch(value)
        ]
        if errors:
            raise InvalidSpec(errors)


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentitySettings:
    """``[sites.NAME.identity]``: which account a principal's jobs run as."""

    mode: str = _help(
        "`service` (one account), `mapped` or `certificate` (an account per principal)", default="service"
    )
    poller: str | None = _help("the account that polls, where jobs run as others. Default: `ssh.user`", default=None)
    shared_account: bool = _help("let the jobs of several principals run as one account", default=False)
    run_as: str | None = _help("transport `local`: the account that jobs run as. Default: the gateway's", default=None)
    accounts: Mapping[str, str] = _help("principal = the account of its jobs", default_factory=dict)
    key_dir: str | None = _help("`mapped`: folder with a private key for each account, named as it", default=None)
    ca_key_file: str | None = _help(
        "`certificate`: private key of the gateway's authority; its public one where an ssh-agent has the other",
        default=None,
    )
    certificate_s: int = _help("`certificate`: life of a user certificate, seconds", default=300)

    def __post_init__(self) -> None:
        if not LEAST_CERTIFICATE_S <= self.certificate_s <= MOST_CERTIFICATE_S:
            message = f"{self.certificate_s} is out of range; it must be {LEAST_CERTIFICATE_S} to {MOST_CERTIFICATE_S}"
            raise InvalidSpec.of("identity.certificate_s", message)

    def principals(self, account: str) -> tuple[str, ...]:
        """Whose jobs run as an account."""
        return tuple(sorted(name for name, mapped in self.accounts.items() if mapped == account))


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A site with everything that config says of it.

    Args:
        name: as config names it.
        scheduler: plugin type.
        transport: ``local`` or ``ssh``.
        aliases: other names that requests may use for it.
        default_queue: for specs that name none.
        work_root: absolute path, or one that begins with ``~/``, below which job folders are made.
        event_spool: the folder in which jobs drop a file when something happened; ``None`` = no event spool.
        settings: instance of the plugin's settings dataclass.
        default_walltime_s: of jobs of a project, where neither they nor it name one, seconds.
        require_project: whether a job without a project is refused.
        runtimes: container runtime asked for -> the one of ``RUNTIMES`` that is used, or ``HOST``.
    """

    name: str
    scheduler: str
    transport: str
    work_root: str
    settings: Any
    event_spool: str | None = None
    aliases: tuple[str, ...] = ()
    default_queue: str | None = None
    default_walltime_s: int | None = None
    require_project: bool = False
    runtimes: Mapping[str, str] = field(default_factory=dict)
    poll: PollTable = field(default_factory=PollTable)
    ssh: SshSettings | None = None
    identity: IdentitySettings = field(default_factory=IdentitySettings)
    region: str | None = None
    cluster: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteDrain:
    """Why a site takes no new jobs.

    Args:
        reason: what the operator said.
        since: epoch seconds.
        actor: who said it.
    """

    site: str
    reason: str
    since: float
    actor: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteHealth:
    """What is known of a site's answers.

    Args:
        polled_at: epoch seconds of the last listing that answered; ``None`` = never.
        failed_at: epoch seconds of the first failure since then; ``None`` = the last poll answered.
        error: the last failure, one line.
        commands: scheduler commands run for polls so far.
        polls: how often it answered so far.
        failures: and how often it did not.
    """

    site: str
    polled_at: float | None = None
    failed_at: float | None = None
    error: str | None = None
    commands: int = 0
    polls: int = 0
    failures: int = 0

    def stale(self, now: float, poll: PollTable) -> bool:
        """Whether it fails to answer, and what is known of its jobs is older than its poll table promises."""
        return self.failed_at is not None and (self.polled_at is None or now - self.polled_at > poll.promised_s)
