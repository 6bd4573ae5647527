"""The configuration file as frozen dataclasses. What is wrong is said with file, table and key."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from hpcgate.config_checks import check, say
from hpcgate.errors import ConfigError, InvalidSpec
from hpcgate.model.allocation_tables import ProjectTable, ShareTable
from hpcgate.model.cluster_tables import ClusterTable
from hpcgate.model.codec import decode
from hpcgate.model.site import IdentitySettings, PollTable, SshSettings


def _help(text: str, default: Any) -> Any:
    return field(default=default, metadata={"help": text})


def _help_factory(text: str, factory: Any) -> Any:
    return field(default_factory=factory, metadata={"help": text})


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayTable:
    """``[gateway]``"""

    database: str | None = _help(
        "database URL; `sqlite:///PATH` or `postgresql://USER@HOST:PORT/NAME`. Default: `$HPCGATE_HOME/hpcgate.db`",
        None,
    )
    database_pool: int = _help("most connections of one process to PostgreSQL, beside one that listens", 10)
    public_url: str | None = _help("URL under which clients reach the server", None)
    secret_key_file: str | None = _help("file with the gateway's secret. Default: `$HPCGATE_HOME/secret`", None)


@dataclass(frozen=True, slots=True, kw_only=True)
class SitePollTable:
    """``[sites.NAME.poll]``; what is not given depends on the transport."""

    min_s: float | None = _help("least seconds between two listings of the queue (local 0.5, ssh 15)", None)
    max_s: float | None = _help("most seconds between two listings while jobs are active (local 5, ssh 120)", None)
    spool_s: float | None = _help("seconds between two looks into the event spool (local 0.1, ssh 2)", None)


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteTable:
    """``[sites.NAME]``"""

    scheduler: str = field(metadata={"help": "an installed scheduler plugin, e.g. `local`"})
    transport: str = _help("`local` or `ssh`", "local")
    aliases: tuple[str, ...] = _help("other names that requests may use for this site", ())
    default_queue: str | None = _help("queue of jobs that name none", None)
    work_root: str | None = _help("folder below which each job gets a private one", None)
    runtimes: Mapping[str, str] = _help_factory(
        "container runtime that a task asks for = the one that runs it here, or `host`: without a container", dict
    )
    poll: SitePollTable = _help_factory("how often the site may be asked", SitePollTable)
    event_spool: str | None = _help("folder in which jobs say that something happened", None)
    ssh: SshSettings | None = _help("how the host is reached", None)
    identity: IdentitySettings = _help_factory("which account a principal's jobs run as", IdentitySettings)
    settings: Mapping[str, Any] = _help_factory("the plugin's own; see `hpcgate plugin show NAME`", dict)
    region: str | None = _help("a group of sites, for placement", None)
    cluster: str | None = _help("the name of its cluster in accounting records", None)
    default_walltime_s: int | None = _help("walltime of a project's jobs, where neither they nor it name one", None)
    require_project: bool = _help("refuse jobs that are of no project", False)

    def polls(self) -> PollTable:
        """The poll table with the defaults of the transport filled in."""
        defaults = PollTable(min_s=0.5, max_s=5.0, spool_s=0.1) if self.transport == "local" else PollTable()
        names = ("min_s", "max_s", "spool_s")
        return replace(defaults, **{name: value for name in names if (value := getattr(self.poll, name)) is not None})


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerTable:
    """``[server]``"""

    threads: int = _help("requests handled at the same time, streams not counted", 32)
    max_streams: int = _help("open event and log streams; more get 503", 256)
    max_body_bytes: int = _help("largest request body, bytes", 16 << 20)
    trusted_proxies: tuple[str, ...] = _help("addresses whose X-Forwarded headers are believed", ())
    insecure_http: bool = _help("accept tokens over plain HTTP from other machines", False)
    tls_cert: str | None = _help("certificate chain (PEM); with it the server speaks HTTPS itself", None)
    tls_key: str | None = _help("its key (PEM). Default: in the file of the certificate", None)
    tls_min_version: str = _help("oldest TLS that is spoken, `1.2` or `1.3`", "1.2")
    cors_origins: tuple[str, ...] = _help("origins whose pages may use the APIs, as `https://portal.example.org`", ())
    request_timeout_s: float = _help("how long a request, head and body, may take to come in, seconds", 60.0)
    log_format: str = _help("`text`, or `json`: one object a line", "text")
    log_level: str = _help("least level that is logged: `debug`, `info`, `warning` or `error`", "info")


@dataclass(frozen=True, slots=True, kw_only=True)
class OidcTable:
    """``[auth.oidc]``"""

    issuer: str = field(metadata={"help": "URL of the issuer, as its tokens have it in `iss`"})
    audience: str = field(metadata={"help": "what its tokens must have in `aud`"})
    jwks_url: str | None = _help("where its keys are. Default: what its discovery document says", None)
    name_claim: str = _help("claim that names a principal at its first login", "sub")
    email_claim: str = _help("claim with the e-mail, believed where `email_verified` is true", "email")
    create_users: bool = _help("whether the first login makes the user", False)
    link_users: bool = _help("whether the first login takes a user of that name that is there already", False)
    roles: tuple[str, ...] = _help("roles of users that are made so", ("user",))
    roles_claim: str | None = _help("claim with the words of `role_map`; `a.b` = claim `b` inside of claim `a`", None)
    role_map: Mapping[str, tuple[str, ...]] = _help_factory("word in `roles_claim` = roles that it gives", dict)
    groups_claim: str | None = _help("claim with the words of `group_map`; as `roles_claim`", None)
    group_map: Mapping[str, str] = _help_factory("word in `groups_claim` = a group of `[groups]`", dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthTable:
    """``[auth]``"""

    token_ttl_s: int = _help("life of a token when nothing is said, seconds", 30 * 86_400)
    max_token_ttl_s: int = _help("longest life of a token, seconds", 366 * 86_400)
    token_algorithm: str = _help("signs tokens: `HS256`, or `EdDSA`, which others can check by `/api/v1/keys`", "HS256")
    login_tries: int = _help("logins by password that may fail for one user in `login_window_s`", 10)
    login_tries_per_address: int = _help("logins by password from one address in `login_window_s`", 100)
    login_window_s: int = _help("for how long logins are counted, seconds", 300)
    oidc: OidcTable | None = _help("an issuer whose tokens are accepted", None)


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupTable:
    """``[groups.NAME]``"""

    members: tuple[str, ...] = _help("names of principals", ())
    roles: tuple[str, ...] = _help("roles that its members have beside their own", ())


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitsTable:
    """``[limits]``"""

    submit_timeout_s: float = _help("how long a request waits for a site to take its job, seconds", 20.0)
    max_bulk_jobs: int = _help("jobs in one bulk submit", 20_000)
    max_active_jobs: int | None = _help("jobs that one owner may have active", None)
    lost_grace_s: float = _help("how long queue, accounting and folder must all deny a job before it is LOST", 120.0)
    max_log_bytes: int = _help("most bytes of output in one answer", 8 << 20)
    max_archive_bytes: int = _help("most bytes of a job's files that are sent as one archive", 4 << 30)
    max_archive_files: int = _help("most files and folders in one archive", 10_000)

    requests_per_minute: int | None = _help("requests of one principal in a minute, over all APIs", None)
    anonymous_requests_per_minute: int = _help("requests without a good credential from one address in a minute", 600)
    server_processes: int = _help("`serve` processes that share the load; each of them allows its part of a rate", 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhooksTable:
    """``[webhooks]``"""

    enabled: bool = _help("whether there are webhooks and callbacks", True)
    allow_http: bool = _help("whether URLs may be plain http://", False)
    allowed_networks: tuple[str, ...] = _help(
        "networks that may be called although they are not public, e.g. `10.1.0.0/16`", ()
    )
    ca_file: str | None = _help("PEM file of further certificate authorities for receivers", None)
    max_per_user: int = _help("webhooks of one user, callbacks of jobs not counted", 20)
    max_waiting: int = _help("messages that may wait for one webhook; further ones are dead letters at once", 20_000)
    senders: int = _help("messages that are sent at the same time", 16)
    timeout_s: float = _help("how long a receiver may take, seconds", 10.0)
    retry_for_s: int = _help("how long a message is tried again, seconds", 86_400)
    keep_s: int = _help("how long is remembered what was delivered or given up, seconds", 7 * 86_400)


@dataclass(frozen=True, slots=True, kw_only=True)
class MailTable:
    """``[mail]``"""

    #: How a mail server is spoken to -> its usual port.
    PORTS: ClassVar[Mapping[str, int]] = {"starttls": 587, "tls": 465, "none": 25}

    host: str = field(metadata={"help": "SMTP server"})
    sender: str = field(metadata={"help": "address in `From`, and to which what cannot be delivered goes back"})
    tls: str = _help("`starttls`, `tls`, or `none` (without a password, or on this machine)", "starttls")
    port: int | None = _help("its port. Default: 587 for starttls, 465 for tls, 25 for none", None)
    user: str | None = _help("name to log in with", None)
    password_file: str | None = _help("file with the password", None)
    ca_file: str | None = _help("PEM file of further certificate authorities for the server", None)
    timeout_s: float = _help("how long the server may take for one step, seconds", 20.0)
    max_per_hour: int = _help("mails to one user in an hour", 60)
    retry_for_s: int = _help("how long a mail is tried again, seconds", 86_400)
    keep_s: int = _help("how long is remembered what was sent or given up, seconds", 7 * 86_400)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditTable:
    """``[audit]``"""

    to: str = _help("where it goes: `file`, `syslog` or `none`", "file")
    file: str | None = _help("JSON lines, made with mode 0600. Default: `$HPCGATE_HOME/audit.jsonl`", None)
    syslog: str = _help("where syslog listens: a socket's path, or `HOST:PORT` (UDP)", "/dev/log")
    facility: str = _help("of syslog", "authpriv")
    reads: bool = _help("whether requests that change nothing are recorded too", True)


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionTable:
    """``[retention]``; what is not given is kept for ever. Nothing goes that belongs to a job that has not ended."""

    jobs_days: float | None = _help("days after its end when a job goes, with its files", None)
    files_days: float | None = _help("days after its end when a job's folder goes, with its output", None)
    events_days: float | None = _help("days when events go; streams can be resumed for so long", None)
    tokens_days: float = _help("days for which tokens that have expired are still listed", 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordsTable:
    """``[records]``"""

    archive: str | None = _help("folder to which records are written when their jobs have ended", None)
    keep_days: float | None = _help("days after its end when a job's record goes; what is not given stays", None)
    keep_tagged: str = _help(
        "tagged records that stay: `none`, `all`, or `user` = those with a tag that no program gave, of another type "
        "than `app` and `jobClass`",
        "none",
    )

    @property
    def archive_path(self) -> Path | None:
        """The folder, where there is one."""
        return None if self.archive is None else Path(self.archive).expanduser().absolute()


@dataclass(frozen=True, slots=True, kw_only=True)
class DialectTable:
    """``[dialects.NAME]``"""

    prefix: str | None = _help("where it is mounted. Default: `/NAME`", None)
    hosts: tuple[str, ...] = _help("Host names whose requests see it at the root", ())
    cors_origins: tuple[str, ...] | None = _help(
        "origins such as `https://portal.example.org` whose pages may call it, or `*`. Default: the dialect's own", None
    )
    max_body_bytes: int | None = _help("largest request body, bytes. Default: `[server] max_body_bytes`", None)
    settings: Mapping[str, Any] = _help_factory("the dialect's own", dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Everything that the file says, with defaults filled in.

    Args:
        home: ``$HPCGATE_HOME``.
        source: the file it was read from; ``None`` = built-in defaults.
    """

    home: Path
    source: Path | None = None
    gateway: GatewayTable = field(default_factory=GatewayTable)
    server: ServerTable = field(default_factory=ServerTable)
    auth: AuthTable = field(default_factory=AuthTable)
    limits: LimitsTable = field(default_factory=LimitsTable)
    webhooks: WebhooksTable = field(default_factory=WebhooksTable)
    mail: MailTable | None = None
    audit: AuditTable = field(default_factory=AuditTable)
    retention: RetentionTable = field(default_factory=RetentionTable)
    records: RecordsTable = field(default_factory=RecordsTable)
    sites: Mapping[str, SiteTable] = field(default_factory=dict)
    dialects: Mapping[str, DialectTable] = field(default_factory=dict)
    groups: Mapping[str, GroupTable] = field(default_factory=dict)
    projects: Mapping[str, ProjectTable] = field(default_factory=dict)
    shares: Mapping[str, ShareTable] = field(default_factory=dict)
    clusters: Mapping[str, ClusterTable] = field(default_factory=dict)

    @property
    def database_url(self) -> str:
        """Database URL, with the default filled in."""
        return self.gateway.database or f"sqlite:///{self.home / 'hpcgate.db'}"

    @property
    def secret_key_path(self) -> Path:
        """File of the gateway's secret."""
        return Path(self.gateway.secret_key_file or self.home / "secret").expanduser()

    def where(self, table: str) -> str:
        """How an error message names a table of this config."""
        return f"{self.source or 'built-in configuration'}: [{table}]"


