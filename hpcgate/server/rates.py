"""How many requests one principal, or one address, may send in a minute, over all APIs of this server together.

The counts are in the memory of this process. ``serve`` answers with one process of threads, so that its figures are
exact; a minute begins with a client's first request. Where several share the load, ``[limits] server_processes``
divides.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter

from hpcgate.config import LimitsTable
from hpcgate.server.errors import RateLimited
from hpcgate.service.throttle import place_of

if TYPE_CHECKING:
    from hpcgate.model.principal import Principal

#: Where the front finds what to tell of a request's rate.
RATE: Final = "hpcgate.rate"


@dataclass(frozen=True, slots=True)
class Rate:
    """What a client has left.

    Args:
        policy: its name: ``principal`` or ``address``.
        quota: requests in a minute.
        left: how many of them.
        reset_s: seconds until there are more.
    """

    policy: str
    quota: int
    left: int
    reset_s: int

    def headers(self) -> dict[str, str]:
        """As the IETF's draft of RateLimit header fields has them."""
        return {
            "RateLimit-Policy": f'"{self.policy}";q={self.quota};w=60',
            "RateLimit": f'"{self.policy}";r={self.left};t={self.reset_s}',
        }


class RateLimits:
    """Counts requests.

    Args:
        table: the ``[limits]`` table.
    """

    def __init__(self, table: LimitsTable) -> None:
        self._limiter = FixedWindowRateLimiter(MemoryStorage())
        self._named = _item(table.requests_per_minute, table.server_processes)
        self._anonymous = _item(table.anonymous_requests_per_minute, table.server_processes)

    def count(self, principal: Principal | None, address: str) -> Rate | None:
        """Counts a request.

        Args:
            principal: who sent it; ``None`` = nobody knows.
            address: from where.

        Returns:
            What is left; ``None`` where there is no limit.

        Raises:
            RateLimited: it was one too many.
        """
        if principal is None:
            item, policy, key = self._anonymous, "address", place_of(address)
        else:
            # A client that acts for many users has one rate for all of them.
            item, policy, key = self._named, "principal", principal.delegate or principal.name
        if item is None:
            return None
        counted = self._limiter.hit(item, policy, key)
        window = self._limiter.get_window_stats(item, policy, key)
        reset_s = max(1, math.ceil(window.reset_time - time.time()))
        rate = Rate(policy, item.amount, max(0, window.remaining), reset_s)
        if not counted:
            whose = "from your address without a good credential" if principal is None else f"by {key!r}"
            message = f"there were more than {item.amount} requests in a minute {whose}; slow down"
            raise RateLimited(message, rate.reset_s, rate.headers())
        return rate


def _item(per_minute: int | None, processes: int) -> RateLimitItemPerMinute | None:
    return None if per_minute is None else RateLimitItemPerMinute(max(1, per_minute // processes))
