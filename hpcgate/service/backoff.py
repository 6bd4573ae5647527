"""How long to wait before something that failed is tried again."""

from __future__ import annotations

import random


def pause_s(tries: int, *, first_s: float, most_s: float) -> float:
    """Seconds before the next try: doubled each time, and never the same for two, so that they do not come together.

    Args:
        tries: that failed before this one.
        first_s: after the first failure, about.
        most_s: about the longest.
    """
    # 2**30 seconds are more than anybody waits, and a float still.
    pause: float = min(most_s, first_s * 2 ** min(tries, 30))
    return pause * random.uniform(0.75, 1.25)  # noqa: S311 - it spreads load and guards nothing
