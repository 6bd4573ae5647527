"""What the gateway logs while a command runs, told to whoever typed it."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def log_briefly() -> Iterator[None]:
    """While it is open, warnings go to stderr, each in one line; ``HPCGATE_DEBUG=1`` shows all of it."""
    debug = os.environ.get("HPCGATE_DEBUG") == "1"
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s: %(message)s") if debug else _OneLine())
    logger = logging.getLogger("hpcgate")
    before = logger.handlers[:], logger.propagate, logger.level
    logger.handlers[:], logger.propagate = [handler], False
    logger.setLevel(logging.DEBUG if debug else logging.WARNING)
    try:
        yield
    finally:
        logger.handlers[:], logger.propagate, level = before
        logger.setLevel(level)


class _OneLine(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        text = record.getMessage()
        if record.exc_info and record.exc_info[1] is not None:
            text += f": {record.exc_info[1]} (HPCGATE_DEBUG=1 shows more)"
        return f"hpcgate: {record.levelname.lower()}: {' '.join(text.split())}"
