"""flask-smorest for dialects: an OpenAPI document of their own, which says where they are mounted."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

import marshmallow as ma
from flask import Flask, Response, request

from hpcgate.server.smorest import Api, Blueprint, LenientParser, ProblemSchema

BEARER: Final = {"type": "http", "scheme": "bearer"}


class DialectBlueprint(Blueprint):
    """Routes of a dialect; bodies are read whatever their Content-Type says.

    Where tokens do not come as ``Authorization: Bearer TOKEN``, a subclass sets ``authenticate`` (a function from the
    request to the principal, made of ``server.auth.principal_of``), and the API its ``security``.
    """

    ARGUMENTS_PARSER = LenientParser()


class DialectApi(Api):
    """The API of a dialect's application; the document is at ``/openapi.json`` below the place where it is mounted.

    Args:
        app: the dialect's application.
        title: the API's name, for people.
        version: of the API that is spoken, not of the plugin.
        description: of the API, in Markdown.
        error: shape of what ``Dialect.render_error`` answers; OpenAPI of its own where it is no object.
        error_type: its media type.
        security: OpenAPI security scheme of routes with ``login``.
    """

    def __init__(
        self,
        app: Flask,
        *,
        title: str,
        version: str,
        description: str = "",
        error: type[ma.Schema] | Mapping[str, Any] = ProblemSchema,
        error_type: str = "application/json",
        security: Mapping[str, Any] = BEARER,
    ) -> None:
        self.ERROR_SCHEMA = dict(error) if isinstance(error, Mapping) else error
        self.ERROR_TYPE = error_type
        app.config.update(
            API_TITLE=title,
            API_VERSION=version,
            OPENAPI_VERSION="3.0.3",
            OPENAPI_URL_PREFIX="/",
            API_SPEC_OPTIONS={
                "info": {"description": description},
                "components": {"securitySchemes": {"token": dict(security)}},
            },
        )
        super().__init__(app)

    def _openapi_json(self) -> Response:
        """The document. The server is named relative to it, so that it is right behind any proxy."""
        document = self.spec.to_dict() | {"servers": [{"url": request.script_root or "/"}]}
        return Response(json.dumps(document, ensure_ascii=False), content_type="application/json")
