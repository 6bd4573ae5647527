"""Who is at the other end of the connection, and whether secrets may travel over it."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from typing import Any, Final

from hpcgate.config import Config
from hpcgate.errors import ConfigError

#: Where ``Proxies.resolve`` says whether a credential in this request was safe on its way.
SECURE: Final = "hpcgate.secure"
_FORWARDED: Final = ("HTTP_X_FORWARDED_FOR", "HTTP_X_FORWARDED_PROTO", "HTTP_X_FORWARDED_HOST", "HTTP_FORWARDED")

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Proxies:
    """The proxies whose word is taken for where a request came from.

    Args:
        config: its ``[server]`` table names them.

    Raises:
        ConfigError: an entry is no address or network.
    """

    def __init__(self, config: Config) -> None:
        self._insecure_http = config.server.insecure_http
        self._networks = [_network(config, entry) for entry in config.server.trusted_proxies]

    def resolve(self, environ: dict[str, Any]) -> None:
        """Puts the client's address, scheme and host in place of the trusted proxy's, and judges the connection.

        A loopback peer that forwards for somebody without being trusted is a proxy that nobody configured: then
        where the request came from is unknown, and it does not count as local.
        """
        peer = environ.get("REMOTE_ADDR", "")
        forwarded = any(name in environ for name in _FORWARDED)
        if self._trusted(peer):
            _take_over(environ, self._client(environ, peer))
            forwarded = False
        local = is_loopback(environ.get("REMOTE_ADDR", "")) and not forwarded
        environ[SECURE] = local or self._insecure_http or environ["wsgi.url_scheme"] == "https"

    def _client(self, environ: Mapping[str, Any], peer: str) -> str:
        hops = _items(environ.get("HTTP_X_FORWARDED_FOR", ""))
        return next((hop for hop in reversed(hops) if not self._trusted(hop)), hops[0] if hops else peer)

    def _trusted(self, address: str) -> bool:
        parsed = _address(address)
        return parsed is not None and any(parsed in network for network in self._networks)


def is_loopback(address: str) -> bool:
    """Whether an address is this machine's own loopback; a name counts only if it is ``localhost``."""
    parsed = _address(address)
    return parsed.is_loopback if parsed is not None else address == "localhost"


def _take_over(environ: dict[str, Any], client: str) -> None:
    environ["REMOTE_ADDR"] = client
    # A proxy that does not say how it was reached was reached in the clear, for all we know.
    proto = _items(environ.get("HTTP_X_FORWARDED_PROTO", ""))
    environ["wsgi.url_scheme"] = "https" if proto[-1:] == ["https"] else "http"
    if host := _items(environ.get("HTTP_X_FORWARDED_HOST", "")):
        environ["HTTP_HOST"] = host[-1]


def _items(header: str) -> Sequence[str]:
    return [item.strip() for item in header.split(",") if item.strip()]


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        parsed = ipaddress.ip_address(text.strip("[]"))
    except ValueError:
        return None
    return getattr(parsed, "ipv4_mapped", None) or parsed


def _network(config: Config, entry: str) -> _Network:
    try:
        return ipaddress.ip_network(entry, strict=False)
    except ValueError:
        message = f"{entry!r} is no address or network such as 10.0.0.7 or 10.0.0.0/24"
        raise ConfigError(f"{config.where('server')} trusted_proxies: {message}") from None
