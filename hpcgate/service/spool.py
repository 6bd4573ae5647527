"""The event spool: the folder of a site in which jobs leave word that something happened to them."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from hpcgate.errors import HpcgateError, SiteError
from hpcgate.model.files import FileInfo
from hpcgate.model.move import Snapshot
from hpcgate.model.site import Site
from hpcgate.model.state import AT_SCHEDULER, ON_THE_WAY, JobState
from hpcgate.transport.base import Transport

if TYPE_CHECKING:
    from hpcgate.service.transports import Transports
    from hpcgate.store.database import Store

_log = logging.getLogger(__name__)

#: Files that one look takes: whoever floods the spool delays others, but stops nobody.
SPOOL_ENTRIES: Final = 1000


class EventSpool:
    """Reads the event spool of one site, as the account that polls.

    Where several accounts share it, anybody may write any name there: a file counts only where its owner is the
    account of the job that it names.

    Args:
        site: the site.
        store, transports: the parts it works on.
    """

    def __init__(self, site: Site, store: Store, transports: Transports) -> None:
        self._site = site
        self._store = store
        self._transports = transports
        #: Keys of jobs whose word was taken and not followed yet.
        self._again: frozenset[str] = frozenset()

    def look_again(self, jobs: Iterable[Snapshot]) -> None:
        """Returns these jobs from the next ``take`` too: what their word is about could not be looked at."""
        self._again = frozenset(job.ref.key for job in jobs)

    def take(self) -> tuple[Sequence[Snapshot], bool]:
        """Takes what jobs have left.

        Returns:
            The active jobs that left word, and whether one did that is not active as far as we know.

        Raises:
            SiteError: the spool did not answer.
        """
        spool = self._site.event_spool
        if spool is None:
            return (), False
        transport = self._transports.get(self._site)
        try:
            files = [file for file in transport.list(spool) if not file.name.startswith(".")]
        except FileNotFoundError:
            # Jobs leave word only where there is a folder. One for the jobs of several accounts is its operator's to
            # make, sticky and open to them; this one is for jobs of the gateway's own account at the site.
            if self._site.identity.mode == "service":
                transport.mkdir(spool, mode=0o700)
            return (), False
        # A job whose submit is not written down yet could not be told: its file waits for that.
        coming = self._jobs(ON_THE_WAY, _keys(files))
        files = [file for file in files if _key(file) not in coming]
        # First of all, so that what happens from here on leaves a new file; a crash is made good by the next poll.
        taken = self._remove(transport, spool, files[:SPOOL_ENTRIES])
        active = self._jobs(AT_SCHEDULER, _keys(taken) | self._again)
        told = {_key(file) for file in taken if _key(file) in active and self._is_of(active[_key(file)], file)}
        told |= self._again & active.keys()
        return [active[key] for key in sorted(told)], self._is_news(taken, active)

    def _jobs(self, states: frozenset[JobState], keys: frozenset[str]) -> dict[str, Snapshot]:
        if not keys:
            return {}
        return {job.ref.key: job for job in self._store.jobs.snapshots(self._site.name, states, keys=keys)}

    def _remove(self, transport: Transport, spool: str, files: Sequence[FileInfo]) -> list[FileInfo]:
        """Removes files. One that cannot be removed would wake for ever, and does not count."""
        removed: list[FileInfo] = []
        for file in files:
            try:
                transport.remove(f"{spool}/{file.name}")
            except SiteError as error:
                _log.warning("site %s: event spool: %s", self._site.name, error.message)
                if error.transient:
                    break  # the others would wait for the same time-out
            else:
                removed.append(file)
        return removed

    def _is_of(self, job: Snapshot, file: FileInfo) -> bool:
        if file.owner == self._uid(job.ref.account):
            return True
        _log.warning("site %s: event spool: %r is not of its job's account", self._site.name, file.name)
        return False

    def _is_news(self, files: Sequence[FileInfo], active: Mapping[str, Snapshot]) -> bool:
        """Whether a file may be of a job that was given up as LOST.

        Such a one is not looked up by its key, so it counts only where there is one account for all.
        """
        unknown = [file for file in files if _key(file) not in active]
        if not unknown or self._site.identity.mode != "service":
            return False
        own = self._uid(None)
        return any(file.owner == own for file in unknown)

    def _uid(self, account: str | None) -> int | None:
        """The number of an account at the site; ``None`` = it cannot be found out now."""
        try:
            return self._transports.uid(self._site, account)
        except HpcgateError as error:
            _log.warning("site %s: event spool: %s", self._site.name, error.message)
            return None


def _keys(files: Iterable[FileInfo]) -> frozenset[str]:
    """Whoever may write there may choose the names, and not all of them are text that a database takes."""
    return frozenset(_key(file) for file in files if file.name.isascii())


def _key(file: FileInfo) -> str:
    """The key of the job that a file is about: what stands before the first dot of its name."""
    return file.name.partition(".")[0]
