"""What becomes of each field of a spec at a scheduler: honoured, approximated or refused, never dropped."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from hpcgate.errors import FieldError
from hpcgate.model.scheduler import HONOURED, Approximated, FieldSupport, FieldVerdict, SchedulerInfo
from hpcgate.model.spec import JobSpec

#: Fields that the gateway itself honours, whatever the scheduler.
GATEWAY_FIELDS: Final = frozenset(
    {"name", "labels", "tags", "staging.inputs", "project", "share", "callback", "notifications"}
)


def verdicts(spec: JobSpec, info: SchedulerInfo) -> tuple[FieldVerdict, ...]:
    """One verdict for every field that the spec sets."""
    return tuple(_verdict(name, info) for name in spec.used_fields())


def refusals(fields: Sequence[FieldVerdict], info: SchedulerInfo) -> tuple[FieldError, ...]:
    """An error for each unsupported field."""
    return tuple(
        FieldError(item.field, f"scheduler '{info.name}' cannot honour it; leave it out or choose another site")
        for item in fields
        if item.verdict == "unsupported"
    )


def supports(name: str, info: SchedulerInfo) -> bool:
    """Whether a scheduler honours a field, at least in part."""
    return _support(name, info) is not None


def _verdict(name: str, info: SchedulerInfo) -> FieldVerdict:
    support = HONOURED if name in GATEWAY_FIELDS else _support(name, info)
    if isinstance(support, Approximated):
        return FieldVerdict(field=name, verdict="approximated", how=support.how)
    return FieldVerdict(field=name, verdict=support or "unsupported")


def _support(name: str, info: SchedulerInfo) -> FieldSupport | None:
    """The entry for the field itself, else for what it is part of."""
    while name:
        if name in info.fields:
            return info.fields[name]
        name = name.rpartition(".")[0]
    return None