@dataclass(frozen=True, slots=True, kw_only=True)
class _File:
    """The tables that a file may have."""

    gateway: GatewayTable = field(default_factory=GatewayTable)
    server: ServerTable = field(default_factory=ServerTable)
    auth: AuthTable = field(default_factory=AuthTable)
    limits: LimitsTable = field(default_factory=LimitsTable)
    webhooks: WebhooksTable = field(default_factory=WebhooksTable)
    mail: MailTable | None = None
    audit: AuditTable = field(default_factory=AuditTable)
    retention: RetentionTable = field(default_factory=RetentionTable)
    records: RecordsTable = field(default_factory=RecordsTable)
    sites: Mapping[str, SiteTable] = field(default_factory=dict)
    dialects: Mapping[str, DialectTable] = field(default_factory=dict)
    groups: Mapping[str, GroupTable] = field(default_factory=dict)
    projects: Mapping[str, ProjectTable] = field(default_factory=dict)
    shares: Mapping[str, ShareTable] = field(default_factory=dict)
    clusters: Mapping[str, ClusterTable] = field(default_factory=dict)


def default_home(environ: Mapping[str, str] = os.environ) -> Path:
    """``$HPCGATE_HOME``, by default ``~/.hpcgate``, absolute."""
    return Path(environ.get("HPCGATE_HOME") or "~/.hpcgate").expanduser().absolute()


