"""Writes records to the archive once their jobs have ended, and again when they were changed after that."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from hpcgate.errors import HpcgateError
from hpcgate.model.cluster import Cluster
from hpcgate.model.record import Record
from hpcgate.service.backoff import pause_s
from hpcgate.service.duty import Part
from hpcgate.service.record_archive import RecordArchive

if TYPE_CHECKING:
    from hpcgate.store.database import Store

_log = logging.getLogger(__name__)

#: Records that are written between two looks into the database.
BATCH: Final = 100
#: Until those are tried again that could not be written: at first, and at most, seconds.
FIRST_PAUSE_S: Final = 5.0
MAX_PAUSE_S: Final = 900.0


class Archivist(Part):
    """Writes what has to be written.

    What has to be written stands in the database, so that nothing is lost when this is ended at any moment. What could
    not be written is tried again, all of it, with growing pauses, and for as long as it takes.

    Args:
        store: where the records are.
        archive: where they go.
        clusters: by name.
        clock: seconds.
    """

    def __init__(
        self,
        store: Store,
        archive: RecordArchive,
        clusters: Mapping[str, Cluster],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self._store = store
        self._archive = archive
        self._clusters = clusters
        self._clock = clock
        self._tries = 0
        self._retry_at = -math.inf

    def pending(self) -> bool:
        """Whether there is something to write now."""
        todo = self._store.archiving
        if todo.unwritten(failed=False, limit=1):
            return True
        return self._clock() >= self._retry_at and bool(todo.unwritten(failed=True, limit=1))

    def next_due(self) -> float:
        """Seconds until what could not be written is tried again."""
        left = self._retry_at - self._clock()
        return left if left > 0 else math.inf

    def step(self) -> float:
        """Writes the next records; seconds until there may be more."""
        fresh = self._store.archiving.unwritten(failed=False, limit=BATCH)
        self._write(fresh)
        if self._clock() >= self._retry_at:
            self._retry()
        return 0.0 if len(fresh) == BATCH else self.next_due()

    def _retry(self) -> None:
        """Tries all that could not be written; of a folder that is away, no more than the first ones."""
        last, tried, failed = 0, 0, 0
        while ids := self._store.archiving.unwritten(failed=True, after=last, limit=BATCH):
            last, tried, failed = ids[-1], tried + len(ids), failed + self._write(ids)
            if failed == tried:
                break
        if failed:
            pause = pause_s(self._tries, first_s=FIRST_PAUSE_S, most_s=MAX_PAUSE_S)
            self._tries, self._retry_at = self._tries + 1, self._clock() + pause
        else:
            self._tries, self._retry_at = 0, self._clock() + FIRST_PAUSE_S

    def _write(self, ids: Sequence[int]) -> int:
        """Writes records, and notes what became of them; how many could not be written."""
        done: list[Record] = []
        failed: list[int] = []
        moved = self._store.archiving.moved(ids)
        for record in self._store.archiving.to_write(ids):
            try:
                self._archive.write(record, self._clusters)
                if record.id in moved:
                    self._archive.remove(replace(record, started_at=moved[record.id]))
            except (OSError, HpcgateError, ValueError) as error:
                if not failed:
                    _log.error("record %d could not be archived, and is tried again later: %s", record.id, error)
                failed.append(record.id)
            else:
                done.append(record)
        if failed[1:]:
            _log.error("%d more records could not be archived", len(failed) - 1)
        for misplaced in self._store.archiving.written(done):
            self._archive.remove(misplaced)
        self._store.archiving.not_written(failed)
        return len(failed)
