"""Roll-ups of records."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import Any, Final

from peewee import Database, PostgresqlDatabase

_KEY: Final = ("shape", "period", "owner", "project", "cluster", "subcluster", "state")
_SUMS: Final = ("jobs", "short_jobs", "run_s", "wait_s", "waited", "node_s", "core_s", "accelerator_s")
_HISTOGRAMS: Final = {
    "duration": (0, 60, 300, 900, 3600, 14_400, 43_200, 86_400, 172_800),
    "nodes": (1, 2, 3, 5, 9, 17, 33, 65, 129, 257),
    "cores": (0, 1, 2, 5, 17, 65, 257, 1025, 4097),
    "wait": (0, 60, 300, 900, 3600, 14_400, 43_200, 86_400),
}
_BINS: Final = tuple(f"{name}_{number}" for name, bounds in _HISTOGRAMS.items() for number in range(len(bounds)))
