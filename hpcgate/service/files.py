"""The files in a job's work folder. No path leads out of it, also not through a symbolic link."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from hpcgate.config import LimitsTable
from hpcgate.errors import Conflict, InvalidSpec, NotFound
from hpcgate.model.files import FileChunk, FileInfo, JobFolder
from hpcgate.model.job import Job
from hpcgate.model.principal import Principal
from hpcgate.model.site import Site
from hpcgate.service.access import Verb, require_on_job
from hpcgate.transport.base import Transport

if TYPE_CHECKING:
    from hpcgate.service.transports import Transports
    from hpcgate.store.database import Store


class FolderNotFile(InvalidSpec):
    """A folder was to be read as if it were a file."""


class FileService:
    """Lists and reads job files.

    Args:
        sites: by name.
        store, transports: the parts it works on.
        limits: the ``[limits]`` table.
    """

    def __init__(self, sites: Mapping[str, Site], store: Store, transports: Transports, limits: LimitsTable) -> None:
        self._sites = sites
        self._store = store
        self._transports = transports
        self._limits = limits

    def list(self, principal: Principal, job_id: int, path: str = "") -> Sequence[FileInfo]:
        """What is in the work folder, or in a folder below it.

        Raises:
            NotFound: there is no such job or folder.
            InvalidSpec: the path leads out of the work folder.
        """
        job, transport = self._open(principal, job_id)
        inside = _inside(path)
        self._refuse_links(job, transport, inside)
        try:
            return transport.list("/".join((JobFolder(job.folder or "").work, *inside)), within=job.folder)
        except FileNotFoundError:
            if not inside:
                return ()
            raise NotFound(f"job {job_id} has no folder {path!r}") from None

    def read(
        self, principal: Principal, job_id: int, path: str, *, offset: int = 0, length: int | None = None
    ) -> FileChunk:
        """A part of a file, at most ``limits.max_log_bytes``.

        Raises:
            NotFound: there is no such job or file.
            InvalidSpec: the path leads out of the work folder, or names no plain file.
        """
        job, transport = self._open(principal, job_id)
        inside = _inside(path)
        if not inside:
            raise InvalidSpec.of("path", "names no file")
        found = self._refuse_links(job, transport, inside)
        if found is None:
            raise NotFound(f"job {job_id} has no file {path!r}")
        if found.is_dir:
            raise FolderNotFile.of("path", f"{path!r} is a folder")
        most = self._limits.max_log_bytes
        try:
            return transport.read(
                "/".join((JobFolder(job.folder or "").work, *inside)),
                offset=max(0, offset),
                length=most if length is None else max(0, min(length, most)),
                within=job.folder,
            )
        except FileNotFoundError:
            raise NotFound(f"job {job_id} has no file {path!r}") from None

    def _open(self, principal: Principal, job_id: int) -> tuple[Job, Transport]:
        job = self._store.jobs.get(job_id)
        require_on_job(principal, Verb.READ_OUTPUT, job_id, job.owner)
        if job.site is None or job.site not in self._sites or job.folder is None:
            raise Conflict(f"job {job_id} has no folder at a configured site")
        return job, self._transports.get(self._sites[job.site], job.account)

    def _refuse_links(self, job: Job, transport: Transport, inside: Sequence[str]) -> FileInfo | None:
        """Looks at each step of a path, to say which one is a link; the transport follows none in any case."""
        here = JobFolder(job.folder or "").work
        found: FileInfo | None = None
        for step in inside:
            here = f"{here}/{step}"
            found = transport.stat(here)
            if found is None:
                return None
            if found.is_link:
                raise InvalidSpec.of("path", f"{step!r} is a symbolic link; links are not followed")
        return found


def _inside(path: str) -> tuple[str, ...]:
    """The steps of a relative path.

    Raises:
        InvalidSpec: it is absolute, has a ``..`` or a NUL.
    """
    steps = tuple(step for step in path.split("/") if step not in ("", "."))
    if path.startswith("/") or ".." in steps or "\0" in path:
        raise InvalidSpec.of("path", f"{path!r} must be a relative path without '..'")
    return steps
