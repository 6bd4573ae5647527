"""A gateway with its worker, in the process of the test."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from hpcgate.config import Config
from hpcgate.gateway import Gateway, open_gateway


@contextmanager
def running(config: Config, *plugins: object) -> Iterator[Gateway]:
    """A gateway that is served until the block is left, with these plugins beside the installed ones."""
    stop = threading.Event()
    with open_gateway(config, plugins=[(type(each).__name__, each) for each in plugins]) as gateway:
        worker = threading.Thread(target=gateway.worker().run, args=(stop,))
        worker.start()
        try:
            yield gateway
        finally:
            stop.set()
            worker.join()
