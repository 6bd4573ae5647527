"""The dialect: settings, application, errors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import Flask, Response

from hpcgate.errors import ConfigError, nearest
from hpcgate.server.dialect import Dialect
from hpcgate.server.dialect_api import DialectApi
from hpcgate.server.errors import Problem
from hpcgate_dialect_bsp import errors
from hpcgate_dialect_bsp.making import NAME
from hpcgate_dialect_bsp.routes import routes
from hpcgate_dialect_bsp.service import Bsp
from hpcgate_dialect_bsp.settings import Settings

if TYPE_CHECKING:
    from hpcgate.gateway import Gateway

DESCRIPTION = """\
Jobs, files and quotas of HPC systems behind one service account.

Paths may end with a slash or not. A submit sends its payload as the header `Payload` and its file as the body; or both
as parts of a form. Errors are a text as JSON, or an object with `detail` where it is about who asks.
"""


class BspDialect(Dialect):
    """The BSP service account."""

    name = NAME
    settings = Settings
    cors_headers = ("Authorization", "Content-Type", "Content-Disposition", "Payload", "Range")

    def create_app(self, gateway: Gateway, settings: Settings) -> Flask:
        """Called once for each server.

        Raises:
            ConfigError: a system is at a site that there is not, or has projects of another.
        """
        _check_sites(gateway, settings)
        app = Flask(__name__, static_folder=None)
        api = DialectApi(app, title="BSP service account", version="1", description=DESCRIPTION, error=errors.SCHEMA)
        api.register_blueprint(routes(Bsp(gateway, settings)))
        return app

    def render_error(self, problem: Problem) -> Response:
        """Everything that goes wrong, also unknown paths."""
        return errors.render(problem)


def _check_sites(gateway: Gateway, settings: Settings) -> None:
    where = gateway.config.where(f"dialects.{NAME}.settings")
    sites = {alias: site.name for site in gateway.sites.values() for alias in (site.name, *site.aliases)}
    for name, hpc in settings.hpc.items():
        at = f"{where} hpc.{name}"
        if hpc.site not in sites:
            raise ConfigError(f"{at}.site: there is no site {hpc.site!r}{nearest(hpc.site, list(sites))}")
        for project in filter(None, map(gateway.projects.find, hpc.projects)):
            if project.site != sites[hpc.site]:
                raise ConfigError(f"{at}.projects: {project.name!r} is at site {project.site!r}, not at {hpc.site!r}")
