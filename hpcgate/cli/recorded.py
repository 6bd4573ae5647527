"""The line that the audit log gets for a command that works on the gateway without its server."""

from __future__ import annotations

import getpass
import time
from typing import Final
from uuid import uuid4

import click

from hpcgate.config import Config
from hpcgate.errors import ConfigError, Forbidden, HpcgateError
from hpcgate.service.audit import AuditRecord, open_audit
from hpcgate.service.trail import TRAIL, Trail

#: Last words of commands that change nothing.
_READING: Final = frozenset({"list", "show", "wait", "logs", "files", "events", "check"})


class Recorded:
    """A command under way.

    Args:
        command: as it was typed, without its arguments: they may hold secrets.
        config: says where the audit log is.
    """

    def __init__(self, command: str, config: Config) -> None:
        self._command = command
        self._config = config
        self._began = time.time()
        self._trail = Trail(uuid4().hex, who=getpass.getuser())
        TRAIL.set(self._trail)

    def write(self, error: BaseException | None) -> None:
        """Appends the line.

        Args:
            error: what ended it; ``None`` = it is done.
        """
        TRAIL.set(None)
        if isinstance(error, ConfigError):
            return  # there was no gateway to do anything to, and maybe no place for the log
        ended_well = error is None or (isinstance(error, click.exceptions.Exit) and error.exit_code == 0)
        refused = isinstance(error, Forbidden)
        audit = open_audit(self._config)
        try:
            audit.write(
                AuditRecord(
                    at=self._began,
                    api="cli",
                    address="local",
                    what=self._command,
                    trail=self._trail,
                    reading=self._command.split()[-1] in _READING,
                    result="done" if ended_well else "refused" if refused else "failed",
                    code=error.code if isinstance(error, HpcgateError) else None,
                    seconds=time.time() - self._began,
                )
            )
        finally:
            audit.close()
