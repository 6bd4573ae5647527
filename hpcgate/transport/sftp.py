"""Files of an account at another host: what SFTP can do, in the words of a transport."""

from __future__ import annotations

import stat as st
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from posixpath import basename, dirname, join, relpath
from typing import Final
from uuid import uuid4

import paramiko

from hpcgate.errors import TransportError
from hpcgate.model.files import FileChunk, FileInfo

#: What is carried in one request without being asked twice.
_SMALL_READ: Final = 1 << 15


@contextmanager
def errors_of(verb: str, path: str, sftp: paramiko.SFTPClient) -> Iterator[None]:
    """Turns what the host says of a file into a ``TransportError`` that names it; "not found" stays what it is."""
    try:
        yield
    except TimeoutError:
        raise
    except OSError as error:
        if sftp.get_channel().closed:
            raise
        said = error.strerror or str(error) or "failure"
        if isinstance(error, FileNotFoundError) and verb not in ("written", "made"):
            if verb != "listed" or not _is_other_than_folder(sftp, path):
                raise FileNotFoundError(path) from error
            said = "it is no folder"
        # "Failure" is all that the protocol says of a full disk, and of much else.
        transient = not isinstance(error, (PermissionError, FileExistsError, NotADirectoryError))
        raise TransportError(f"{path!r} cannot be {verb}: {said}", transient=transient) from error


def _is_other_than_folder(sftp: paramiko.SFTPClient, path: str) -> bool:
    """Whether "not found" means "no folder": of a file that was to be listed the protocol says no more."""
    try:
        return not st.S_ISDIR(sftp.stat(path.removeprefix("~/") or ".").st_mode or 0)
    except OSError:
        return False


def read_file(
    sftp: paramiko.SFTPClient,
    path: str,
    offset: int,
    length: int | None,
    inside: Callable[[paramiko.SFTPClient], None],
) -> FileChunk:
    """A part of a regular file; ``inside`` raises where the way to it leads elsewhere."""
    inside(sftp)
    # Looked at first: opening a FIFO would hold up the file session for good.
    if not st.S_ISREG(sftp.stat(path).st_mode or 0):
        raise TransportError(f"{path!r} cannot be read: it is no regular file", transient=False)
    with sftp.open(path, "rb") as file:
        inside(sftp)
        size = file.stat().st_size or 0
        wanted = max(size - offset, 0)
        if length is not None:
            wanted = min(wanted, length)
        data = _read_up_to(file, offset, wanted) if wanted else b""
    # It may have grown since it was looked at.
    return FileChunk(data=data, offset=offset, size=max(size, offset + len(data) if data else 0))


def _read_up_to(file: paramiko.SFTPFile, offset: int, wanted: int) -> bytes:
    if wanted <= _SMALL_READ:
        file.seek(offset)
        return bytes(file.read(wanted))
    try:
        return b"".join(file.readv([(offset, wanted)]))
    except EOFError:  # it became shorter meanwhile
        return b""


def write_file(sftp: paramiko.SFTPClient, path: str, data: bytes, mode: int) -> None:
    """Puts a file in place at once, under the name of a fresh one first."""
    fresh = join(dirname(path), f".{basename(path)[:100]}.{uuid4().hex}")
    file = sftp.open(fresh, "wbx")
    try:
        with file:
            # Before there is anything to read in it.
            file.chmod(mode)
            file.set_pipelined(True)
            file.write(data)
            # Pipelined writes tell nothing of their failure.
            if file.stat().st_size != len(data):
                raise TransportError(f"{path!r} cannot be written: not all of it arrived; is the disk full?")
        sftp.posix_rename(fresh, path)
    except BaseException:
        with suppress(OSError, EOFError, paramiko.SSHException):
            sftp.remove(fresh)
        raise


def make_folder(sftp: paramiko.SFTPClient, path: str, mode: int, *, parents: bool = True) -> None:
    """Makes a folder, and those above it."""
    try:
        sftp.mkdir(path, mode)
    except FileNotFoundError:
        if not parents or dirname(path) == path:
            raise
        make_folder(sftp, dirname(path), mode)
        make_folder(sftp, path, mode, parents=False)
    except OSError as error:
        _require_folder(sftp, path, error)
    else:
        # Whatever the umask of the far side is.
        sftp.chmod(path, mode)


def way_from(path: str, root: str, said: str) -> str:
    """The way from ``root`` to a path, which is called ``said``.

    Raises:
        TransportError: it leads out of it.
    """
    steps = relpath(path, root)
    if ".." in steps.split("/"):
        raise TransportError(f"{said!r} leads out of {root!r}", transient=False)
    return steps


def folders_above(path: str, root: str, said: str) -> list[str]:
    """The folders between ``root`` and a path, the nearest to the path first."""
    steps = way_from(path, root, said)
    found = []
    while dirname(steps):
        steps = dirname(steps)
        found.append(join(root, steps))
    return found


def _require_folder(sftp: paramiko.SFTPClient, path: str, error: OSError) -> None:
    """Lets a folder that could not be made pass if it is there already."""
    try:
        there = sftp.stat(path)
    except FileNotFoundError:
        raise error from None
    if not st.S_ISDIR(there.st_mode or 0):
        raise NotADirectoryError(None, "it is there, and no folder") from None


def remove_unless_folder(sftp: paramiko.SFTPClient, path: str) -> str | None:
    """Removes a file or link; of a folder, only its absolute path comes back."""
    if st.S_ISDIR(sftp.lstat(path).st_mode or 0):
        return path
    sftp.remove(path)
    return None


def info_of(name: str, status: paramiko.SFTPAttributes) -> FileInfo:
    """What the protocol says of an entry."""
    mode = status.st_mode or 0
    return FileInfo(
        name=name,
        size=status.st_size or 0,
        modified_at=float(status.st_mtime or 0),
        is_dir=st.S_ISDIR(mode),
        is_link=st.S_ISLNK(mode),
        owner=status.st_uid,
        mode=st.S_IMODE(mode),
    )
