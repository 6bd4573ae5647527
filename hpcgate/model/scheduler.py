"""What a scheduler plugin says of itself, and the answers that its hooks give."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from hpcgate.model.job import Observation
from hpcgate.model.spec import JobSpec

#: Version of the hook contract. A plugin states the one it was written for; the host refuses another major.
CONTRACT_VERSION: Final = "1.0"


class Capability(StrEnum):
    """What a scheduler may be able to do beyond submit, poll and cancel. Claiming one and failing it is a failure."""

    HOLD = "hold"
    SIGNAL = "signal"
    REQUEUE = "requeue"
    ARRAYS = "arrays"
    ARRAY_LIMIT = "array_limit"
    CANCEL_TASKS = "cancel_tasks"
    ACCOUNTING = "accounting"
    EXEC = "exec"
    QUEUES = "queues"
    NODES = "nodes"
    WALLTIME = "walltime"
    MEMORY = "memory"
    DEPENDENCIES = "dependencies"
    SUSPEND = "suspend"


@dataclass(frozen=True, slots=True)
class Approximated:
    """A spec field that the scheduler honours in part; ``how`` says how."""

    how: str


HONOURED: Final = "honoured"
#: How a scheduler treats a field of the spec: ``HONOURED`` or ``Approximated``. A field not named is unsupported.
FieldSupport = str | Approximated


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulerInfo:
    """What a scheduler plugin says of itself.

    Args:
        name: the scheduler type as config names it; equal to the entry-point name.
        version: of the plugin distribution.
        summary: one line.
        settings: dataclass of the ``[sites.NAME.settings]`` table; its fields carry ``metadata={"help": ...}``.
        capabilities: what it can do beyond the core.
        fields: dotted spec field -> how it is treated. A prefix covers what is below it (``resources``).
        contract: version of the hook contract it was written for.
        message_timeout_s: how long the scheduler may take to act on a submit that seemed to fail, seconds. An absent
            key is believed after twice this time.
    """

    name: str
    version: str
    summary: str
    settings: type[Any]
    capabilities: frozenset[Capability] = frozenset()
    fields: Mapping[str, FieldSupport] = field(default_factory=dict)
    contract: str = CONTRACT_VERSION
    message_timeout_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldVerdict:
    """How one field of a spec would be treated: ``honoured``, ``approximated`` or ``unsupported``."""

    field: str
    verdict: str
    how: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderedScript:
    """What would be submitted.

    Args:
        text: the batch script (secrets left out).
        argv: the submit command, where the scheduler has one.
        spec: the job with what its script's own directives say taken in; ``None`` = there are none.
    """

    text: str
    argv: tuple[str, ...] = ()
    spec: JobSpec | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitted:
    """A scheduler took a job.

    Args:
        key: the job's key.
        native_id: the scheduler's id for it.
        stdout_path, stderr_path: absolute paths of its streams at the site. Each task of an array appends its
            index: ``PATH.7``.
    """

    key: str
    native_id: str
    stdout_path: str | None = None
    stderr_path: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitFailed:
    """A scheduler did not take one job of a bulk submit.

    Args:
        key: the job's key.
        message: the scheduler's words.
        permanent: trying again unchanged is hopeless.
        ambiguous: it may have been taken all the same; only ``find_by_key`` can tell.
        late: because the answer did not come in time, or on the way.
    """

    key: str
    message: str
    permanent: bool
    ambiguous: bool = False
    late: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """The answer of one poll: every job of the gateway that the scheduler's queue knows.

    Args:
        observations: by native id.
        complete: whether absence from it means that the queue does not have the job. ``False`` where the
            listing was cut, or the polling account cannot see everybody's jobs.
        at: epoch seconds when it was asked, by the gateway's clock.
    """

    observations: Mapping[str, Observation]
    complete: bool
    at: float


class Presence(StrEnum):
    """Whether the scheduler has a job with a key."""

    PRESENT = "present"
    ABSENT = "absent"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeySearch:
    """The answer of ``find_by_key``."""

    presence: Presence
    native_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueInfo:
    """A queue (partition) of a site."""

    name: str
    state: str
    default: bool = False
    nodes: int | None = None
    cpus: int | None = None
    running: int | None = None
    pending: int | None = None
    max_walltime_s: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeInfo:
    """A node of a site."""

    name: str
    state: str
    cpus: int | None = None
    cpus_used: int | None = None
    memory_mib: int | None = None
    memory_used_mib: int | None = None
    gpus: int | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteDescription:
    """What a site consists of, as its scheduler tells."""

    queues: tuple[QueueInfo, ...] = ()
    nodes: tuple[NodeInfo, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One line of a site check: what was looked at, whether it is good, and what was found or should be done."""

    name: str
    ok: bool
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """The answer of ``probe_site``.

    Args:
        checks: what was looked at.
        version: of the scheduler.
        sees_all_jobs: whether the polling account sees the jobs of all accounts.
    """

    checks: tuple[Check, ...]
    version: str | None = None
    sees_all_jobs: bool = True

    @property
    def ok(self) -> bool:
        """Whether every check is good."""
        return all(check.ok for check in self.checks)
