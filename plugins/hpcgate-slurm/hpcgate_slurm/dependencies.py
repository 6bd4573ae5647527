"""What a job waits for: as sbatch takes it, once the controller has said that it still knows those jobs.

sbatch takes any number for a job. One that the controller does not know (any more) counts as satisfied, whatever had
become of it: a job that asked for its success would start after its failure. So the controller is asked first. A job
that has not ended then is not forgotten before sbatch comes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from hpcgate.errors import SchedulerError
from hpcgate.model.job import JobDependency
from hpcgate.model.state import FINAL, Evidence, JobState
from hpcgate_slurm import arrays
from hpcgate_slurm.rows import Row

#: Ends that satisfy a dependency.
_SATISFIED_BY: Final[Mapping[str, frozenset[JobState]]] = {
    "after": FINAL,
    "afterany": FINAL,
    "afterok": frozenset({JobState.COMPLETED}),
    "afternotok": FINAL - {JobState.COMPLETED},
}


def options(waits_for: Sequence[JobDependency]) -> list[str]:
    """The options for sbatch: all of them must come true, and a job for which one never can is canceled."""
    if not waits_for:
        return []
    kinds: dict[str, list[str]] = {}
    for each in waits_for:
        kinds.setdefault(each.kind, []).append(each.job.native_id or "")
    terms = [":".join([kind, *native_ids]) for kind, native_ids in kinds.items()]
    return [f"--dependency={','.join(terms)}", "--kill-on-invalid-dep=yes"]


def still_open(waits_for: Sequence[JobDependency], rows: Mapping[str, Sequence[Row]]) -> tuple[JobDependency, ...]:
    """Those that are not satisfied yet.

    Args:
        waits_for: what the job waits for.
        rows: what the queue shows of those jobs now, by native id.

    Raises:
        SchedulerError: transient; the queue does not know one any more, or it ended otherwise than was asked for,
            which the gateway itself is about to learn.
    """
    found = []
    for each in waits_for:
        told = rows.get(each.job.native_id or "")
        if told is None:
            raise SchedulerError(f"the queue does not know job {each.job.native_id} any more, which this one waits for")
        state = arrays.observe(told, Evidence.QUEUE).state
        if not arrays.ended(told):
            found.append(each)
        elif state not in _SATISFIED_BY[each.kind]:
            raise SchedulerError(
                f"job {each.job.native_id}, which this one waits for ({each.kind}), is {state} already"
            )
    return tuple(found)
