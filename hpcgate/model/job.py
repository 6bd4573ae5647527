"""A job as the gateway knows it, its tasks, attempts and events, and what a scheduler said about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hpcgate.model.spec import JobSpec
from hpcgate.model.state import Evidence, JobState, Phase, Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What a job or task used, as far as its scheduler tells.

    Args:
        cpu_time_s: user + system time of all processes, seconds.
        max_rss_kib: largest resident set of one process, KiB.
    """

    cpu_time_s: float | None = None
    max_rss_kib: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskObservation:
    """What a scheduler said about one task or array index.

    Args:
        index: array index, or position in the role.
        role: name of the task role; ``""`` for arrays and plain tasks.
        state: one of QUEUED, HELD, RUNNING, SUSPENDED and the finals.
    """

    index: int
    role: str = ""
    state: JobState
    reason: Reason | None = None
    exit_code: int | None = None
    signal: int | None = None
    native_id: str | None = None
    started_at: float | None = None
    ended_at: float | None = None
    nodes: tuple[str, ...] = ()
    usage: Usage | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What a scheduler said about a native id at a time. It is no decision: ``service.reconcile`` decides.

    Args:
        native_id: the scheduler's id.
        state: QUEUED, HELD, RUNNING, SUSPENDED or a final; ``None`` when the native word is unknown, which
            keeps the last state.
        evidence: where it was read.
        phase: a finer step inside the state.
        reason: why it failed or was canceled.
        message: one line for people, e.g. a pending reason explained.
        exit_code: exit code of the script, 0..255.
        signal: number of the signal that ended it.
        native_state, native_reason: the scheduler's own words.
        submitted_at, started_at, ended_at: epoch seconds, UTC.
        restarts: how often the scheduler has started it anew; attempt = 1 + restarts. ``None`` = not told.
        key: the gateway's key, where the scheduler shows it.
        account: the account it runs as.
        nodes, cpu_ids, gpu_ids: where it runs, seen while it ran (schedulers forget this soon).
        usage: what it used so far.
        tasks: array indices or tasks; only those that have something to tell.
    """

    native_id: str
    state: JobState | None
    evidence: Evidence
    phase: Phase | None = None
    reason: Reason | None = None
    message: str | None = None
    exit_code: int | None = None
    signal: int | None = None
    native_state: str | None = None
    native_reason: str | None = None
    submitted_at: float | None = None
    started_at: float | None = None
    ended_at: float | None = None
    restarts: int | None = None
    key: str | None = None
    account: str | None = None
    nodes: tuple[str, ...] = ()
    cpu_ids: tuple[int, ...] = ()
    gpu_ids: tuple[str, ...] = ()
    usage: Usage | None = None
    tasks: tuple[TaskObservation, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRef:
    """What a scheduler plugin needs to know to speak about a job that it has.

    Args:
        id: gateway id.
        key: the ULID that the job carries.
        native_id: the scheduler's id; ``None`` while it is not known.
        attempt: which run, from 1.
        folder: absolute path of the job's folder at the site.
        account: the account it runs as; ``None`` = the transport's own.
        submitted_at: epoch seconds.
        array: whether it is a job array.
        tasks: how many tasks it has that run one after the other; 0 = it has none.
    """

    id: int
    key: str
    native_id: str | None
    attempt: int = 1
    folder: str
    account: str | None = None
    submitted_at: float | None = None
    array: bool = False
    tasks: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class JobDependency:
    """Another job of the same site that a scheduler is told to wait for.

    Args:
        job: has a native id.
        kind: as in ``model.spec.Dependency``.
    """

    job: JobRef
    kind: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job.

    Times are epoch seconds, UTC. ``stale`` says that its site has not answered for longer than its poll table
    promises, so that the state may be old. ``revision`` grows with every change (it makes the ETag). ``depends_on`` is
    filled in for the scheduler that gets the job: those of ``spec.dependencies`` that are not yet satisfied.
    """

    id: int
    key: str
    owner: str
    site: str | None
    spec: JobSpec
    state: JobState
    attempt: int = 1
    phase: Phase | None = None
    reason: Reason | None = None
    message: str | None = None
    exit_code: int | None = None
    signal: int | None = None
    native_id: str | None = None
    native_state: str | None = None
    native_reason: str | None = None
    evidence: Evidence | None = None
    stale: bool = False
    canceling: bool = False
    folder: str | None = None
    account: str | None = None
    stdout_path: str | None = None
    stderr_path: str | None = None
    created_at: float
    submitted_at: float | None = None
    started_at: float | None = None
    ended_at: float | None = None
    updated_at: float
    nodes: tuple[str, ...] = ()
    cpu_ids: tuple[int, ...] = ()
    gpu_ids: tuple[str, ...] = ()
    usage: Usage | None = None
    dialect: str | None = None
    dialect_data: Mapping[str, Any] = field(default_factory=dict)
    workflow_id: int | None = None
    revision: int = 1
    expires_at: float | None = None
    retry_of: int | None = None
    depends_on: tuple[JobDependency, ...] = ()

    @property
    def ref(self) -> JobRef:
        """The handle that scheduler plugins get once the job has a folder."""
        return JobRef(
            id=self.id,
            key=self.key,
            native_id=self.native_id,
            attempt=self.attempt,
            folder=self.folder or "",
            account=self.account,
            submitted_at=self.submitted_at,
            array=self.spec.array is not None,
            tasks=len(self.spec.tasks),
        )

    @property
    def retryable(self) -> bool:
        """Whether the same job, unchanged, may well succeed when run again."""
        return self.reason is not None and self.reason.retryable


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One task, or one index of an array, in one attempt of a job."""

    job_id: int
    attempt: int
    role: str
    index: int
    state: JobState
    reason: Reason | None = None
    exit_code: int | None = None
    signal: int | None = None
    native_id: str | None = None
    started_at: float | None = None
    ended_at: float | None = None
    nodes: tuple[str, ...] = ()
    usage: Usage | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One run of a job. The current one is still open: its state is the job's."""

    job_id: int
    attempt: int
    state: JobState
    native_id: str | None = None
    reason: Reason | None = None
    exit_code: int | None = None
    signal: int | None = None
    submitted_at: float | None = None
    started_at: float | None = None
    ended_at: float | None = None
    nodes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One accepted change, numbered in commit order.

    Args:
        seq: the number; cursors use it alone.
        at: epoch seconds.
        type: ``job.created``, ``job.state``, ``job.requeued``, ``job.canceling``, ``job.requested`` (hold, release,
            requeue or signal was asked for), ``job.corrected``, ``job.usage`` (told after
            the end), ``job.charged`` (its project), ``job.files_removed``, ``job.warning``, ``job.deleted``; of
            projects and shares ``project.created``, ``.changed``, ``.deleted``, ``.granted``, ``.revoked``,
            ``share.created``, ...; of sites ``site.drained``, ``site.resumed``.
        job_id: the job it is about.
        owner: the job's owner, or the member, who may see it; ``None`` = operators alone may.
        actor: the principal whose request caused it (``Principal.actor``); ``None`` = the gateway itself.
        data: what changed; for ``job.state``: old, new, attempt, site, reason, exit_code, signal, evidence, synthetic.
    """

    seq: int
    at: float
    type: str
    job_id: int | None
    owner: str | None
    actor: str | None = None
    data: Mapping[str, Any] = field(default_factory=dict)