def load_config(path: str | Path | None = None, environ: Mapping[str, str] = os.environ) -> Config:
    """Reads the configuration: ``path``, else ``$HPCGATE_CONFIG``, else ``$HPCGATE_HOME/hpcgate.toml``, else defaults.

    Raises:
        ConfigError: the named file is not there, is no TOML, or holds a wrong key or value.
    """
    home = default_home(environ)
    named = path or environ.get("HPCGATE_CONFIG")
    source = Path(named).expanduser().absolute() if named else home / "hpcgate.toml"
    if not named and not source.exists():
        return config_from({}, home=home)
    try:
        data = tomllib.loads(source.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{source}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{source}: is no valid TOML: {error}") from error
    return config_from(data, home=home, source=source)


def config_from(data: Mapping[str, Any], *, home: Path, source: Path | None = None) -> Config:
    """A configuration from parsed TOML (or from a dict, for embedding and tests).

    Without a ``sites`` table there is one site, ``local``.

    Raises:
        ConfigError: a key or value is wrong; file, table and key are named.
    """
    try:
        tables = decode(_File, data)
    except InvalidSpec as error:
        raise ConfigError("; ".join(say(source, each.field, each.message) for each in error.errors)) from error
    config = Config(
        home=home,
        source=source,
        gateway=tables.gateway,
        server=tables.server,
        auth=tables.auth,
        limits=tables.limits,
        webhooks=tables.webhooks,
        mail=tables.mail,
        audit=tables.audit,
        retention=tables.retention,
        records=tables.records,
        sites=tables.sites or {"local": SiteTable(scheduler="local")},
        dialects=tables.dialects,
        groups=tables.groups,
        projects=tables.projects,
        shares=tables.shares,
        clusters=tables.clusters,
    )
    check(config)
    return config
