"""Models to plain JSON data and back, strictly.

One walk over the type hints serves everything that is read from outside: job specs, config tables and plugin
settings. Unknown keys are refused with the nearest known one, types are not guessed.
"""

from __future__ import annotations

import base64
import math
import types
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from datetime import UTC, datetime
from enum import Enum
from functools import cache
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from hpcgate.errors import FieldError, InvalidSpec, nearest
from hpcgate.model.job import Attempt, Event, Job, Task, Usage
from hpcgate.model.spec import ArraySpec, JobSpec

T = TypeVar("T")

#: Fields that never leave the process in the clear.
SECRET_FIELDS = frozenset({"secret_environment"})


def encode(value: Any) -> Any:
    """A model as JSON data: dataclasses become objects without the fields that have their default.

    ``secret_environment`` is left out: secrets are stored apart and shown nowhere.
    """
    if isinstance(value, Enum):
        return value.value
    if value is None or isinstance(value, (str, int, float)):
        return value
    if is_dataclass(value) and not isinstance(value, type):
        return {
            name: encode(current)
            for name, default in _defaults(type(value)).items()
            if name not in SECRET_FIELDS
            and (current := getattr(value, name)) is not default
            and (default is MISSING or current != default)
        }
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, Mapping):
        return {str(key): encode(item) for key, item in value.items()}
    if isinstance(value, (set, frozenset)):
        return sorted(encode(item) for item in value)
    if isinstance(value, (list, tuple)):
        return [encode(item) for item in value]
    return value


def decode(kind: type[T], data: object, at: str = "") -> T:
    """JSON or TOML data as an instance of the dataclass ``kind``.

    Args:
        kind: the dataclass.
        data: a mapping.
        at: dotted prefix for the fields in error messages.

    Raises:
        InvalidSpec: with one entry per wrong, missing or unknown field.
    """
    errors: list[FieldError] = []
    result = _decode_dataclass(kind, data, at, errors)
    if errors:
        raise InvalidSpec(errors)
    return result  # type: ignore[no-any-return]


def decode_spec(data: object, at: str = "") -> JobSpec:
    """A ``JobSpec`` from JSON data; ``array`` may be text such as ``"0-9%4"``.

    Raises:
        InvalidSpec: see ``decode``.
    """
    if isinstance(data, Mapping) and isinstance(data.get("array"), str):
        data = {**data, "array": encode(ArraySpec.parse(data["array"]))}
    return decode(JobSpec, data, at)


# --- the wire form of jobs: what the REST API sends and what ``--json`` prints --------------------------------------


def time_to_wire(at: float | None) -> str | None:
    """Epoch seconds as RFC 3339 text in UTC with microseconds, e.g. ``2026-01-31T12:00:00.250000Z``."""
    if at is None:
        return None
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def time_from_wire(text: str) -> float:
    """Epoch seconds from RFC 3339 text, or from text that is epoch seconds already.

    Raises:
        ValueError: it is neither, or a time without a zone.
    """
    try:
        seconds = float(text)
    except ValueError:
        moment = datetime.fromisoformat(text)
    else:
        if not math.isfinite(seconds):
            raise ValueError(f"{text!r} is no time")
        return seconds
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone; end it with Z for UTC")
    return moment.timestamp()


