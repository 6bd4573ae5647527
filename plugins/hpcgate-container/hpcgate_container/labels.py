"""How a job's containers are called and labelled. Keys and numbers alone: nothing that a user chose gets there."""

from __future__ import annotations

import hashlib
from typing import Final

PREFIX: Final = "hpcgate-"

#: Digest of the site and its work root: what belongs to another gateway on the same engine is left alone.
SITE: Final = "hpcgate.site"
KEY: Final = "hpcgate.key"
JOB: Final = "hpcgate.job"
ATTEMPT: Final = "hpcgate.attempt"
INDEX: Final = "hpcgate.index"
TASKS: Final = "hpcgate.tasks"
HOLD: Final = "hpcgate.hold"
SECRETS: Final = "hpcgate.secrets"
CPUS: Final = "hpcgate.cpus"
MEMORY: Final = "hpcgate.memory-mib"
WALLTIME: Final = "hpcgate.walltime-s"


def native_id(key: str) -> str:
    """What the job with a key is called at the engine. The engine gives a name once, so no submit makes two jobs."""
    return PREFIX + key


def container_name(key: str, index: int | None) -> str:
    """The container of a job, or of one index of an array."""
    return native_id(key) if index is None else f"{native_id(key)}-{index}"


def site_digest(name: str, work_root: str) -> str:
    """What the label ``SITE`` says.

    Args:
        name: of the site.
        work_root: absolute.
    """
    return hashlib.sha256(f"{name}\0{work_root}".encode("utf-8", "surrogateescape")).hexdigest()[:16]
