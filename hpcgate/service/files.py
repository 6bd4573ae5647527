"""The files in a job's work folder. No path leads out of it, also not through a symbolic link."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from hpcgate.config import LimitsTable
from hpcgate.errors import Conflict, InvalidSpec, NotFound
from hpcgate.model.files import FileChunk, FileInfo, JobFolder
from hpcgate.model.job import Job
from hpcgate.model.principal import Principal
from hpcgate.model.site import Site
from hpcgate.model.state import FINAL, ON_THE_WAY
from hpcgate.service.access import Verb, require_on_job
from hpcgate.service.archive import zipped
from hpcgate.transport.base import Transport

if TYPE_CHECKING:
    from hpcgate.service.transports import Transports
    from hpcgate.store.database import Store


#: Of one step of a path; no usual file system has longer ones.
MAX_NAME_BYTES: Final = 255


class FolderNotFile(InvalidSpec):
    """A folder was to be read as if it were a file."""


class FileService:
    """Lists, reads and changes job files.

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
        inside = _file_inside(path)
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

    def write(
        self, principal: Principal, job_id: int, path: str, data: bytes, *, executable: bool = False
    ) -> tuple[FileInfo, bool]:
        """Puts a file into the work folder, with the folders above it; one that is there already is replaced.

        Whoever reads it meanwhile sees the old file or the new, never a part.

        Returns:
            The file, and whether there was none before.

        Raises:
            NotFound: there is no such job.
            Conflict: the job has no folder yet, or has ended: what it left stays what it was.
            InvalidSpec: the path leads out of the work folder, or names a folder.
        """
        job, transport = self._open(principal, job_id, Verb.CHANGE_FILES)
        if job.state in FINAL:
            raise Conflict(f"job {job_id} has ended; nothing is added to what it left")
        inside = _file_inside(path)
        _check_names(inside)
        found = self._refuse_links(job, transport, inside)
        if found is not None and found.is_dir:
            raise FolderNotFile.of("path", f"{path!r} is a folder")
        place = "/".join((JobFolder(job.folder or "").work, *inside))
        try:
            transport.mkdir(place.rpartition("/")[0], within=job.folder)
            transport.write(place, data, mode=0o700 if executable else 0o600, within=job.folder)
        except FileNotFoundError:
            raise _no_folder(job_id) from None
        made = transport.stat(place)
        if made is None:  # the job has taken it away already
            made = FileInfo(name=inside[-1], size=len(data), modified_at=time.time())
        return made, found is None

    def remove(self, principal: Principal, job_id: int, path: str) -> None:
        """Removes a file or link, or a folder with all that is in it.

        Raises:
            NotFound: there is no such job or file.
            Conflict: the job has no folder yet.
            InvalidSpec: the path leads out of the work folder, or names the folder itself.
        """
        job, transport = self._open(principal, job_id, Verb.CHANGE_FILES)
        inside = _file_inside(path)
        self._refuse_links(job, transport, inside[:-1])
        place = "/".join((JobFolder(job.folder or "").work, *inside))
        if transport.stat(place) is None:
            raise NotFound(f"job {job_id} has no file {path!r}")
        transport.remove(place, within=job.folder)

    def archive(self, principal: Principal, job_id: int, path: str = "") -> Iterator[bytes]:
        """All files of the work folder, or of a folder below it, as a ZIP archive, in parts.

        What there is is looked up before the first part; it is read while the parts are taken. Links are left out.

        Raises:
            NotFound: there is no such job or folder.
            InvalidSpec: the path leads out of the work folder, or there is more than one archive may hold.
        """
        job, transport = self._open(principal, job_id)
        inside = _inside(path)
        found = self._refuse_links(job, transport, inside)
        if inside and (found is None or not found.is_dir):
            raise NotFound(f"job {job_id} has no folder {path!r}")
        top = "/".join((JobFolder(job.folder or "").work, *inside))
        return zipped(transport, top, job.folder or "", self._limits)

    def _open(self, principal: Principal, job_id: int, verb: Verb = Verb.READ_OUTPUT) -> tuple[Job, Transport]:
        job = self._store.jobs.get(job_id)
        require_on_job(principal, verb, job_id, job.owner)
        if job.site is None or job.site not in self._sites or job.folder is None:
            raise Conflict(f"job {job_id} has no folder at a configured site")
        if verb is Verb.CHANGE_FILES and job.state in ON_THE_WAY:
            raise _no_folder(job_id)
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


def _no_folder(job_id: int) -> Conflict:
    return Conflict(f"job {job_id} is still on its way to its site, and has no folder there yet; try again")


def _file_inside(path: str) -> tuple[str, ...]:
    """As ``_inside``, but not the work folder itself."""
    inside = _inside(path)
    if not inside:
        raise InvalidSpec.of("path", "names no file")
    return inside


def _check_names(steps: Sequence[str]) -> None:
    for step in steps:
        if len(step.encode("utf-8", "surrogateescape")) > MAX_NAME_BYTES:
            raise InvalidSpec.of("path", f"has a name of more than {MAX_NAME_BYTES} bytes: {step[:20]!r}...")


def _inside(path: str) -> tuple[str, ...]:
    """The steps of a relative path.

    Raises:
        InvalidSpec: it is absolute, has a ``..`` or a NUL.
    """
    steps = tuple(step for step in path.split("/") if step not in ("", "."))
    if path.startswith("/") or ".." in steps or "\0" in path:
        raise InvalidSpec.of("path", f"{path!r} must be a relative path without '..'")
    return steps
