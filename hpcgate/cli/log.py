"""What the gateway logs while a command runs, told to whoever typed it."""

from __future__ import annotations

import logging
import os


def log_to_stderr() -> None:
    """Warnings go to stderr, each in one line like the command's own messages; ``HPCGATE_DEBUG=1`` shows all of it."""
    handler = logging.StreamHandler()
    debug = os.environ.get("HPCGATE_DEBUG") == "1"
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s: %(message)s") if debug else _OneLine())
    logger = logging.getLogger("hpcgate")
    logger.handlers[:] = [handler]
    logger.propagate = False
    logger.setLevel(logging.DEBUG if debug else logging.WARNING)


class _OneLine(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        text = record.getMessage()
        if record.exc_info and record.exc_info[1] is not None:
            text += f": {record.exc_info[1]} (HPCGATE_DEBUG=1 shows more)"
        return f"hpcgate: {record.levelname.lower()}: {' '.join(text.split())}"
