"""The local transport as an ordinary user, for test processes that are root."""

from __future__ import annotations

import ctypes
import os
import pwd
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from hpcgate.transport.base import DEFAULT_MAX_OUTPUT, DEFAULT_TIMEOUT_S, CommandResult
from hpcgate.transport.local import LocalTransport

_LIBC = ctypes.CDLL(None, use_errno=True)


class UserTransport(LocalTransport):
    """Commands by ``setpriv``, files with the user's rights and in the user's name.

    Args:
        user: who.
        environment: added to every command's.
    """

    def __init__(self, user: pwd.struct_passwd, environment: Mapping[str, str]) -> None:
        self._user = user
        self._environment = {
            "HOME": user.pw_dir,
            "USER": user.pw_name,
            "LOGNAME": user.pw_name,
            "SHELL": user.pw_shell,
            **environment,
        }

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: bytes = b"",
        environment: Mapping[str, str] | None = None,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        max_output: int = DEFAULT_MAX_OUTPUT,
    ) -> CommandResult:
        prefix = ["setpriv", f"--reuid={self._user.pw_uid}", f"--regid={self._user.pw_gid}", "--init-groups", "--"]
        return super().run(
            [*prefix, *argv],
            stdin=stdin,
            environment={**self._environment, **(environment or {})},
            timeout_s=timeout_s,
            max_output=max_output,
        )

    @contextmanager
    def _acting(self) -> Iterator[None]:
        # The file system's idea of who this thread is; the rest of the process stays what it is.
        _LIBC.setfsgid(self._user.pw_gid)
        _LIBC.setfsuid(self._user.pw_uid)
        try:
            yield
        finally:
            _LIBC.setfsuid(os.geteuid())
            _LIBC.setfsgid(os.getegid())


def _as_user(verb: Callable[..., Any]) -> Callable[..., Any]:
    def acting(self: UserTransport, *args: Any, **more: Any) -> Any:
        with self._acting():
            return verb(self, *args, **more)

    return acting


for _verb in ("read", "write", "list", "stat", "mkdir", "remove"):
    setattr(UserTransport, _verb, _as_user(getattr(LocalTransport, _verb)))
