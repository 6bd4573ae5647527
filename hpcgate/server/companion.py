"""The worker beside the server: a child process that is started, watched, started again, and ended with it."""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from hpcgate.config import Config

_log = logging.getLogger(__name__)

FIRST_PAUSE_S: Final = 0.5
MAX_PAUSE_S: Final = 30.0
#: A worker that lived so long did not die of how it was started, seconds.
STEADY_S: Final = 60.0
_PR_SET_PDEATHSIG: Final = 1


class Companion:
    """A supervised child process. All methods are for one thread: the one that started it.

    Args:
        argv: the command.
        environ: its environment.
        clock: seconds, never set back.
    """

    def __init__(
        self, argv: Sequence[str], environ: Mapping[str, str], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._argv = list(argv)
        self._environ = dict(environ)
        self._clock = clock
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0
        self._start_at = 0.0
        self._pause_s = FIRST_PAUSE_S
        self._ending = False

    @property
    def pid(self) -> int | None:
        """Its process id; ``None`` while it does not run."""
        return self._process.pid if self._process is not None else None

    def tend(self) -> None:
        """Starts it when it does not run; after a death with a pause that doubles while it keeps dying."""
        self.reap()
        if self._process is None and not self._ending and self._clock() >= self._start_at:
            self._started_at = self._clock()
            self._process = subprocess.Popen(
                self._argv,
                env=self._environ,
                stdin=subprocess.DEVNULL,
                # Out of the terminal's process group: Ctrl-C reaches it through us, in order.
                process_group=0,
                preexec_fn=_dying_with(os.getpid()),
            )

    def reap(self) -> None:
        """Notices its death. To be called before anybody waits for just any child."""
        if self._process is None or self._process.poll() is None:
            return
        if not self._ending:
            steady = self._clock() - self._started_at > STEADY_S
            self._pause_s = FIRST_PAUSE_S if steady else self._pause_s
            self._start_at = self._clock() + self._pause_s
            _log.error(
                "the worker died with status %s; it is started again in %.1f s", self._process.returncode, self._pause_s
            )
            self._pause_s = min(self._pause_s * 2, MAX_PAUSE_S)
        self._process = None

    def terminate(self) -> None:
        """Asks it to end. It is not started again."""
        self._ending = True
        if self._process is not None:
            self._process.terminate()

    def finish(self, timeout_s: float) -> None:
        """Waits until it has ended, and kills it when it takes longer than ``timeout_s``."""
        if self._process is None:
            return
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            _log.warning("the worker takes too long to end and is killed")
            self._process.kill()
            self._process.wait()
        self._process = None


def worker_of(config: Config) -> Companion:
    """The worker of this configuration."""
    environ = {name: value for name, value in os.environ.items() if name != "HPCGATE_CONFIG"}
    environ["HPCGATE_HOME"] = str(config.home)
    if config.source is not None:
        environ["HPCGATE_CONFIG"] = str(config.source)
    # -P: what lies in the current folder must not be taken for a module.
    return Companion([sys.executable, "-P", "-m", "hpcgate", "worker"], environ)


def _dying_with(parent: int) -> Callable[[], None]:
    """For the child: SIGTERM when the parent dies, however it dies."""
    libc = ctypes.CDLL(None, use_errno=True)

    def ask() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it died before we could ask
            os._exit(1)

    return ask
