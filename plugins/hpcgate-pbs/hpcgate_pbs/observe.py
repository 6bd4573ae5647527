"""Rows of ``qstat`` as observations."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from hpcgate.model.job import Observation, TaskObservation, Usage
from hpcgate.model.state import Evidence, JobState, Reason
from hpcgate.scheduler.tasks import Derived, derive
from hpcgate_pbs.documents import Attributes
from hpcgate_pbs.ending import Ending, canceled_by, ending
from hpcgate_pbs.states import DEPENDENCY_HOLD, ENDED, TERMINATED, WAITING, Meaning, meaning
from hpcgate_pbs.values import epoch, hosts, indices, integer, is_array, kib, seconds, split_task

#: The variable by which a job carries its key.
KEY_VARIABLE: Final = "HPCGATE_JOB_KEY"

_KEY = re.compile(rf"(?:\A|(?<!\\),\s*){KEY_VARIABLE}=([0-9A-Z]+)")
_COUNT = re.compile(r"(\w+):(\d+)")
#: Letters of ``Hold_Types``: by its owner, an operator, an administrator. ``s`` is the system's own.
_HELD_BY_SOMEBODY: Final = frozenset("uop")


def observe(jobs: Mapping[str, Attributes], evidence: Evidence) -> dict[str, Observation]:
    """What PBS said of jobs, by native id.

    The tasks of an array become part of the observation of the whole. A job that has ended and whose row does not
    tell how is left out: that is no answer, and other evidence must be looked for.

    Args:
        jobs: rows by native id.
        evidence: what they count as.
    """
    tasks: dict[str, list[tuple[int, Attributes]]] = defaultdict(list)
    whole: dict[str, Attributes] = {}
    for native_id, row in jobs.items():
        task = split_task(native_id)
        if task is None:
            whole[native_id] = row
        else:
            tasks[task[0]].append((task[1], row))
    seen = {}
    for native_id, row in whole.items():
        one = (
            _array(native_id, row, tasks[native_id], evidence)
            if is_array(native_id)
            else _single(native_id, row, evidence)
        )
        if one is not None:
            seen[native_id] = one
    return seen


def has_begun(row: Attributes) -> bool:
    """Whether any task of an array may have something to tell, from its parent's row."""
    counts = {word: int(number) for word, number in _COUNT.findall(row.get("array_state_count", ""))}
    waiting = counts.pop("Queued", 0) + counts.pop("Held", 0) + counts.pop("Waiting", 0)
    return any(counts.values()) or not waiting or row.get("job_state") not in WAITING


def key_of(row: Attributes) -> str | None:
    """The gateway's key, where the job carries one."""
    given = row.get(f"Variable_List.{KEY_VARIABLE}")
    if given is not None:
        return given
    match = _KEY.search(row.get("Variable_List", ""))
    return match.group(1) if match else None


# --- one job ------------------------------------------------------------------------------------------------------


def _single(native_id: str, row: Attributes, evidence: Evidence) -> Observation | None:
    letter, substate = row.get("job_state", ""), integer(row.get("substate"))
    if letter in ENDED:
        end = _ending(row, substate)
        return None if end is None else _final(native_id, row, end, evidence)
    means = _meaning(letter, substate, row) or Meaning(None)
    waits = means.state in (JobState.QUEUED, JobState.HELD) and letter in WAITING
    return Observation(
        native_id=native_id,
        state=means.state,
        evidence=evidence,
        phase=means.phase,
        reason=means.reason,
        message=(row.get("comment") or means.words) if waits else means.words,
        native_state=_native_state(row),
        native_reason=row.get("comment"),
        submitted_at=epoch(row.get("ctime")),
        started_at=None if waits else epoch(row.get("stime")),
        restarts=_restarts(letter, row),
        key=key_of(row),
        account=_account(row),
        nodes=() if waits else hosts(row.get("exec_host")),
        usage=_usage(row),
    )


