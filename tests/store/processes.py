"""Code in processes that start at once: they are forked from one that has imported what they need."""

from __future__ import annotations

import importlib.util
import multiprocessing
import time
import traceback
import warnings
from contextlib import redirect_stdout
from pathlib import Path

_KNOWN = """
import sys, threading, time
from pathlib import Path
from hpcgate.model.move import *
from hpcgate.model.spec import *
from hpcgate.model.state import *
from hpcgate.store.database import open_store
"""
_FORKING = multiprocessing.get_context("forkserver")
_FORKING.set_forkserver_preload(
    [
        "hpcgate.model.move",
        "hpcgate.store.database",
        *(["hpcgate.store.postgres"] if importlib.util.find_spec("psycopg") else ()),
        __name__,
    ]
)


def run(code: str, url: str, many: int, folder: Path) -> list[str]:
    """Runs code in several processes at once, each with a number ``me``; what they printed."""
    folder.mkdir()
    processes = [_FORKING.Process(target=_run, args=(code, url, me, many, folder)) for me in range(many)]
    for process in processes:
        process.start()
    deadline = time.monotonic() + 100
    for process in processes:
        process.join(max(0.0, deadline - time.monotonic()))
        process.kill()
        process.join()
    errors = "\n".join(path.read_text() for path in sorted(folder.glob("error.*")))
    assert [process.exitcode for process in processes] == [0] * many, errors
    return [(folder / f"said.{me}").read_text().strip() for me in range(many)]


def _run(code: str, url: str, me: int, many: int, folder: Path) -> None:
    def meet(expected: int = many) -> None:
        """Waits until so many processes are here, so that they race."""
        (folder / f"here.{me}").touch()
        while len(list(folder.glob("here.*"))) < expected:
            time.sleep(0.001)

    warnings.simplefilter("error")
    try:
        with (folder / f"said.{me}").open("w") as out, redirect_stdout(out):
            exec(_KNOWN + code, {"url": url, "me": me, "folder": folder, "meet": meet})
    except BaseException:
        (folder / f"error.{me}").write_text(traceback.format_exc())
        raise
