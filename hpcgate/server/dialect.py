"""``Dialect``: what a plugin subclasses to speak a foreign API on the gateway.

A dialect is mapping, nothing more: it turns foreign requests into calls of services, and models into foreign answers.
It gets a Flask application of its own, mounted below ``[dialects.NAME] prefix`` and at the root of the hosts named
there, so that ``url_for``, redirects and error shapes are its own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from flask import Flask, Request, Response

from hpcgate.config import Config, DialectTable
from hpcgate.errors import ConfigError, InvalidSpec
from hpcgate.model.codec import decode
from hpcgate.model.principal import Principal
from hpcgate.server.auth import caller
from hpcgate.server.errors import Problem

if TYPE_CHECKING:
    from hpcgate.gateway import Gateway


class Dialect(ABC):
    """Base of dialect plugins, offered through the hook ``hpcgate_register_dialects``.

    Attributes:
        name: as config names it: ``[dialects.NAME]``.
        settings: dataclass of ``[dialects.NAME.settings]``; its fields carry ``metadata={"help": ...}``. ``None`` =
            there are none.
        strict_slashes: whether a path with one more or one less slash at its end is another one. By default it is
            the same one, and answered without a redirect, which would turn the POST of many clients into a GET.
        merge_slashes: whether ``//`` in a path means ``/``, again without a redirect.
        cors_origins: whose pages may call it from a browser, where ``[dialects.NAME] cors_origins`` does not say;
            ``*`` = anybody's.
        cors_headers: request headers that these pages may send.
    """

    name: ClassVar[str]
    settings: ClassVar[type[Any] | None] = None
    strict_slashes: ClassVar[bool] = False
    merge_slashes: ClassVar[bool] = True
    cors_origins: ClassVar[tuple[str, ...]] = ()
    cors_headers: ClassVar[tuple[str, ...]] = ("Authorization", "Content-Type")

    @abstractmethod
    def create_app(self, gateway: Gateway, settings: Any) -> Flask:
        """Builds the application. Called once for each server.

        Args:
            gateway: the services.
            settings: an instance of ``settings``; ``None`` where the dialect has none.

        Returns:
            An application that knows nothing of where it is mounted. The server adds request ids, body limits,
            CORS, security headers, ``server.context`` and the handlers that end in ``render_error``.
        """

    def caller(self, request: Request) -> Principal | None:
        """Who sends a request, for the limit of rates; ``None`` = nobody that is known.

        Whoever has credentials of another form than the native API says here what they are worth. It must not raise
        what the route would not.
        """
        return caller(request)

    def render_error(self, problem: Problem) -> Response:
        """The answer to everything that goes wrong, also for paths and methods that the dialect does not have.

        It is called with and without a request, since some things go wrong before there is one, and from any thread.
        ``problem.headers`` has what HTTP asks for (``Allow``, ``Retry-After``, ``WWW-Authenticate``).
        """
        return problem.response()


def settings_of(dialect: Dialect, config: Config, table: DialectTable) -> Any:
    """The dialect's settings, decoded strictly.

    Raises:
        ConfigError: a key or value is wrong; file, table and key are named.
    """
    where = f"dialects.{dialect.name}.settings"
    if dialect.settings is None:
        if table.settings:
            raise ConfigError(f"{config.where(where)} {sorted(table.settings)[0]}: this dialect has no settings")
        return None
    try:
        return decode(dialect.settings, table.settings)
    except InvalidSpec as error:
        raise ConfigError(
            "; ".join(f"{config.where(where)} {each.field}: {each.message}" for each in error.errors)
        ) from error


def find(dialects: Mapping[str, Dialect], config: Config, name: str) -> Dialect:
    """The installed dialect that a table of the config names.

    Raises:
        ConfigError: none has this name.
    """
    if name not in dialects:
        known = f"installed are: {', '.join(sorted(dialects))}" if dialects else "no dialect is installed"
        raise ConfigError(f"{config.where(f'dialects.{name}')} there is no such dialect; {known}")
    return dialects[name]