def _meaning(letter: str, substate: int | None, row: Attributes) -> Meaning | None:
    """What letter and substate mean; PBS tells the wait for other jobs also of one that a person holds besides."""
    if (letter, substate) == DEPENDENCY_HOLD and _HELD_BY_SOMEBODY & set(row.get("Hold_Types", "")):
        substate = None
    return meaning(letter, substate)


def _waits_for_others(row: Attributes) -> bool:
    """Whether it depends on others. That others depend on it PBS notes in the same attribute, as ``beforeok:...``."""
    return any(part.startswith(("after", "on:")) for part in row.get("depend", "").split(","))


def _final(native_id: str, row: Attributes, end: Ending, evidence: Evidence) -> Observation:
    return Observation(
        native_id=native_id,
        state=end.state,
        evidence=evidence,
        reason=end.reason,
        message=None if end.state is JobState.COMPLETED else end.words or row.get("comment"),
        exit_code=end.exit_code,
        signal=end.signal,
        native_state=_native_state(row),
        native_reason=row.get("comment"),
        submitted_at=epoch(row.get("ctime")),
        started_at=epoch(row.get("stime")),
        ended_at=_ended_at(row),
        restarts=_restarts(row.get("job_state", ""), row),
        key=key_of(row),
        account=_account(row),
        nodes=hosts(row.get("exec_host")),
        usage=_usage(row),
    )


def _ending(row: Attributes, substate: int | None) -> Ending | None:
    return ending(
        substate=substate,
        exit_status=_exit_status(row),
        started=_started_at(row) is not None,
        depends=_waits_for_others(row),
        owner=_account(row),
        comment=row.get("comment"),
    )


def _exit_status(row: Attributes) -> int | None:
    return integer(row.get("Exit_status", row.get("exit_status")))


def _started_at(row: Attributes) -> float | None:
    return epoch(row.get("stime", row.get("start_time")))


def _ended_at(row: Attributes) -> float | None:
    return next(
        (at for name in ("obittime", "comp_time", "history_timestamp", "mtime") if (at := epoch(row.get(name)))), None
    )


def _native_state(row: Attributes) -> str:
    substate = row.get("substate")
    return row.get("job_state", "?") + (f"/{substate}" if substate is not None else "")


def _restarts(letter: str, row: Attributes) -> int | None:
    """How often PBS has started it anew: ``run_count`` counts the runs, also the one that goes on."""
    runs = integer(row.get("run_count"))
    if runs is None:
        return 0 if letter in WAITING else None
    return runs if letter in WAITING else max(runs - 1, 0)


def _account(row: Attributes) -> str | None:
    owner = row.get("euser") or row.get("Job_Owner", "").partition("@")[0]
    return owner or None


def _usage(row: Attributes) -> Usage | None:
    cpu_time_s, max_rss_kib = seconds(row.get("resources_used.cput")), kib(row.get("resources_used.mem"))
    if cpu_time_s is None and max_rss_kib is None:
        return None
    return Usage(cpu_time_s=cpu_time_s, max_rss_kib=max_rss_kib)


# --- arrays -------------------------------------------------------------------------------------------------------


def _array(
    native_id: str, row: Attributes, rows: Sequence[tuple[int, Attributes]], evidence: Evidence
) -> Observation | None:
    """The whole array, from its tasks; the parent's own ``Exit_status`` is 0 whatever became of them."""
    letter, substate = row.get("job_state", ""), integer(row.get("substate"))
    total = _submitted(row)
    told = {index: task for index, task in rows if index in total}
    tasks = [task for index, each in sorted(told.items()) if (task := _task(native_id, index, each)) is not None]
    if letter in ENDED:
        ended = [task for task in tasks if task.state.final]
        tasks = ended + _never_begun(native_id, row, total, {task.index for task in ended})
    derived = _derived(row, letter, tasks, len(total))
    if derived is None:
        return None
    final = derived.state.final
    return Observation(
        native_id=native_id,
        state=derived.state,
        evidence=evidence,
        reason=derived.reason or _hold_reason(letter, substate),
        message=row.get("comment") if derived.state not in (JobState.RUNNING, JobState.COMPLETED) else None,
        exit_code=derived.exit_code,
        signal=derived.signal,
        native_state=_native_state(row),
        native_reason=row.get("comment"),
        submitted_at=epoch(row.get("ctime")),
        started_at=_first(task.started_at for task in tasks),
        ended_at=_ended_at(row) if final else None,
        restarts=0,  # single tasks are run again, never the whole
        key=key_of(row),
        account=_account(row),
        nodes=tuple(dict.fromkeys(node for task in tasks for node in task.nodes)),
        usage=_together(tasks) if final else None,
        tasks=tuple(sorted(tasks, key=lambda task: task.index)),
    )


