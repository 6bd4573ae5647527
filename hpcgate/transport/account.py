"""The transport to the gateway's own machine as another account: ``identity.run_as``.

A gateway that is root becomes the account by ``setpriv``, any other one by ``sudo``, which has to allow it without a
password. File work is done by processes of that account, which are kept: to start one takes a tenth of a second.
"""

from __future__ import annotations

import json
import os
import pwd
import select
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from threading import Lock
from typing import IO, Any, Final, cast

from hpcgate.errors import CommandTimeout, TransportError
from hpcgate.model.files import FileChunk, FileInfo
from hpcgate.model.site import Site
from hpcgate.transport.base import DEFAULT_MAX_OUTPUT, DEFAULT_TIMEOUT_S, CommandResult, Transport
from hpcgate.transport.helper import send
from hpcgate.transport.local import LocalTransport, execute

#: How long file work may take, seconds.
FILES_TIMEOUT_S: Final = 60.0
#: Helpers that are kept while nobody needs them.
KEPT: Final = 4
#: How much later than ``timeout`` we end a command that is not ours to end, seconds.
_SLACK_S: Final = 5.0
_PATH: Final = "/usr/local/bin:/usr/bin:/bin"
#: The path of modules is handed over: the gateway may have been installed in any way.
_START: Final = (
    "import json, sys; sys.path += json.loads(sys.argv[2]); "
    "from hpcgate.transport.helper import main; main(sys.argv[1])"
)


def open_local(site: Site, account: str | None) -> Transport:
    """The transport of a site on this machine, as the account that its jobs run as."""
    run_as = site.identity.run_as
    return LocalTransport() if run_as is None or uid_of(run_as) == os.geteuid() else AccountTransport(run_as)


def uid_of(name: str) -> int | None:
    """The number of an account of this machine; ``None`` = there is none."""
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        return None


