"""The engines' times."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Final

#: Nanoseconds are more than ``datetime`` takes; Go's zero time means "never".
_TIME: Final = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)?(Z|[+-]\d\d:\d\d)\Z")


def epoch(text: str | None) -> float | None:
    """Epoch seconds of an RFC 3339 time; ``None`` for one that has not come.

    Raises:
        ValueError: it is no time.
    """
    if not text or text.startswith("0001-"):
        return None
    match = _TIME.match(text)
    if match is None:
        raise ValueError(f"{text!r} is no time")
    moment = datetime.fromisoformat(match.group(1) + match.group(3).replace("Z", "+00:00"))
    return moment.timestamp() + float(match.group(2) or 0)
