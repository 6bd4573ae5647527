"""Jobs that have ended and whose time is over: what retention looks for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from hpcgate.model.state import JobState
from hpcgate.store.session import Session

#: As the indices have it: a database takes an index only where the query says the very same.
_OVER: Final = "state IN ('COMPLETED', 'FAILED', 'CANCELED')"
_ENDED: Final = "COALESCE(ended_at, updated_at)"


class Due(StrEnum):
    """Why a job, or what is left of it, may go: what must be older than a moment."""

    FILES = "files"
    JOBS = "jobs"
    EXPIRED = "expired"


_WHERE: Final = {
    Due.FILES: (_ENDED, f"folder IS NOT NULL AND {_OVER}"),
    Due.JOBS: (_ENDED, _OVER),
    Due.EXPIRED: ("expires_at", f"expires_at IS NOT NULL AND {_OVER}"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class OldJob:
    """A job that has ended.

    Args:
        moment: epoch seconds: when it ended, or expired.
    """

    id: int
    key: str
    state: JobState
    attempt: int
    folder: str | None
    account: str | None
    moment: float


class RetentionStore:
    """Finds what may go. Every question is answered by an index, however many jobs there are."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def sites(self) -> list[str]:
        """The sites of jobs that have ended, also those that are not configured any more."""
        found: list[str] = []
        sql = f"SELECT min(site) FROM job WHERE {_OVER} AND site > ?"  # noqa: S608
        while (row := self._session.one(sql, (found[-1] if found else "",))) is not None and row[0] is not None:
            found.append(row[0])
        return found

    def due(self, site: str, why: Due, before: float, *, after: tuple[float, int], limit: int) -> list[OldJob]:
        """Jobs of a site whose moment is not later than ``before``, the oldest first.

        Args:
            site: its name.
            why: which moment.
            before: epoch seconds.
            after: (moment, id) of the last one of the part before; ``(0, 0)`` = from the first.
            limit: at most so many.
        """
        moment, condition = _WHERE[why]
        sql = (
            f"SELECT id, key, state, attempt, folder, account, {moment} FROM job WHERE {condition} AND site = ? "  # noqa: S608
            f"AND {moment} <= ? AND ({moment}, id) > (?, ?) ORDER BY {moment}, id LIMIT ?"
        )
        return [_job(row) for row in self._session.rows(sql, (site, before, *after, limit))]

    def count(self, site: str, why: Due, before: float) -> int:
        """How many jobs ``due`` would find in all."""
        moment, condition = _WHERE[why]
        sql = f"SELECT count(*) FROM job WHERE {condition} AND site = ? AND {moment} <= ?"  # noqa: S608
        row = self._session.one(sql, (site, before))
        assert row is not None
        return int(row[0])


def _job(row: Sequence[Any]) -> OldJob:
    id_, key, state, attempt, folder, account, moment = row
    return OldJob(
        id=id_, key=key, state=JobState(state), attempt=attempt, folder=folder, account=account, moment=moment
    )