def job_to_wire(job: Job, *, detail: bool = True) -> dict[str, Any]:
    """A job as the native API shows it.

    Args:
        job: the job.
        detail: with its spec (without the script, which has a route of its own, and without secrets).
    """
    wire: dict[str, Any] = {
        "id": job.id,
        "key": job.key,
        "name": job.spec.name,
        "owner": job.owner,
        "site": job.site,
        "state": job.state.value,
        "phase": _value(job.phase),
        "reason": _value(job.reason),
        "issuer": job.reason.issuer.value if job.reason else None,
        "retryable": job.retryable,
        "advice": job.reason.advice if job.reason else None,
        "message": job.message,
        "exit_code": job.exit_code,
        "signal": job.signal,
        "attempt": job.attempt,
        "evidence": _value(job.evidence),
        "stale": job.stale,
        "canceling": job.canceling,
        "native_id": job.native_id,
        "native_state": job.native_state,
        "native_reason": job.native_reason,
        "project": job.spec.project,
        "labels": dict(job.spec.labels),
        "tags": list(job.spec.tags),
        "array": str(job.spec.array) if job.spec.array else None,
        "created_at": time_to_wire(job.created_at),
        "submitted_at": time_to_wire(job.submitted_at),
        "started_at": time_to_wire(job.started_at),
        "ended_at": time_to_wire(job.ended_at),
        "updated_at": time_to_wire(job.updated_at),
        "nodes": list(job.nodes),
        "cpu_ids": list(job.cpu_ids),
        "gpu_ids": list(job.gpu_ids),
        "usage": usage_to_wire(job.usage),
        "folder": job.folder,
        "stdout_path": job.stdout_path,
        "stderr_path": job.stderr_path,
        "revision": job.revision,
        "expires_at": time_to_wire(job.expires_at),
        "retry_of": job.retry_of,
    }
    if detail:
        spec = encode(job.spec)
        spec.pop("script", None)
        if job.spec.secret_environment:
            spec["secret_environment"] = dict.fromkeys(job.spec.secret_environment, "***")
        wire["spec"] = spec
    return wire


def usage_to_wire(usage: Usage | None) -> dict[str, Any] | None:
    """Usage as the native API shows it."""
    return None if usage is None else {"cpu_time_s": usage.cpu_time_s, "max_rss_kib": usage.max_rss_kib}


def _plain(item: Task | Attempt) -> dict[str, Any]:
    wire = {
        entry.name: time_to_wire(value) if entry.name.endswith("_at") else encode(value)
        for entry in fields(item)
        for value in (getattr(item, entry.name),)
    }
    if isinstance(item, Task):
        wire["usage"] = usage_to_wire(item.usage)
    return wire


def task_to_wire(task: Task) -> dict[str, Any]:
    """A task as the native API shows it."""
    return _plain(task)


def attempt_to_wire(attempt: Attempt) -> dict[str, Any]:
    """An attempt as the native API shows it."""
    return _plain(attempt)


def event_to_wire(event: Event) -> dict[str, Any]:
    """An event as the native API shows it."""
    return {
        "seq": event.seq,
        "at": time_to_wire(event.at),
        "type": event.type,
        "job_id": event.job_id,
        "owner": event.owner,
        "actor": event.actor,
        "data": encode(event.data),
    }


def _value(item: Enum | None) -> Any:
    return None if item is None else item.value


# --- decoding by type hint ------------------------------------------------------------------------------------------


@cache
def _defaults(kind: Hashable) -> Mapping[str, Any]:
    """The fields of a dataclass with their defaults, which are compared with and never handed out."""
    return {item.name: _default(item) for item in fields(kind)}  # type: ignore[arg-type]


def _default(item: Any) -> Any:
    if item.default is not MISSING:
        return item.default
    return item.default_factory() if item.default_factory is not MISSING else MISSING


@cache
def _hints(kind: Hashable) -> Mapping[str, Any]:
    return get_type_hints(kind)


@cache
def _known(kind: Hashable) -> Mapping[str, tuple[Any, bool]]:
    """The fields that may be given: name -> (type hint, whether it must be given)."""
    return {
        item.name: (_hints(kind)[item.name], _default(item) is MISSING)
        for item in fields(kind)  # type: ignore[arg-type]
        if item.init
    }


def _join(at: str, name: str) -> str:
    return f"{at}.{name}" if at else name


