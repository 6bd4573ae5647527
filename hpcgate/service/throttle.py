"""Slows down whoever guesses passwords."""

from __future__ import annotations

import hashlib
import ipaddress
import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from hpcgate.config import AuthTable
from hpcgate.errors import TooManyTries

if TYPE_CHECKING:
    from hpcgate.store.logins import LoginStore


class LoginThrottle:
    """Limits the logins that are tried for a user and from an address.

    A try is counted before the password is looked at, so that many at once are no way around; one that is good gives
    back what it took. Names of users are counted whether or not there is such a user, so that nothing is told of it,
    and by their hash: what is typed into the wrong field may be a password.

    Args:
        store: where tries are counted.
        auth: the ``[auth]`` table.
        clock: epoch seconds.
    """

    def __init__(self, store: LoginStore, auth: AuthTable, clock: Callable[[], float]) -> None:
        self._store = store
        self._auth = auth
        self._clock = clock

    def attempt(self, user: str, address: str | None) -> None:
        """Counts a try.

        Raises:
            TooManyTries: there were too many of them lately.
        """
        # The address first: one machine that tries ever new names must not fill the table.
        if address is not None:
            self._count(place_of(address), self._auth.login_tries_per_address, "from your address")
        self._count(_person(user), self._auth.login_tries, "for this user")

    def succeeded(self, user: str) -> None:
        """Forgets a user's failures. Those of the address stay: its next guess may be about somebody else."""
        self._store.forget(_person(user))

    def _count(self, name: str, limit: int, whose: str) -> None:
        now = self._clock()
        tries, until = self._store.count(name, self._auth.login_window_s, now)
        if tries > limit:
            raise TooManyTries(f"there were too many logins {whose}; try again later", max(1, math.ceil(until - now)))


def _person(user: str) -> str:
    return f"user:{hashlib.sha256(user.encode()).hexdigest()}"


def place_of(address: str) -> str:
    """As what an address is counted: of IPv6 its network, from which one machine can choose addresses."""
    try:
        parsed = ipaddress.ip_address(address.strip("[]"))
    except ValueError:
        return f"address:{address[:64]}"
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is None:
        return f"address:{ipaddress.ip_network((parsed, 64), strict=False)}"
    return f"address:{getattr(parsed, 'ipv4_mapped', None) or parsed}"
