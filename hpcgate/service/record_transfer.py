"""Records out of a gateway into an archive, and out of an archive into a gateway, a few at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final

from hpcgate.errors import Conflict, InvalidSpec
from hpcgate.model.cluster import Cluster
from hpcgate.model.record import Record
from hpcgate.service.record_archive import Damaged, RecordArchive
from hpcgate.service.record_checks import check_record
from hpcgate.service.record_files import run_of

if TYPE_CHECKING:
    from hpcgate.store.database import Store
    from hpcgate.store.record_archiving import Run

#: Records that are read, or stored, together.
BATCH: Final = 500


class Fate(Enum):
    """What became of a record or a file."""

    DONE = "done"
    THERE = "there"
    OPEN = "open"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one record or file.

    Args:
        fate: ``DONE``; ``THERE``: it was as it is already; ``OPEN``: its job has not ended; ``BAD``: not done.
        message: why it is bad, naming the file.
    """

    fate: Fate
    message: str = ""


_DONE: Final = Outcome(Fate.DONE)
_THERE: Final = Outcome(Fate.THERE)
_OPEN: Final = Outcome(Fate.OPEN)


def exported(store: Store, archive: RecordArchive, clusters: Mapping[str, Cluster]) -> Iterator[Outcome]:
    """Writes the records of all jobs that have ended. What was written before and has not changed is left as it is.

    Raises:
        Conflict: there is no place for an archive.
        OSError: a file cannot be written; the next time goes on from there.
    """
    archive.prepare()
    last = 0
    while records := store.archiving.after(last, BATCH):
        last = records[-1].id
        for record in records:
            yield _exported(archive, record, clusters)


def _exported(archive: RecordArchive, record: Record, clusters: Mapping[str, Cluster]) -> Outcome:
    if not record.state.final:
        return _OPEN
    try:
        return _DONE if archive.write(record, clusters) else _THERE
    except (Conflict, ValueError) as error:
        return Outcome(Fate.BAD, f"record {record.id}: {error}")


def imported(store: Store, archive: RecordArchive, *, archives: bool) -> Iterator[Outcome]:
    """Stores the records of an archive that are not there yet, each batch in one transaction.

    Args:
        store: where they go.
        archive: where they are.
        archives: whether the gateway has an archive of its own that they have to get into as well.

    Raises:
        NotFound: there is no archive.
        Conflict: its version is not known.
    """
    archive.check_readable()
    places = archive.places()
    while paths := list(islice(places, BATCH)):
        yield from _imported(store, archive, paths, archives=archives)


def _imported(store: Store, archive: RecordArchive, paths: Sequence[Path], *, archives: bool) -> Iterator[Outcome]:
    loaded = []
    for path in paths:
        try:
            loaded.append((path, archive.load(path)))
        except Damaged as error:
            yield Outcome(Fate.BAD, error.message)
    # To check a file takes longer than all the rest, and those that are there need not be.
    runs = [run for _, document in loaded if (run := _run_in(document)) is not None]
    present = store.archiving.present(runs)
    records = []
    for path, document in loaded:
        if _run_in(document) in present:
            yield _THERE
            continue
        record = _checked(archive, path, document)
        if isinstance(record, Outcome):
            yield record
        else:
            records.append(record)
    added = _store(store, records, archives=archives)
    yield from [_DONE] * added
    yield from [_THERE] * (len(records) - added)


def checked(archive: RecordArchive) -> Iterator[Outcome]:
    """Looks at every file of an archive.

    Raises:
        NotFound: there is no archive.
        Conflict: its version is not known.
    """
    archive.check_readable()
    for name in archive.clusters():
        try:
            archive.read_cluster(name)
        except Damaged as error:
            yield Outcome(Fate.BAD, error.message)
    for path in archive.places():
        try:
            record = _checked(archive, path, archive.load(path))
        except Damaged as error:
            yield Outcome(Fate.BAD, error.message)
        else:
            yield record if isinstance(record, Outcome) else _DONE


def _checked(archive: RecordArchive, path: Path, document: object) -> Record | Outcome:
    try:
        record = archive.record(path, document)
        check_record(record)
    except Damaged as error:
        return Outcome(Fate.BAD, error.message)
    except InvalidSpec as error:
        return Outcome(Fate.BAD, f"{path}: {error}")
    return record


def _store(store: Store, records: Iterable[Record], *, archives: bool) -> int:
    by_run = {_run(record): record for record in records}
    with store.transaction():
        present = store.archiving.present(list(by_run))
        new: Sequence[Record] = [record for run, record in by_run.items() if run not in present]
        if new:
            stored = store.records.insert(new)
            if archives:
                store.archiving.rewrite(record.id for record in stored)
    return len(new)


def _run(record: Record) -> Run:
    return record.number, record.cluster, record.started_at, record.attempt, record.array_index


def _run_in(document: object) -> Run | None:
    """Which run a file is of, as far as that can be said before it is checked."""
    try:
        number, cluster, started_at = (document[key] for key in ("jobId", "cluster", "startTime"))  # type: ignore[index]
        run = (number, cluster, started_at, *run_of(document))  # type: ignore[arg-type]
    except (LookupError, TypeError, ValueError, AttributeError):
        return None
    fits = all(type(each) is int and -(2**63) <= each < 2**63 for each in (number, started_at))
    return run if fits and isinstance(cluster, str) else None
