"""Which addresses the gateway may call where a user names them."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

MAX_URL_CHARS: Final = 2048


@dataclass(frozen=True, slots=True)
class AddressRules:
    """Which addresses may be called.

    Args:
        networks: that may be called although they are not public.
    """

    networks: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...] = ()

    @classmethod
    def of(cls, networks: Iterable[str]) -> AddressRules:
        """Rules from the words of the configuration."""
        return cls(tuple(map(ipaddress.ip_network, networks)))

    def allow(self, address: Address) -> bool:
        """Whether an address may be called: a public one, or one in a network that the operator lists.

        Loopback, private, link-local (where clouds have their metadata), shared, reserved and multicast addresses are
        not public; neither is one of IPv6 that stands for such a one of IPv4.
        """
        if isinstance(address, ipaddress.IPv6Address):
            inner = address.ipv4_mapped or address.sixtofour
            if inner is not None:
                return self.allow(inner)
        if any(address in network for network in self.networks):
            return True
        if isinstance(address, ipaddress.IPv6Address) and address.is_site_local:
            return False
        return address.is_global and not (address.is_multicast or address.is_reserved or address.is_unspecified)


def url_error(url: str, rules: AddressRules, *, allow_http: bool) -> str | None:
    """Why a URL cannot be called, as the end of a sentence; ``None`` = nothing is against it as far as it tells.

    Where its name leads is looked at each time it is called.
    """
    if len(url) > MAX_URL_CHARS or not url.isascii() or any(char <= " " or char == "\x7f" for char in url):
        return f"must be at most {MAX_URL_CHARS} ASCII characters without blanks"
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        return f"is no URL: {error}"
    schemes = ("https", "http") if allow_http else ("https",)
    if parts.scheme not in schemes or not host or port == 0:
        return f"must begin with {' or '.join(f'{scheme}://' for scheme in schemes)} and name a host"
    if parts.username is not None or parts.password is not None or parts.fragment:
        return "must have no user, password or fragment"
    try:
        literal = ipaddress.ip_address(host)
    except ValueError:
        return None
    return None if rules.allow(literal) else "leads to an address that is not public and not allowed here"
