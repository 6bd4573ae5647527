"""One job, array task or run, as queue or accounting showed it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from hpcgate.model.job import Observation, TaskObservation, Usage
from hpcgate.model.state import FINAL, Evidence, JobState, Reason
from hpcgate_slurm.mark import Mark
from hpcgate_slurm.reasons import explain
from hpcgate_slurm.states import HELD_REASONS, LAUNCH_SIGNAL, NEVER_SATISFIED, NativeState, look_up

_WAITING = frozenset({JobState.QUEUED, JobState.HELD})
_EXPLAINED = frozenset({Reason.LAUNCH_FAILED, Reason.SUBMIT_REJECTED, Reason.DEPENDENCY_NEVER_SATISFIED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What Slurm said.

    Args:
        native_id: of the job; of an array the array's, of a heterogeneous job the first component's.
        index: in an array; ``None`` = no array.
        word: of its state, as Slurm printed it.
        reason: Slurm's word for why it waits, or ended.
        exit_code, signal: of the script; ``None`` = not told.
        mark: in its comment, or in the line it was submitted with; ``None`` = not told.
        canceler: uid of who canceled it; ``None`` = not told.
        owner: uid of the account that it runs as; ``None`` = not told.
        component: of a heterogeneous job, from 0; ``None`` = no such job.
    """

    native_id: str
    index: int | None = None
    word: str
    reason: str = ""
    exit_code: int | None = None
    signal: int | None = None
    submitted_at: float | None = None
    started_at: float | None = None
    ended_at: float | None = None
    restarts: int | None = None
    account: str | None = None
    nodes: tuple[str, ...] = ()
    mark: Mark | None = None
    canceler: str | None = None
    owner: str | None = None
    usage: Usage | None = None
    component: int | None = None

    @property
    def key(self) -> str | None:
        """The gateway's key; ``None`` = not told."""
        return self.mark.key if self.mark else None

    @property
    def native(self) -> NativeState | None:
        """What its word means; ``None`` = it is not known."""
        return look_up(self.word)[1]

    @property
    def state(self) -> JobState | None:
        """The state of hpcgate."""
        native = self.native
        if native is None:
            return None
        if native.state is JobState.QUEUED and native.phase is None and self.reason in HELD_REASONS:
            return JobState.HELD
        if native.state is JobState.COMPLETED and self.exit_code not in (0, None):
            return JobState.FAILED
        return native.state

    @property
    def ended(self) -> bool:
        """Whether it has a final state."""
        return self.state in FINAL

    @property
    def waits(self) -> bool:
        """Whether it has not started."""
        return self.state in _WAITING

    @property
    def refused(self) -> bool:
        """Whether it is what a refused submit leaves behind: a job that failed and never had a node."""
        return self.word == "FAILED" and not self.nodes and self.signal != LAUNCH_SIGNAL

    def why(self) -> Reason | None:
        """Why it failed or was canceled."""
        native, state = self.native, self.state
        if native is None or state not in FINAL or state is JobState.COMPLETED:
            return None
        if native.reason is not None:
            return native.reason
        if state is JobState.CANCELED:
            return self._canceled()
        if self.refused:
            return Reason.SUBMIT_REJECTED
        if self.signal == LAUNCH_SIGNAL:
            # Its reason would not do: Slurm says JobLaunchFailure of every script that a signal ended.
            return Reason.LAUNCH_FAILED
        return Reason.SIGNALED if self.signal else Reason.EXIT_NONZERO

    def _canceled(self) -> Reason | None:
        if self.canceler is None:
            # The queue does not tell who canceled a job; accounting says so of all but those that Slurm itself did.
            by_slurm = self.reason == NEVER_SATISFIED and not self.nodes
            return Reason.DEPENDENCY_NEVER_SATISFIED if by_slurm else None
        if self.owner is None:
            return None  # accounting has not heard whose job it is yet
        return Reason.CANCELED_BY_USER if self.canceler == self.owner else Reason.CANCELED_BY_ADMIN

    def observe(self, evidence: Evidence) -> Observation:
        """The row as an observation of a job that is no array."""
        state, reason = self.state, self.why()
        waits = self.waits
        final = state in FINAL
        ran = self.started_at is not None and not waits and bool(self.nodes)
        launched = ran and reason is not Reason.LAUNCH_FAILED
        # What a job was ended with from outside is no exit code of its own.
        told = final and reason in (None, Reason.EXIT_NONZERO, Reason.SIGNALED) and state is not JobState.CANCELED
        return Observation(
            native_id=self.native_id,
            state=state,
            evidence=evidence,
            phase=self.native.phase if self.native else None,
            reason=reason,
            message=explain(self.reason) if waits or reason in _EXPLAINED else None,
            exit_code=self.exit_code if told and not self.signal else None,
            signal=self.signal if told and self.signal else None,
            native_state=look_up(self.word)[0] or None,
            native_reason=None if self.reason in ("", "None") else self.reason,
            submitted_at=self.submitted_at,
            started_at=self.started_at if launched else None,
            ended_at=self.ended_at if final else None,
            restarts=self.restarts,
            key=self.key,
            account=self.account,
            nodes=self.nodes if not waits else (),
            usage=self.usage,
        )

    def task(self) -> TaskObservation | None:
        """The row as one index of an array; ``None`` where its word is not known."""
        seen = self.observe(Evidence.QUEUE)
        if self.index is None or seen.state is None:
            return None
        return TaskObservation(
            index=self.index,
            state=seen.state,
            reason=seen.reason,
            exit_code=seen.exit_code,
            signal=seen.signal,
            native_id=f"{self.native_id}_{self.index}",
            started_at=seen.started_at,
            ended_at=seen.ended_at,
            nodes=seen.nodes,
            usage=seen.usage,
        )

    def with_usage_of(self, steps: list[Usage]) -> Row:
        """The row with what its steps used: the largest process of any."""
        sizes = [step.max_rss_kib for step in steps if step.max_rss_kib is not None]
        cpu_time_s = self.usage.cpu_time_s if self.usage else None
        return replace(self, usage=Usage(cpu_time_s=cpu_time_s, max_rss_kib=max(sizes, default=None)))
