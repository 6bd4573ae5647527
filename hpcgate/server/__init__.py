"""The server: ``create_app(gateway)`` is a WSGI callable for any server that has threads."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from flask import Flask, Request, Response, request

from hpcgate.config import DialectTable
from hpcgate.errors import ConfigError
from hpcgate.model.principal import Principal
from hpcgate.server.auth import caller
from hpcgate.server.context import Serving, attach
from hpcgate.server.cors import Cors
from hpcgate.server.dialect import Dialect, find, settings_of
from hpcgate.server.errors import Problem, register_errors
from hpcgate.server.front import Front, Mount
from hpcgate.server.health import NAME as HEALTH
from hpcgate.server.metrics import Metrics
from hpcgate.server.native import create_native_app, note_route
from hpcgate.server.peer import Proxies
from hpcgate.server.rates import RATE, RateLimits
from hpcgate.server.streams import EventHub

if TYPE_CHECKING:
    from hpcgate.gateway import Gateway

#: First parts of paths that are the native application's.
_TAKEN: Final = frozenset({"api", "docs", "health", "metrics"})
_HOST: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:[0-9]+)?")


def create_app(gateway: Gateway) -> Front:
    """Builds the server around a gateway, which it does not close.

    Args:
        gateway: an open one. Its config says which dialects are mounted, and where.

    Returns:
        The WSGI callable. Its ``stop`` ends the open streams.

    Raises:
        ConfigError: a ``[dialects]`` table names what is not installed, or two of them the same place.
    """
    metrics = Metrics(gateway)
    hub = EventHub(
        gateway.events,
        metrics,
        release=gateway.release_thread,
        max_streams=gateway.config.server.max_streams,
    )
    serving = Serving(gateway, hub, metrics, RateLimits(gateway.config.limits))
    native = create_native_app()
    _prepare(native, serving, Problem.response, caller, gateway.config.server.max_body_bytes)
    return Front(native, _mounts(gateway, serving), serving, Proxies(gateway.config))


def _prepare(
    app: Flask,
    serving: Serving,
    render: Callable[[Problem], Response],
    who: Callable[[Request], Principal | None],
    max_body_bytes: int,
) -> None:
    app.config["MAX_CONTENT_LENGTH"] = max_body_bytes
    attach(app, serving)
    note_route(app)
    _limit_rate(app, serving.rates, who)
    register_errors(app, render)


def _limit_rate(app: Flask, rates: RateLimits, who: Callable[[Request], Principal | None]) -> None:
    """Counts every request but those of machines that watch the server."""

    @app.before_request
    def count() -> None:
        if request.blueprint != HEALTH:
            request.environ[RATE] = rates.count(who(request), request.remote_addr or "")


def _mounts(gateway: Gateway, serving: Serving) -> list[Mount]:
    config = gateway.config
    installed: dict[str, Dialect] = {dialect.name: dialect for dialect in gateway.plugins.dialects()}
    mounts: list[Mount] = []
    for name, table in config.dialects.items():
        mount = _mount(gateway, serving, find(installed, config, name), table)
        for other in mounts:
            if mount.prefix == other.prefix or mount.hosts & other.hosts:
                where = config.where(f"dialects.{name}")
                raise ConfigError(f"{where} prefix, hosts: dialect {other.name!r} is mounted there already")
        mounts.append(mount)
    return mounts


def _mount(gateway: Gateway, serving: Serving, dialect: Dialect, table: DialectTable) -> Mount:
    config = gateway.config
    where = config.where(f"dialects.{dialect.name}")
    app = dialect.create_app(gateway, settings_of(dialect, config, table))
    if not dialect.strict_slashes:
        for rule in app.url_map.iter_rules():
            rule.strict_slashes = False
    most = table.max_body_bytes or config.server.max_body_bytes
    _prepare(app, serving, dialect.render_error, dialect.caller, most)
    origins = dialect.cors_origins if table.cors_origins is None else table.cors_origins
    return Mount(
        name=dialect.name,
        app=app,
        prefix=_prefix(where, dialect.name, table),
        hosts=frozenset(_host(where, host) for host in table.hosts),
        render=dialect.render_error,
        merge_slashes=dialect.merge_slashes,
        cors=Cors(
            frozenset(_origin(where, origin) for origin in (*origins, *config.server.cors_origins)),
            dialect.cors_headers,
        ),
    )


def _host(where: str, host: str) -> str:
    if not host or not _HOST.fullmatch(host):
        raise ConfigError(f"{where} hosts: {host!r} is no Host such as 'pai.example.org' or 'pai.example.org:8443'")
    return host.lower()


def _origin(where: str, origin: str) -> str:
    parts = urlsplit(origin)
    if origin != "*" and (parts.scheme not in ("http", "https") or origin != f"{parts.scheme}://{parts.netloc}"):
        raise ConfigError(f"{where} cors_origins: {origin!r} is neither '*' nor like 'https://portal.example.org'")
    return origin.lower()


def _prefix(where: str, name: str, table: DialectTable) -> str:
    prefix = table.prefix if table.prefix is not None else f"/{name}"
    first = prefix.split("/")[1] if prefix.startswith("/") else ""
    if not first or prefix.endswith("/") or "//" in prefix:
        raise ConfigError(f"{where} prefix: {prefix!r} must begin with '/', name something, and not end with '/'")
    if first in _TAKEN:
        raise ConfigError(f"{where} prefix: /{first} belongs to the native API; choose another")
    return prefix
