"""The accounting entry of a job: of one of the gateway's own, or of one that was reported from outside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

#: A job that begins so much later than one with the same number is another one, or a requeue, seconds.
REQUEUE_AFTER_S: Final = 86_400


class RecordState(StrEnum):
    """What became of a job, in the words of accounting."""

    PENDING = "pending"
    RUNNING = "running"
    SUSPENDED = "suspended"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    STOPPED = "stopped"
    TIMEOUT = "timeout"
    PREEMPTED = "preempted"
    OUT_OF_MEMORY = "out_of_memory"
    BOOT_FAIL = "boot_fail"
    DEADLINE = "deadline"
    NODE_FAIL = "node_fail"

    @property
    def final(self) -> bool:
        """Whether the job has ended."""
        return self not in OPEN


#: States of a job that has not ended.
OPEN: Final = frozenset({RecordState.PENDING, RecordState.RUNNING, RecordState.SUSPENDED})


class Sharing(StrEnum):
    """Whom a job shares its nodes with."""

    NONE = "none"
    SINGLE_USER = "single_user"
    MULTI_USER = "multi_user"


class Monitoring:
    """How far a record is with the archive, as a number."""

    OFF: Final = 0
    OPEN: Final = 1
    FAILED: Final = 2
    ARCHIVED: Final = 3


class TagScope(StrEnum):
    """Who sees a tag."""

    GLOBAL = "global"
    ADMIN = "admin"
    PRIVATE = "private"


class Source(StrEnum):
    """Where a record comes from."""

    GATEWAY = "gateway"
    REPORTED = "reported"


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """What a job has of one node.

    Args:
        hostname: name of the node.
        hwthreads: numbers of its hardware threads; empty = not told, or all.
        accelerators: their ids.
        configuration: what the site says of how the node was set up.
    """

    hostname: str
    hwthreads: tuple[int, ...] = ()
    accelerators: tuple[str, ...] = ()
    configuration: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordTag:
    """A word about a record. There is one for each type, name, scope and, where it is private, owner.

    Args:
        id: number; 0 = not stored yet.
        owner: whose it is, where the scope is private; else empty.
    """

    type: str
    name: str
    scope: TagScope = TagScope.GLOBAL
    owner: str = ""
    id: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """The accounting entry of one run of a job.

    Times are epoch seconds, UTC. What is not told is empty, or 0.

    Args:
        id: the gateway's number of it, never reused; 0 = not stored yet.
        number: the batch system's id of the job, as a number; of the gateway's own the leading digits of its native
            id, else its id.
        job_id: the gateway's own job; ``None`` = it was not submitted here.
        attempt: which run of that job, from 1.
        array_number: ``number`` of the array that it is an element of.
        array_index: which element, of an array of the gateway's own; -1 = it is none, or that is not told.
        user: who runs it; the ``owner`` of an own job.
        sharing: whom it shares its nodes with.
        smt: whether (or how many) hardware threads of a core are used.
        monitoring: how far it is with the archive, one of ``Monitoring``.
        duration_s: how long it ran; 0 while it has not ended.
        walltime_s: how long it may run.
        tags: those that the reader may see, the oldest first.
        metadata, statistics: ``None`` = there are none, or they were not asked for.
    """

    number: int
    user: str
    cluster: str
    started_at: int
    id: int = 0
    job_id: int | None = None
    attempt: int = 1
    array_number: int = 0
    array_index: int = -1
    name: str = ""
    project: str = ""
    subcluster: str = ""
    partition: str = ""
    site: str | None = None
    state: RecordState = RecordState.RUNNING
    sharing: Sharing = Sharing.NONE
    smt: int = 0
    monitoring: int = Monitoring.OPEN
    num_nodes: int = 1
    num_hwthreads: int = 0
    num_accelerators: int = 0
    submitted_at: int | None = None
    duration_s: int = 0
    walltime_s: int = 0
    resources: tuple[Resource, ...] = ()
    source: Source = Source.REPORTED
    tags: tuple[RecordTag, ...] = ()
    metadata: Mapping[str, str] | None = None
    statistics: Mapping[str, Any] | None = None

    @property
    def ended_at(self) -> int | None:
        """When it ended."""
        return self.started_at + self.duration_s if self.state.final else None

    def lasting(self, now: float) -> int:
        """How long it ran, or has been running, seconds."""
        return self.duration_s if self.state.final else max(0, int(now) - self.started_at)


@dataclass(frozen=True, slots=True, kw_only=True)
class Visibility:
    """Whose records a principal sees.

    Args:
        user: its own; ``None`` = everybody's.
        projects: and those of these projects.
        viewer: who looks, whose private tags it sees; ``None`` = everybody's.
        admin_tags: whether it sees the tags of admins.
    """

    user: str | None = None
    projects: tuple[str, ...] = ()
    viewer: str | None = None
    admin_tags: bool = True

    def shows(self, tag: RecordTag) -> bool:
        """Whether a tag is seen."""
        if tag.scope is TagScope.PRIVATE:
            return self.viewer is None or tag.owner == self.viewer
        return tag.scope is TagScope.GLOBAL or self.admin_tags


class KeepTagged(StrEnum):
    """Which old records stay because of their tags."""

    NONE = "none"
    ALL = "all"
    USER = "user"


#: Types of tags that programs give; a record that has no others is not kept by ``KeepTagged.USER``.
MACHINE_TAGS: Final = ("app", "jobClass")


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordFilter:
    """Which records; everything given must hold, and one of each list.

    Args:
        name: how the job's name begins.
        tag: name of a tag, or ``TYPE:NAME``.
        node: hostname of one of its nodes.
        started_from, started_to, ended_from, ended_to: first and last second.
        min_duration_s, max_duration_s: of one that has not ended how long it has been running.
        source: own or reported ones.
    """

    states: tuple[RecordState, ...] = ()
    cluster: str | None = None
    subclusters: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    project: str | None = None
    partition: str | None = None
    number: int | None = None
    array_number: int | None = None
    job_id: int | None = None
    name: str | None = None
    tag: str | None = None
    node: str | None = None
    started_from: int | None = None
    started_to: int | None = None
    ended_from: int | None = None
    ended_to: int | None = None
    min_duration_s: int | None = None
    max_duration_s: int | None = None
    min_nodes: int | None = None
    max_nodes: int | None = None
    source: Source | None = None


class NodeState(StrEnum):
    """What a node does."""

    ALLOCATED = "allocated"
    RESERVED = "reserved"
    IDLE = "idle"
    DOWN = "down"
    MIXED = "mixed"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeReport:
    """What was said last about a node.

    Args:
        at: epoch seconds; 0 = now.
        cpus, gpus: how many of it are taken.
        memory_mib: how much of its memory is taken.
        jobs: how many run there.
    """

    cluster: str
    hostname: str
    state: NodeState
    cpus: int = 0
    memory_mib: int = 0
    gpus: int = 0
    jobs: int = 0
    at: float = 0.0
