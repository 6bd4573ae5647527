"""What a command needs from its surroundings: the configuration and a backend, made when first asked for."""

from __future__ import annotations

import os
from contextlib import ExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Self

import click

from hpcgate.cli.log import log_briefly

if TYPE_CHECKING:
    from hpcgate.cli.backend import Backend
    from hpcgate.cli.recorded import Recorded
    from hpcgate.config import Config


class Session:
    """One run of the command line.

    Args:
        config_path: what ``--config`` named.
    """

    def __init__(self, config_path: str | None = None) -> None:
        self._config_path = config_path
        self._config: Config | None = None
        self._backend: Backend | None = None
        self._stack = ExitStack()
        self._recorded: Recorded | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    @property
    def config(self) -> Config:
        """The configuration of this machine.

        Raises:
            ConfigError: it is wrong.
        """
        if self._config is None:
            from hpcgate.config import load_config

            self._config = load_config(self._config_path)
        return self._config

    @property
    def remote_url(self) -> str | None:
        """The server that commands about jobs talk to; ``None`` = a gateway in this process."""
        return os.environ.get("HPCGATE_URL") or None

    @property
    def backend(self) -> Backend:
        """A server or a gateway in this process; closed when the command ends."""
        if self._backend is None:
            backend = self._open()
            self._stack.callback(backend.close)
            self._backend = backend
        return self._backend

    def _open(self) -> Backend:
        self._stack.enter_context(log_briefly())
        if self.remote_url:
            from hpcgate.cli.remote import RemoteBackend

            return RemoteBackend.open(self.remote_url, os.environ.get("HPCGATE_TOKEN") or None)
        from hpcgate.cli.embedded import EmbeddedBackend

        self.record()
        return EmbeddedBackend.open(self.config)

    def record(self) -> None:
        """Lets the audit log have a line for this command, which works on the gateway without its server."""
        from hpcgate.cli.recorded import Recorded

        context = click.get_current_context(silent=True)  # completion runs no command
        if self._recorded is None and context is not None:
            self._recorded = Recorded(context.command_path, self.config)

    def ended(self, error: BaseException | None) -> None:
        """The command is over, by itself or by an error."""
        if self._recorded is not None:
            self._recorded.write(error)
            self._recorded = None


pass_session = click.make_pass_decorator(Session)
