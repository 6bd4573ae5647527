"""The audit log: one line for each request of each API and each command, also for those that were refused.

Lines are only ever appended. A file may be renamed (logrotate) or cut (copytruncate) while the gateway runs: each
write looks whether the name still stands for the open file.
"""

from __future__ import annotations

import json
import logging
import os
import re
import threading
from abc import ABC, abstractmethod
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from hpcgate.config import AuditTable, Config
from hpcgate.service.trail import Trail

if TYPE_CHECKING:
    from logging.handlers import SysLogHandler

_log = logging.getLogger(__name__)

MAX_PATH_CHARS: Final = 1024
#: What looks like a signed token, wherever a client has put it.
_JWT: Final = re.compile(r"eyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]*")


def without_tokens(text: str) -> str:
    """A path as it may be written down: some APIs have tokens in theirs."""
    return _JWT.sub("***", text)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRecord:
    """One request or command.

    Args:
        at: epoch seconds, when it came.
        api: ``native``, the name of a dialect, or ``cli``.
        address: from where; ``local`` = a command on this machine.
        what: method and route, or the command.
        trail: who asked, and what about.
        reading: whether it can have changed nothing.
        result: ``done``, ``refused`` or ``failed``.
        path: as it was asked for; nothing for a command.
        status: of the answer.
        code: of the error.
        seconds: how long it took.
    """

    at: float
    api: str
    address: str
    what: str
    trail: Trail
    reading: bool
    result: str
    path: str | None = None
    status: int | None = None
    code: str | None = None
    seconds: float | None = None

    def to_wire(self) -> dict[str, Any]:
        """The members of its line; what is not known is left out."""
        trail = self.trail
        wire = {
            "at": datetime.fromtimestamp(self.at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "request": trail.request_id,
            "api": self.api,
            "from": self.address,
            "who": trail.who,
            "by": trail.delegate,
            "token": trail.token,
            "what": self.what,
            "path": None if self.path is None else without_tokens(self.path)[:MAX_PATH_CHARS],
            "verbs": trail.verbs or None,
            "objects": list(trail.objects) or None,
            "more_objects": trail.left_off or None,
            "result": self.result,
            "status": self.status,
            "code": self.code,
            "seconds": None if self.seconds is None else round(self.seconds, 4),
        }
        return {name: value for name, value in wire.items() if value is not None}


class AuditLog(ABC):
    """Where records go. One that cannot be written is told in the log, and the request goes on.

    Args:
        reads: whether what can have changed nothing is recorded too, when it was done.
    """

    def __init__(self, *, reads: bool) -> None:
        self._reads = reads
        self.failures = 0

    def write(self, record: AuditRecord) -> None:
        """Appends a record."""
        if record.reading and record.result == "done" and not self._reads:
            return
        line = json.dumps(record.to_wire(), ensure_ascii=True, separators=(",", ":"))
        try:
            self._append(line)
        except OSError as error:
            self.failures += 1
            _log.error("the audit log cannot be written: %s", error)

    @abstractmethod
    def _append(self, line: str) -> None: ...

    @abstractmethod
    def close(self) -> None:
        """Gives back what it holds; a later record takes it again."""


class AuditFile(AuditLog):
    """JSON lines in a file (mode 0600) that any number of processes append to.

    Args:
        path: of the file.
        reads: see ``AuditLog``.
    """

    def __init__(self, path: Path, *, reads: bool) -> None:
        super().__init__(reads=reads)
        self._path = path
        self._lock = threading.Lock()
        self._descriptor: int | None = None

    def _append(self, line: str) -> None:
        data = line.encode("ascii") + b"\n"
        with self._lock:
            # One write with O_APPEND: lines of several processes do not mix.
            os.write(self._current(), data)

    def _current(self) -> int:
        """The file that has the name now."""
        if self._descriptor is not None:
            mine = os.fstat(self._descriptor)
            try:
                there = self._path.stat()
            except FileNotFoundError:
                there = None
            if there is not None and (there.st_ino, there.st_dev) == (mine.st_ino, mine.st_dev):
                return self._descriptor
            os.close(self._descriptor)
            self._descriptor = None
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        self._descriptor = os.open(self._path, flags, 0o600)
        return self._descriptor

    def close(self) -> None:
        """Closes the file."""
        with self._lock:
            if self._descriptor is not None:
                os.close(self._descriptor)
                self._descriptor = None


class AuditSyslog(AuditLog):
    """JSON as messages to syslog.

    Args:
        table: says where it listens, and the facility.
    """

    def __init__(self, table: AuditTable) -> None:
        super().__init__(reads=table.reads)
        self._table = table
        self._lock = threading.Lock()
        self._handler: SysLogHandler | None = None

    def _append(self, line: str) -> None:
        with self._lock:
            if self._handler is None:
                self._handler = _syslog(self._table)
            try:
                self._handler.emit(logging.LogRecord("hpcgate.audit", logging.INFO, "", 0, line, None, None))
            except OSError:
                self._close()
                raise

    def _close(self) -> None:
        if self._handler is not None:
            self._handler.close()
            self._handler = None

    def close(self) -> None:
        """Closes the socket."""
        with self._lock:
            self._close()


class NoAudit(AuditLog):
    """Where the operator wants none."""

    def __init__(self) -> None:
        super().__init__(reads=False)

    def write(self, record: AuditRecord) -> None:
        """Nothing."""

    def _append(self, line: str) -> None: ...

    def close(self) -> None:
        """Nothing."""


def _syslog(table: AuditTable) -> SysLogHandler:
    from logging.handlers import SysLogHandler

    class Handler(SysLogHandler):
        append_nul = False
        ident = "hpcgate-audit: "

        def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the name is logging's
            raise

    host, _, port = table.syslog.rpartition(":")
    address = table.syslog if table.syslog.startswith("/") else (host, int(port))
    return Handler(address, SysLogHandler.facility_names[table.facility])


def audit_path(config: Config) -> Path:
    """The file of the audit log, with the default filled in."""
    return Path(config.audit.file or config.home / "audit.jsonl").expanduser()


def open_audit(config: Config) -> AuditLog:
    """The audit log that the configuration wants; its file or socket is opened by the first record."""
    if config.audit.to == "syslog":
        return AuditSyslog(config.audit)
    if config.audit.to == "none":
        return NoAudit()
    return AuditFile(audit_path(config), reads=config.audit.reads)