def _submitted(row: Attributes) -> tuple[int, ...]:
    """The indices of an array; none where its row does not tell them, so that no task is taken for the last one."""
    try:
        return indices(row.get("array_indices_submitted"))
    except ValueError:
        return ()


def _derived(row: Attributes, letter: str, tasks: Sequence[TaskObservation], total: int) -> Derived | None:
    if not tasks:
        # Nothing has begun, or the tasks were not asked for, or are not told any more.
        means = _meaning(letter, integer(row.get("substate")), row) or Meaning(None)
        return None if means.state is None else Derived(means.state)  # an ended one means nothing by its letter
    found = derive(tasks, total)
    if letter in ENDED:
        return found if found.state.final else None
    if found.state.final:
        return Derived(JobState.RUNNING)  # the parent ends a moment later
    if found.state in (JobState.QUEUED, JobState.HELD) and letter == "B":
        return Derived(JobState.RUNNING)  # some have ended of which nothing more is told
    return found


def _task(parent: str, index: int, row: Attributes) -> TaskObservation | None:
    """One task; ``None`` where nothing is told of it but that it is over."""
    letter, substate = row.get("job_state", ""), integer(row.get("substate"))
    end = None
    if letter in ENDED:
        end = _ending(row, substate)
        if end is None or "substate" not in row:
            return None
        state: JobState | None = end.state
    else:
        means = _meaning(letter, substate, row)
        state = means.state if means else None
    if state is None:
        return None
    # A task that waits shows the start time of the whole array.
    begun = state not in (JobState.QUEUED, JobState.HELD) and (end is None or "exec_host" in row)
    return TaskObservation(
        index=index,
        state=state,
        reason=end.reason if end else None,
        exit_code=end.exit_code if end else None,
        signal=end.signal if end else None,
        native_id=_task_id(parent, index),
        started_at=_started_at(row) if begun else None,
        ended_at=_ended_at(row) if end else None,
        nodes=hosts(row.get("exec_host")) if begun else (),
        usage=_usage(row) if begun else None,
    )


def _never_begun(parent: str, row: Attributes, total: Iterable[int], known: set[int]) -> list[TaskObservation]:
    """The tasks of which PBS tells no end, of an array that was deleted, or that ended before it began."""
    if integer(row.get("substate")) == TERMINATED:
        reason = canceled_by(_account(row), row.get("comment"))
    elif _started_at(row) is None and _exit_status(row) is None and _waits_for_others(row):
        reason = Reason.DEPENDENCY_NEVER_SATISFIED
    else:
        return []
    return [
        TaskObservation(index=index, state=JobState.CANCELED, reason=reason, native_id=_task_id(parent, index))
        for index in total
        if index not in known
    ]


def _hold_reason(letter: str, substate: int | None) -> Reason | None:
    means = meaning(letter, substate)
    return means.reason if means else None


def _task_id(parent: str, index: int) -> str:
    return parent.replace("[]", f"[{index}]", 1)


def _first(times: Iterable[float | None]) -> float | None:
    return min((at for at in times if at is not None), default=None)


def _together(tasks: Sequence[TaskObservation]) -> Usage | None:
    used = [task.usage for task in tasks if task.usage is not None]
    if not used:
        return None
    times = [each.cpu_time_s for each in used if each.cpu_time_s is not None]
    sizes = [each.max_rss_kib for each in used if each.max_rss_kib is not None]
    return Usage(cpu_time_s=sum(times) if times else None, max_rss_kib=max(sizes, default=None))
