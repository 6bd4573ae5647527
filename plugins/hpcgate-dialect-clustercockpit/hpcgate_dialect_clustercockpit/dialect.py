"""The dialect: settings, application, errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from flask import Flask, Request, Response
from werkzeug.routing import BaseConverter

from hpcgate.model.principal import Principal
from hpcgate.server.dialect import Dialect
from hpcgate.server.dialect_api import DialectApi
from hpcgate.server.errors import Problem
from hpcgate_dialect_clustercockpit import errors
from hpcgate_dialect_clustercockpit.access import HEADER, Doors, caller
from hpcgate_dialect_clustercockpit.job_routes import api_routes, people_routes
from hpcgate_dialect_clustercockpit.jobs import Jobs
from hpcgate_dialect_clustercockpit.metric_routes import metric_routes
from hpcgate_dialect_clustercockpit.node_routes import node_routes
from hpcgate_dialect_clustercockpit.schemas import ErrorSchema
from hpcgate_dialect_clustercockpit.settings import Settings
from hpcgate_dialect_clustercockpit.user_routes import token_routes, user_routes

if TYPE_CHECKING:
    from hpcgate.gateway import Gateway

NAME: Final = "clustercockpit"
DESCRIPTION = """\
What ran, where and for how long: jobs that programs beside a batch system report, and those of this gateway.

Paths may end with a slash or not. Bodies are JSON whatever the Content-Type says; keys match in any case, and one that
is unknown is an error. Errors are `{"status": ..., "error": ...}`.
"""


class _Id(BaseConverter):
    """What stands where the number of a record belongs. Names of actions have an underscore, and are no numbers."""

    regex = "[^/_]+"
    part_isolating = True


class ClusterCockpitDialect(Dialect):
    """The REST API of cc-backend."""

    name = NAME
    settings = Settings
    cors_headers = (HEADER, "Authorization", "Content-Type")

    def create_app(self, gateway: Gateway, settings: Settings) -> Flask:
        """Called once for each server."""
        app = Flask(__name__, static_folder=None)
        app.url_map.converters["id"] = _Id
        api = DialectApi(
            app,
            title="ClusterCockpit",
            version=settings.level,
            description=DESCRIPTION,
            error=ErrorSchema,
            security={"type": "apiKey", "in": "header", "name": HEADER},
        )
        doors = Doors(settings.networks())
        jobs = Jobs(gateway, settings)
        for blueprint, door in (
            (api_routes(jobs), doors.api),
            (node_routes(gateway), doors.api),
            (metric_routes(jobs, "metrics", "/api/jobs"), doors.anybody),
            (people_routes(jobs), doors.people),
            (metric_routes(jobs, "usermetrics", "/userapi/jobs"), doors.people),
            (user_routes(gateway), doors.admin),
            (token_routes(gateway, NAME), doors.anybody),
        ):
            blueprint.authenticate = door
            api.register_blueprint(blueprint)
        return app

    def caller(self, request: Request) -> Principal | None:
        """By either header."""
        return caller(request)

    def render_error(self, problem: Problem) -> Response:
        """Everything that goes wrong, also unknown paths."""
        return errors.render(problem)
