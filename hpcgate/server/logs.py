"""Log lines that tell which request they belong to."""

from __future__ import annotations

import logging
import re
from contextvars import ContextVar
from typing import Final
from uuid import uuid4

REQUEST_ID: Final[ContextVar[str]] = ContextVar("hpcgate_request_id", default="-")
_ACCEPTABLE = re.compile(r"[A-Za-z0-9._-]{1,128}\Z")

LINE: Final = "%(asctime)s %(levelname)s %(name)s [%(request_id)s] %(message)s"


def request_id_from(header: str | None) -> str:
    """The client's own request id where it is harmless to log, else a fresh one."""
    return header if header and _ACCEPTABLE.match(header) else uuid4().hex


class RequestIdFilter(logging.Filter):
    """Adds ``request_id`` to log records; ``-`` outside a request."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Lets everything through."""
        record.request_id = REQUEST_ID.get()
        return True


def configure_logging(level: int = logging.INFO) -> None:
    """Sends the log of this process to stderr, each line with its request id."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter(LINE))
    handler.addFilter(RequestIdFilter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("hpcgate").setLevel(level)