def _decode_dataclass(kind: type[Any], data: object, at: str, errors: list[FieldError]) -> Any:
    # A kind whose ``SHORT`` names a field may be given as the text of that field alone.
    short = getattr(kind, "SHORT", None)
    if short and isinstance(data, str):
        data = {short: data}
    if not isinstance(data, Mapping):
        wanted = "text or a table of fields" if short else "a table of fields"
        errors.append(FieldError(at or "body", f"must be {wanted}, not {_type_name(data)}"))
        return None
    known = _known(kind)  # type: ignore[arg-type]  # every class is hashable
    before = len(errors)
    for name in data:
        if name not in known:
            errors.append(FieldError(_join(at, str(name)), f"unknown field{nearest(str(name), list(known))}"))
    values = {}
    for name, (hint, required) in known.items():
        if name in data:
            values[name] = _decode(hint, data[name], _join(at, name), errors)
        elif required:
            errors.append(FieldError(_join(at, name), "is required"))
    if len(errors) > before:
        return None
    try:
        return kind(**values)
    except InvalidSpec as error:
        prefix = at.rpartition(".")[0] if at else ""
        errors.extend(
            FieldError(_join(prefix, each.field) if prefix else each.field, each.message) for each in error.errors
        )
        return None


@cache
def _parts(hint: Hashable) -> tuple[Any, tuple[Any, ...], bool]:
    """What a type hint is made of: its origin, its arguments, and whether it is a dataclass."""
    return get_origin(hint), get_args(hint), is_dataclass(hint)


def _decode(hint: Any, data: object, at: str, errors: list[FieldError]) -> Any:
    if hint is Any or (hint in _EXACT and type(data) is hint):
        return data
    origin, args, structured = _parts(hint)
    if origin in (Union, types.UnionType):
        if data is None and type(None) in args:
            return None
        return _decode(next(arg for arg in args if arg is not type(None)), data, at, errors)
    if structured:
        return _decode_dataclass(hint, data, at, errors)
    if origin is tuple:
        return _decode_tuple(args, data, at, errors)
    if origin in (frozenset, set):
        items = _decode_tuple((args[0], ...), data, at, errors)
        return frozenset(items or ())
    if origin is not None and issubclass(origin, Mapping):
        if not isinstance(data, Mapping):
            return _wrong(at, "a table", data, errors)
        return {str(key): _decode(args[1], item, _join(at, str(key)), errors) for key, item in data.items()}
    return _decode_scalar(hint, data, at, errors)


def _decode_tuple(args: tuple[Any, ...], data: object, at: str, errors: list[FieldError]) -> Any:
    if not isinstance(data, Sequence) or isinstance(data, (str, bytes)):
        return _wrong(at, "a list", data, errors)
    if args[-1] is not ... and len(args) != len(data):
        return _wrong(at, f"a list of {len(args)}", data, errors)
    hints = [args[0]] * len(data) if args[-1] is ... else args
    return tuple(
        _decode(hint, item, f"{at}.{n}", errors) for n, (hint, item) in enumerate(zip(hints, data, strict=True))
    )


def _decode_scalar(hint: Any, data: object, at: str, errors: list[FieldError]) -> Any:
    if isinstance(hint, type) and issubclass(hint, Enum):
        try:
            return hint(data)
        except ValueError:
            errors.append(FieldError(at, f"{data!r} is unknown{nearest(str(data), [e.value for e in hint])}"))
            return None
    if hint is bytes:
        try:
            return (
                base64.b64decode(data, validate=True) if isinstance(data, str) else _wrong(at, "base64", data, errors)
            )
        except ValueError:  # binascii.Error is one, and what is not ASCII is another
            return _wrong(at, "base64", data, errors)
    if hint is float and isinstance(data, int) and not isinstance(data, bool):
        return float(data)
    if not isinstance(data, hint) or (isinstance(data, bool) and hint is not bool):
        return _wrong(at, _NAMES.get(hint, str(hint)), data, errors)
    if isinstance(data, float) and not math.isfinite(data):
        errors.append(FieldError(at, f"must be a finite number, not {data}"))
        return None
    return data


#: Of these any value is right: nothing more is to be looked at.
_EXACT = frozenset({str, int, bool})
_NAMES = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}


def _type_name(data: object) -> str:
    if data is None:
        return "null"
    return _NAMES.get(type(data), "a table" if isinstance(data, Mapping) else "a list")


def _wrong(at: str, wanted: str, data: object, errors: list[FieldError]) -> None:
    shown = f" ({data!r})" if isinstance(data, (str, int, float)) and len(repr(data)) <= 80 else ""
    errors.append(FieldError(at, f"must be {wanted}, not {_type_name(data)}{shown}"))