class AccountTransport(Transport):
    """Commands and files as another account of this machine.

    Args:
        name: the account.
        sudo: whether ``sudo`` is the way; by default where the gateway is not root.
        python: what runs the helper; by default what runs the gateway.

    Raises:
        TransportError: there is no such account, or it is root.
    """

    def __init__(self, name: str, *, sudo: bool | None = None, python: str = sys.executable) -> None:
        try:
            self._account = pwd.getpwnam(name)
        except KeyError:
            raise TransportError(f"there is no account {name!r} on this machine", transient=False) from None
        if self._account.pw_uid == 0:
            raise TransportError(f"{name!r} is root; no job may run as it", transient=False)
        self._sudo = os.geteuid() != 0 if sudo is None else sudo
        self._python = python
        self._idle: list[_Helper] = []
        self._lock = Lock()
        self._closed = False

    # --- commands

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: bytes = b"",
        environment: Mapping[str, str] | None = None,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        max_output: int = DEFAULT_MAX_OUTPUT,
    ) -> CommandResult:
        """See ``Transport.run``. It starts in the account's home folder, with nothing of the gateway's environment."""
        added = environment or {}
        in_home = ["env", "-C", self._account.pw_dir]
        if not self._sudo:
            line = [*self._prefix(), *in_home, "--", *argv]
            full = {**self._environment(), **added}
            return execute(argv[0], line, full, stdin=stdin, timeout_s=timeout_s, max_output=max_output)
        # What sudo starts is not ours to end, so `timeout` does it; and it lets no environment through.
        assigned = [f"{name}={value}" for name, value in added.items()]
        line = [*self._prefix(), *in_home, "--", *assigned, "timeout", "-s", "KILL", f"{timeout_s:.3f}", *argv]
        began = time.monotonic()
        result = execute(
            argv[0],
            line,
            {**self._environment()},
            stdin=stdin,
            timeout_s=timeout_s + _SLACK_S,
            max_output=max_output,
        )
        if result.exit_status in (-9, 137) and time.monotonic() - began >= timeout_s:
            raise CommandTimeout(f"{argv[0]!r} did not end within {timeout_s:g} s")
        return result

    def _prefix(self) -> list[str]:
        name, uid, gid = self._account.pw_name, self._account.pw_uid, self._account.pw_gid
        if self._sudo:
            return ["sudo", "-n", "-H", "-u", name, "--"]
        return ["setpriv", f"--reuid={uid}", f"--regid={gid}", "--init-groups", "--"]

    def _environment(self) -> dict[str, str]:
        name = self._account.pw_name
        language = {key: value for key, value in os.environ.items() if key in ("LANG", "TZ") or key.startswith("LC_")}
        return {
            **language,
            "HOME": self._account.pw_dir,
            "USER": name,
            "LOGNAME": name,
            "SHELL": self._account.pw_shell or "/bin/sh",
            "PATH": os.environ.get("PATH", _PATH),
        }

    # --- files

    def read(self, path: str, *, offset: int = 0, length: int | None = None, within: str | None = None) -> FileChunk:
        """See ``Transport.read``."""
        told, data = self._ask("read", path, offset=offset, length=length, within=within)
        return FileChunk(data=data, offset=int(told["offset"]), size=int(told["total"]))

    def write(self, path: str, data: bytes, *, mode: int = 0o600, within: str | None = None) -> None:
        """See ``Transport.write``."""
        self._ask("write", path, data, mode=mode, within=within)

    def list(self, path: str, *, within: str | None = None) -> Sequence[FileInfo]:
        """See ``Transport.list``."""
        return [FileInfo(**each) for each in self._ask("list", path, within=within)[0]["files"]]

    def stat(self, path: str) -> FileInfo | None:
        """See ``Transport.stat``."""
        found = self._ask("stat", path)[0]["file"]
        return None if found is None else FileInfo(**found)

    def mkdir(self, path: str, *, mode: int = 0o700, within: str | None = None) -> None:
        """See ``Transport.mkdir``."""
        self._ask("mkdir", path, mode=mode, within=within)

    def remove(self, path: str, *, within: str | None = None) -> None:
        """See ``Transport.remove``."""
        self._ask("remove", path, within=within)

    def close(self) -> None:
        """Ends the helpers."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for helper in idle:
            helper.close()

    def _ask(self, verb: str, path: str, data: bytes = b"", **options: Any) -> tuple[dict[str, Any], bytes]:
        with self._helper() as helper:
            told, found = helper.ask({"verb": verb, "path": path, **options}, data)
        if "missing" in told:
            raise FileNotFoundError(told["missing"])
        if "error" in told:
            raise TransportError(str(told["error"]), transient=bool(told.get("transient", True)))
        return told, found

    @contextmanager
    def _helper(self) -> Iterator[_Helper]:
        """A helper for one thread; kept for the next one unless it broke."""
        with self._lock:
            helper = self._idle.pop() if self._idle else None
        if helper is None:
            name = self._account.pw_name
            start = [self._python, "-I", "-c", _START, name, json.dumps([path for path in sys.path if path])]
            # One that root starts becomes the account by itself, once it has read what only root may read.
            helper = _Helper(name, [*self._prefix(), *start] if self._sudo else start, self._environment())
        try:
            yield helper
        except BaseException:
            helper.close()
            raise
        with self._lock:
            keep = not self._closed and len(self._idle) < KEPT
            if keep:
                self._idle.append(helper)
        if not keep:
            helper.close()


class _Helper:
    """One helper process."""

    def __init__(self, name: str, argv: Sequence[str], environment: Mapping[str, str]) -> None:
        self._name = name
        try:
            self._process = subprocess.Popen(
                argv,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=dict(environment),
                cwd="/",
                start_new_session=True,
            )
        except OSError as error:
            raise TransportError(f"account {name!r} cannot be entered: {argv[0]!r}: {error.strerror}") from error
        self._received = bytearray()
        try:
            self._answer()
        except BaseException:
            self.close()
            raise

    def ask(self, request: dict[str, Any], data: bytes) -> tuple[dict[str, Any], bytes]:
        """One request and its answer.

        Raises:
            TransportError: it has gone, or does not answer.
        """
        try:
            send(cast("IO[bytes]", self._process.stdin), request, data)
        except OSError as error:
            raise TransportError(f"the helper of account {self._name!r} has gone: {error.strerror}") from error
        return self._answer()

    def _answer(self) -> tuple[dict[str, Any], bytes]:
        deadline = time.monotonic() + FILES_TIMEOUT_S
        while (end := self._received.find(b"\n")) < 0:
            self._receive(deadline)
        try:
            header = json.loads(self._take(end + 1))
            size = int(header.pop("size"))
        except (ValueError, TypeError, KeyError, AttributeError):
            raise TransportError(f"the helper of account {self._name!r} says what is no answer") from None
        while len(self._received) < size:
            self._receive(deadline)
        return header, self._take(size)

    def _take(self, size: int) -> bytes:
        taken = bytes(self._received[:size])
        del self._received[:size]
        return taken

    def _receive(self, deadline: float) -> None:
        pipe = cast("IO[bytes]", self._process.stdout).fileno()
        if not select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))[0]:
            raise TransportError(f"no answer about a file from account {self._name!r} in {FILES_TIMEOUT_S:g} s")
        part = os.read(pipe, 1 << 20)
        if not part:
            said = cast("IO[bytes]", self._process.stderr).read().decode("utf-8", "replace").strip().rpartition("\n")[2]
            raise TransportError(f"account {self._name!r} cannot be entered: {said or 'its helper has ended'}")
        self._received += part

    def close(self) -> None:
        """Ends it: at the end of its input, or by force."""
        with suppress(OSError):
            cast("IO[bytes]", self._process.stdin).close()
        with self._process:
            try:
                self._process.wait(5.0)
            except subprocess.TimeoutExpired:
                with suppress(PermissionError):  # sudo's is not ours to end; it ends when its file work does
                    self._process.kill()
