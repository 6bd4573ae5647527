"""Who may write on behalf of a site."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to do something alone, for a while.

    Args:
        name: what it is about, e.g. ``site:ares``.
        holder: process that holds it, unique over all hosts and restarts.
        token: grows whenever the holder changes, so that writes of an earlier holder can be told and refused.
        until: epoch seconds.
    """

    name: str
    holder: str
    token: int
    until: float
