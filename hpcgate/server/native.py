"""The native application: ``/api/v1``, health, metrics and the API page."""

from __future__ import annotations

import re
from functools import cache
from typing import Final

from flask import Flask, request

from hpcgate import __version__
from hpcgate.server.front import ROUTE
from hpcgate.server.health import blp as health
from hpcgate.server.page import blp as page
from hpcgate.server.resources import BLUEPRINTS
from hpcgate.server.smorest import Api

PREFIX: Final = "/api/v1"

_DESCRIPTION: Final = """\
One way to run work on any batch system, and one record of what became of it.

Send a token with every request: `Authorization: Bearer TOKEN`. Errors are `application/problem+json` with a stable
`code`; a request with wrong fields is told all of them in `errors`. Unknown fields and parameters are refused.
Lists answer `{"items": [...], "next_cursor": ...}`; give the cursor back as `cursor` to go on.
"""


def create_native_app() -> Flask:
    """Builds the application; ``prepare`` makes it ready for requests."""
    app = Flask("hpcgate", static_folder=None)
    app.config.update(
        API_TITLE="hpcgate",
        API_VERSION=__version__,
        OPENAPI_VERSION="3.0.3",
        OPENAPI_URL_PREFIX=PREFIX,
        API_SPEC_OPTIONS={
            "info": {"description": _DESCRIPTION, "license": {"name": "Apache-2.0"}},
            "components": {"securitySchemes": {"token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}}},
        },
    )
    api = Api(app)
    for blueprint in BLUEPRINTS:
        api.register_blueprint(blueprint, url_prefix=PREFIX)
    app.register_blueprint(health)
    app.register_blueprint(page)
    return app


def note_route(app: Flask) -> None:
    """Lets the front know which rule matched."""

    @app.before_request
    def note() -> None:
        if request.url_rule is not None:
            request.environ[ROUTE] = _plain(request.url_rule.rule)


@cache
def _plain(rule: str) -> str:
    """A rule without its converters: ``/jobs/{job_id}``."""
    return re.sub(r"<(?:[^<>]*:)?(\w+)>", r"{\1}", rule)
