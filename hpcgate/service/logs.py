"""Log lines that tell which request and which jobs they belong to, for people or for programs."""

from __future__ import annotations

import json
import logging
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from hpcgate.service.trail import TRAIL

if TYPE_CHECKING:
    from hpcgate.config import ServerTable

_ACCEPTABLE = re.compile(r"[A-Za-z0-9._-]{1,128}\Z")
#: How our messages name jobs, where no request does.
_JOB = re.compile(r"\bjobs? (\d+)\b")

#: Told by number in a line for people; programs get all.
MOST_JOBS: Final = 3
LINE: Final = "%(asctime)s %(levelname)s %(name)s [%(request_id)s%(of_jobs)s] %(message)s"


def request_id_from(header: str | None) -> str:
    """The client's own request id where it is harmless to log, else a fresh one."""
    return header if header and _ACCEPTABLE.match(header) else uuid4().hex


class TrailFilter(logging.Filter):
    """Adds to log records what they belong to: ``request_id`` (``-`` outside a request), ``jobs`` and ``of_jobs``."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Lets everything through."""
        trail = TRAIL.get()
        said = [int(each) for each in _JOB.findall(record.getMessage())]
        record.request_id = "-" if trail is None else trail.request_id
        jobs = list(dict.fromkeys([*(trail.job_ids() if trail else ()), *said]))
        record.jobs = jobs
        record.of_jobs = "".join(f" job={each}" for each in jobs[:MOST_JOBS]) + (" ..." if jobs[MOST_JOBS:] else "")
        return True


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """The line. What is not known is left out."""
        wire: dict[str, Any] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if (request_id := getattr(record, "request_id", "-")) != "-":
            wire["request"] = request_id
        if jobs := getattr(record, "jobs", None):
            wire["jobs"] = jobs
        wire |= getattr(record, "fields", {})
        if record.exc_info:
            wire["exception"] = self.formatException(record.exc_info)
        return json.dumps(wire, ensure_ascii=False, default=str)


def configure_logging(table: ServerTable) -> None:
    """Sends the log of this process to stderr, each line with its request id and jobs.

    Args:
        table: the ``[server]`` table: which format, and from which level on.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if table.log_format == "json" else logging.Formatter(LINE))
    handler.addFilter(TrailFilter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("hpcgate").setLevel(table.log_level.upper())
