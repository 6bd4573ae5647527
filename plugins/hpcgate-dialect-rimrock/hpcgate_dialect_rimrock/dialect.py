"""The application of the dialect."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import Flask, Request, Response

from hpcgate.errors import ConfigError
from hpcgate.model.principal import Principal
from hpcgate.server.dialect import Dialect
from hpcgate.server.dialect_api import DialectApi
from hpcgate.server.errors import Problem
from hpcgate_dialect_rimrock import errors
from hpcgate_dialect_rimrock.credentials import HEADER, Credentials
from hpcgate_dialect_rimrock.routes import job_routes
from hpcgate_dialect_rimrock.schemas import ErrorSchema
from hpcgate_dialect_rimrock.settings import Settings, X509Settings
from hpcgate_dialect_rimrock.start import NAME

if TYPE_CHECKING:
    from hpcgate.gateway import Gateway
    from hpcgate_dialect_rimrock.proxies import Proxies


class RimrockDialect(Dialect):
    """Rimrock."""

    name = NAME
    settings = Settings
    cors_headers = (HEADER, "Authorization", "Content-Type")
    _credentials: Credentials

    def create_app(self, gateway: Gateway, settings: Settings) -> Flask:
        """Called once for each server."""
        app = Flask(__name__, static_folder=None)
        self._credentials = Credentials(gateway, None if settings.x509 is None else _proxies(settings.x509))
        api = DialectApi(
            app,
            title="Rimrock",
            version="2.0",
            description="Start and watch batch jobs, as PLGrid Rimrock had it.",
            error=ErrorSchema,
            security={"type": "apiKey", "in": "header", "name": HEADER},
        )
        blp = job_routes(gateway, settings)
        blp.authenticate = self._credentials.principal
        api.register_blueprint(blp)
        return app

    def caller(self, request: Request) -> Principal | None:
        """By its own header."""
        return self._credentials.caller(request)

    def render_error(self, problem: Problem) -> Response:
        """The same six keys, whatever goes wrong."""
        return errors.render(problem)


def _proxies(settings: X509Settings) -> Proxies:
    try:
        from hpcgate_dialect_rimrock.proxies import Proxies
    except ImportError as error:
        raise ConfigError(
            "[dialects.rimrock.settings.x509] needs pyOpenSSL: pip install 'hpcgate-dialect-rimrock[x509]'"
        ) from error
    return Proxies(settings)
