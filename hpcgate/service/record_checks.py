"""What a record may say, whoever reports it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from hpcgate.errors import FieldError, InvalidSpec
from hpcgate.model.record import Monitoring, NodeReport, Record, RecordTag, Source

_MOST: Final = 2**63 - 1
_MOST_SMALL: Final = 2**31 - 1
#: The end of the year 9999, epoch seconds: later moments cannot be written.
LATEST: Final = 253_402_300_799
#: Characters of one text, and of a value of the metadata, which may be a job's script.
MAX_TEXT: Final = 1024
MAX_METADATA: Final = 1 << 20
MAX_TAGS: Final = 100

#: Field -> what it may be, as numbers.
_RANGES: Final[Mapping[str, tuple[int, int]]] = {
    "number": (-_MOST - 1, _MOST),
    "array_number": (-_MOST - 1, _MOST),
    "submitted_at": (0, LATEST),
    "started_at": (0, LATEST),
    "duration_s": (0, LATEST),
    "walltime_s": (0, _MOST),
    "attempt": (1, _MOST_SMALL),
    "num_nodes": (1, _MOST_SMALL),
    "num_hwthreads": (0, _MOST_SMALL),
    "num_accelerators": (0, _MOST_SMALL),
    "smt": (0, _MOST_SMALL),
    "monitoring": (Monitoring.OFF, Monitoring.ARCHIVED),
}
_TEXTS: Final = ("user", "cluster", "subcluster", "project", "partition", "name")


def check_record(record: Record) -> None:
    """Refuses a record that cannot be stored, or says nothing.

    Raises:
        InvalidSpec: names the fields.
    """
    errors = [*_numbers(record), *_texts(record), *_resources(record), *tag_errors(record.tags)]
    errors += metadata_errors(record.metadata or {})
    if errors:
        raise InvalidSpec(errors)


def _numbers(record: Record) -> Iterator[FieldError]:
    for name, (least, most) in _RANGES.items():
        value = getattr(record, name)
        if value is not None and not least <= value <= most:
            yield FieldError(name, f"{value} is out of range; it must be {least} to {most}")


def _texts(record: Record) -> Iterator[FieldError]:
    for name in ("user", "cluster"):
        if not getattr(record, name):
            yield FieldError(name, "is missing")
    for name in _TEXTS:
        if problem := text_problem(getattr(record, name)):
            yield FieldError(name, problem)


def _resources(record: Record) -> Iterator[FieldError]:
    if not record.resources and record.source is Source.GATEWAY:
        pass  # its scheduler did not tell
    elif not record.resources:
        yield FieldError("resources", "are missing; name at least one node")
    elif len(record.resources) != record.num_nodes:
        yield FieldError("resources", f"are of {len(record.resources)} nodes, and num_nodes says {record.num_nodes}")
    for place, each in enumerate(record.resources):
        if not each.hostname:
            yield FieldError(f"resources[{place}].hostname", "is missing")
        for text in (each.hostname, each.configuration, *each.accelerators):
            if problem := text_problem(text):
                yield FieldError(f"resources[{place}]", problem)


def tag_errors(tags: tuple[RecordTag, ...]) -> Iterator[FieldError]:
    """What is wrong with tags."""
    if len(tags) > MAX_TAGS:
        yield FieldError("tags", f"are {len(tags)}; it may be {MAX_TAGS}")
    for place, tag in enumerate(tags):
        for field in ("type", "name"):
            value = getattr(tag, field)
            if problem := text_problem(value) or ("" if value else "is missing"):
                yield FieldError(f"tags[{place}].{field}", problem)


def metadata_errors(metadata: Mapping[str, str]) -> Iterator[FieldError]:
    """What is wrong with metadata. A value may hold NUL, as a job's environment does that is copied from a file."""
    for key, value in metadata.items():
        if problem := text_problem(key) or text_problem(value.replace("\0", "\n"), MAX_METADATA):
            yield FieldError(f"metadata.{key[:64]!r}", problem)


def node_errors(report: NodeReport) -> Iterator[FieldError]:
    """What is wrong with what is said of a node."""
    for field in ("cluster", "hostname"):
        value = getattr(report, field)
        if problem := text_problem(value) or ("" if value else "is missing"):
            yield FieldError(field, problem)
    for field, most in (("cpus", _MOST_SMALL), ("gpus", _MOST_SMALL), ("jobs", _MOST_SMALL), ("memory_mib", _MOST)):
        value = getattr(report, field)
        if not 0 <= value <= most:
            yield FieldError(field, f"{value} is out of range; it must be 0 to {most}")


def text_problem(text: str, most: int = MAX_TEXT) -> str:
    """Why a text cannot be stored; empty = it can."""
    if len(text) > most:
        return f"has {len(text)} characters; it may have {most}"
    if "\0" in text or any("\ud800" <= char <= "\udfff" for char in text):
        return "holds characters that are no text (NUL, or half of a surrogate pair)"
    return ""
