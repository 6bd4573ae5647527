"""What is wrong with a configuration whose keys and types are right."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from hpcgate.errors import ConfigError, InvalidSpec, nearest
from hpcgate.model.allocation import Weighting
from hpcgate.model.identity import identity_errors
from hpcgate.model.principal import Role, is_email
from hpcgate.model.record import KeepTagged
from hpcgate.model.site import HOST, RUNTIMES
from hpcgate.model.spec import MAX_WALLTIME_S

if TYPE_CHECKING:
    from hpcgate.config import Config, OidcTable

TRANSPORTS: Final = ("local", "ssh")
#: Where an issuer of tokens may speak plain HTTP: nobody else is on the way.
_LOCAL_HTTP: Final = (("http", "localhost"), ("http", "127.0.0.1"))
TLS_VERSIONS: Final = ("1.2", "1.3")
TOKEN_ALGORITHMS: Final = ("HS256", "EdDSA")
LOG_FORMATS: Final = ("text", "json")
LOG_LEVELS: Final = ("debug", "info", "warning", "error")
AUDIT_TO: Final = ("file", "syslog", "none")
SYSLOG_FACILITIES: Final = (
    *("auth", "authpriv", "cron", "daemon", "ftp", "kern", "lpr", "mail", "news", "syslog", "user", "uucp"),
    *(f"local{number}" for number in range(8)),
)
#: As a browser sends it.
_ORIGIN: Final = re.compile(r"https?://([a-z0-9-]+(\.[a-z0-9-]+)*|\[[0-9a-f:.]+\])(:[0-9]{1,5})?\Z")
#: Each is a thread of the server: more than a machine takes is a slip of the finger.
MOST: Final = {
    "gateway.database_pool": 1024,
    "server.threads": 1024,
    "server.max_streams": 16_384,
    "webhooks.senders": 256,
}


def check(config: Config) -> None:
    """Looks at what no single value can tell.

    Raises:
        ConfigError: something does not fit; file, table and key are named.
    """
    _check_numbers(config)
    _check_server(config)
    _check_audit(config)
    _check_sites(config)
    _check_people(config)
    _check_allocations(config)
    _check_clusters(config)
    _check_push(config)
    _check_retention(config)


def say(source: Path | None, dotted: str, message: str) -> str:
    """A message about one key of a file (``None`` = of no file)."""
    table, _, key = dotted.rpartition(".")
    place = f"[{table}] {key}" if table else f"[{key}]"
    return f"{source or 'configuration'}: {place}: {message}"


def _wrong(config: Config, dotted: str, message: str) -> ConfigError:
    return ConfigError(say(config.source, dotted, message))


def _check_numbers(config: Config) -> None:
    tables = ["gateway", "server", "auth", "limits", "retention", "records", "webhooks"]
    tables += ["mail"] if config.mail else []
    for table in tables:
        for item in fields(getattr(config, table)):
            value = getattr(getattr(config, table), item.name)
            if isinstance(value, int) and not isinstance(value, bool) and value < 1:
                raise _wrong(config, f"{table}.{item.name}", f"must be more than 0, not {value}")
            most = MOST.get(f"{table}.{item.name}")
            if most is not None and value > most:
                raise _wrong(config, f"{table}.{item.name}", f"must be at most {most}, not {value}")
            if isinstance(value, float) and value < 0:
                raise _wrong(config, f"{table}.{item.name}", f"must not be negative ({value})")
    for name, dialect in config.dialects.items():
        if dialect.max_body_bytes is not None and dialect.max_body_bytes < 1:
            message = f"must be more than 0, not {dialect.max_body_bytes}"
            raise _wrong(config, f"dialects.{name}.max_body_bytes", message)


def _check_server(config: Config) -> None:
    server = config.server
    _check_choice(config, "server.tls_min_version", server.tls_min_version, TLS_VERSIONS)
    _check_choice(config, "server.log_format", server.log_format, LOG_FORMATS)
    _check_choice(config, "server.log_level", server.log_level, LOG_LEVELS)
    _check_choice(config, "auth.token_algorithm", config.auth.token_algorithm, TOKEN_ALGORITHMS)
    if server.tls_key is not None and server.tls_cert is None:
        raise _wrong(config, "server.tls_key", "is of no use without tls_cert")
    if server.request_timeout_s < 1:
        raise _wrong(config, "server.request_timeout_s", "must be at least 1")
    for origin in server.cors_origins:
        if not _ORIGIN.match(origin):
            message = f"{origin!r} is no origin such as https://portal.example.org (no path, no *, lower case)"
            raise _wrong(config, "server.cors_origins", message)


def _check_audit(config: Config) -> None:
    audit = config.audit
    _check_choice(config, "audit.to", audit.to, AUDIT_TO)
    _check_choice(config, "audit.facility", audit.facility, SYSLOG_FACILITIES)
    host, _, port = audit.syslog.rpartition(":")
    if not audit.syslog.startswith("/") and not (host and port.isdecimal() and 0 < int(port) < 65_536):
        message = f"{audit.syslog!r} is neither a socket's path such as /dev/log nor HOST:PORT"
        raise _wrong(config, "audit.syslog", message)


def _check_choice(config: Config, where: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise _wrong(config, where, f"{value!r} is unknown; it must be {' or '.join(known)}")


def _check_sites(config: Config) -> None:
    owner: dict[str, str] = {}
    for name, site in config.sites.items():
        _check_name(config, f"sites.{name}", name, "site")
        if site.transport not in TRANSPORTS:
            wanted = " or ".join(TRANSPORTS)
            raise _wrong(config, f"sites.{name}.transport", f"{site.transport!r} is unknown; it must be {wanted}")
        if site.transport == "ssh" and site.ssh is None:
            raise _wrong(config, f"sites.{name}.ssh", "is required for transport ssh")
        wrong = identity_errors(site.transport, site.ssh, site.identity, site.event_spool)
        said = "; ".join(say(config.source, f"sites.{name}.{key}", message) for key, message in wrong)
        if said:
            raise ConfigError(said)
        if site.default_walltime_s is not None and not 1 <= site.default_walltime_s <= MAX_WALLTIME_S:
            message = f"must be more than 0, and at most {MAX_WALLTIME_S}, not {site.default_walltime_s}"
            raise _wrong(config, f"sites.{name}.default_walltime_s", message)
        _check_runtimes(config, name, site.runtimes)
        for each in (name, *site.aliases):
            if each in owner:
                message = f"{each!r} already names site {owner[each]!r}"
                raise _wrong(config, f"sites.{name}.aliases", message)
            owner[each] = name
        poll = site.polls()
        if not 0 < poll.min_s <= poll.max_s or poll.spool_s <= 0:
            message = f"needs 0 < min_s ({poll.min_s}) <= max_s ({poll.max_s}) and spool_s > 0 ({poll.spool_s})"
            raise _wrong(config, f"sites.{name}.poll", message)


def _check_people(config: Config) -> None:
    for name, group in config.groups.items():
        _check_roles(config, f"groups.{name}.roles", group.roles)
    oidc = config.auth.oidc
    if oidc is not None:
        _check_roles(config, "auth.oidc.roles", oidc.roles)
        _check_maps(config, oidc)
        for key, url in (("issuer", oidc.issuer), ("jwks_url", oidc.jwks_url or oidc.issuer)):
            parts = urlsplit(url)
            if parts.scheme != "https" and (parts.scheme, parts.hostname) not in _LOCAL_HTTP:
                raise _wrong(config, f"auth.oidc.{key}", f"{url!r} must begin with https://")


def _check_allocations(config: Config) -> None:
    defaults: dict[str, str] = {}
    for name, table in config.projects.items():
        _known_site(config, f"projects.{name}", table.site)
        if table.weighting not in set(Weighting):
            message = f"{table.weighting!r} is unknown; it must be {', '.join(Weighting)}"
            raise _wrong(config, f"projects.{name}.weighting", message)
        with _placed(config, f"projects.{name}"):
            table.project(name)
        for member, grant in table.members.items():
            with _placed(config, f"projects.{name}.members.{member}"):
                grant.grant()
        if table.default and defaults.setdefault(table.site, name) != name:
            message = f"site {table.site!r} has the default project {defaults[table.site]!r} already"
            raise _wrong(config, f"projects.{name}.default", message)
    for name, share in config.shares.items():
        _known_site(config, f"shares.{name}", share.site)
        with _placed(config, f"shares.{name}"):
            share.share(name)


def _check_clusters(config: Config) -> None:
    for name, table in config.clusters.items():
        _check_name(config, f"clusters.{name}", name, "cluster")
        for each in table.subclusters:
            _check_name(config, f"clusters.{name}.subclusters.{each}", each, "sub-cluster")
        try:
            with _placed(config, f"clusters.{name}"):
                table.cluster(name)
        except ModuleNotFoundError as error:
            message = f"node lists need {error.name}: pip install 'hpcgate[records]'"
            raise _wrong(config, f"clusters.{name}", message) from error
    for name, site in config.sites.items():
        if config.clusters and site.cluster is not None and site.cluster not in config.clusters:
            message = f"there is no table [clusters.{site.cluster}]{nearest(site.cluster, list(config.clusters))}"
            raise _wrong(config, f"sites.{name}.cluster", message)


def _check_name(config: Config, where: str, name: str, what: str) -> None:
    if not name or not name.replace("-", "").replace("_", "").replace(".", "").isalnum():
        raise _wrong(config, where, f"a {what}'s name has letters, digits and - _ . only")


def _known_site(config: Config, where: str, site: str) -> None:
    if site not in config.sites:
        message = f"there is no site {site!r}{nearest(site, sorted(config.sites))}"
        raise _wrong(config, f"{where}.site", message)


@contextmanager
def _placed(config: Config, table: str) -> Iterator[None]:
    """Says where in the file stands what is wrong with a model."""
    try:
        yield
    except InvalidSpec as error:
        said = "; ".join(say(config.source, f"{table}.{each.field}", each.message) for each in error.errors)
        raise ConfigError(said) from error


def _check_push(config: Config) -> None:
    for entry in config.webhooks.allowed_networks:
        try:
            ipaddress.ip_network(entry)
        except ValueError as error:
            message = f"{entry!r} is no network such as 10.1.0.0/16: {error}"
            raise _wrong(config, "webhooks.allowed_networks", message) from None
    if config.webhooks.timeout_s <= 0:
        raise _wrong(config, "webhooks.timeout_s", "must be more than 0")
    mail = config.mail
    if mail is None:
        return
    if mail.timeout_s <= 0:
        raise _wrong(config, "mail.timeout_s", "must be more than 0")
    if mail.tls not in mail.PORTS:
        wanted = f"{mail.tls!r} is unknown; it must be {', '.join(mail.PORTS)}"
        raise _wrong(config, "mail.tls", wanted)
    if not is_email(mail.sender):
        raise _wrong(config, "mail.sender", f"{mail.sender!r} is no address such as a@example.org")
    if (mail.user is None) != (mail.password_file is None):
        raise _wrong(config, "mail.user", "goes together with password_file")
    if mail.user is not None and mail.tls == "none" and mail.host not in ("localhost", "127.0.0.1", "::1"):
        message = "'none' would send the password in the clear; use starttls or tls"
        raise _wrong(config, "mail.tls", message)


def _check_retention(config: Config) -> None:
    _check_choice(config, "records.keep_tagged", config.records.keep_tagged, tuple(KeepTagged))
    archive = config.records.archive
    if archive is not None and not archive.startswith(("/", "~/")):
        # Servers and workers may be started anywhere.
        message = f"{archive!r} must be an absolute path, or one that begins with ~/"
        raise _wrong(config, "records.archive", message)
    days = config.retention.events_days
    tried_s = max(config.webhooks.retry_for_s, config.mail.retry_for_s if config.mail else 0)
    if days is not None and days * 86_400 < tried_s:
        message = f"{days:g} is too few: webhooks and mail need events for {tried_s / 86_400:g} days (retry_for_s)"
        raise _wrong(config, "retention.events_days", message)


def _check_maps(config: Config, oidc: OidcTable) -> None:
    for word, roles in oidc.role_map.items():
        _check_roles(config, f"auth.oidc.role_map.{word}", roles)
    for word, group in oidc.group_map.items():
        if group not in config.groups:
            message = f"there is no table [groups.{group}]{nearest(group, list(config.groups))}"
            raise _wrong(config, f"auth.oidc.group_map.{word}", message)
    for claim, table in (("roles_claim", "role_map"), ("groups_claim", "group_map")):
        if bool(getattr(oidc, table)) != (getattr(oidc, claim) is not None):
            message = f"{claim} and {table} go together: one without the other does nothing"
            raise _wrong(config, f"auth.oidc.{claim}", message)


def _check_roles(config: Config, where: str, roles: tuple[str, ...]) -> None:
    for role in roles:
        if role not in set(Role):
            raise _wrong(config, where, f"{role!r} is no role{nearest(role, list(Role))}")


def _check_runtimes(config: Config, site: str, runtimes: Mapping[str, str]) -> None:
    for asked, used in runtimes.items():
        where = f"sites.{site}.runtimes.{asked}"
        if asked not in RUNTIMES:
            hint = nearest(asked, RUNTIMES) or f"; known are: {', '.join(RUNTIMES)}"
            raise _wrong(config, where, f"{asked!r} is no container runtime{hint}")
        if used not in (*RUNTIMES, HOST):
            wanted = f"it must be {', '.join(RUNTIMES)}, or {HOST} for none"
            raise _wrong(config, where, f"{used!r} is no container runtime; {wanted}")
