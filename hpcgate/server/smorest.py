"""flask-smorest, extended once: our error shape in the documents, strict parsing, and login as a decorator."""

from __future__ import annotations

import http
import json
import threading
from collections.abc import Callable, Mapping
from copy import deepcopy
from functools import partial, wraps
from typing import Any, NoReturn, TypeVar, cast

import flask_smorest
import marshmallow as ma
from apispec import APISpec
from flask import Flask, Request, Response, request
from flask_smorest.utils import prepare_response
from webargs.flaskparser import FlaskParser
from werkzeug.exceptions import UnsupportedMediaType

from hpcgate.errors import FieldError, InvalidSpec, nearest
from hpcgate.model.principal import Principal
from hpcgate.server.auth import authenticate
from hpcgate.server.bodies import json_or_form, raw_body, strict_json
from hpcgate.server.errors import PROBLEM_JSON

View = TypeVar("View", bound=Callable[..., Any])


class FieldErrorSchema(ma.Schema):
    """One wrong field."""

    field = ma.fields.String(required=True, metadata={"description": "dotted path of the field"})
    message = ma.fields.String(required=True, metadata={"description": "what is wrong, and what would be right"})


class ShortQuotaSchema(ma.Schema):
    """A quota that has less left than a job asks for."""

    project = ma.fields.String(metadata={"description": "name of the project"})
    quota = ma.fields.String(
        validate=ma.validate.OneOf(["time", "space", "total_time", "total_space"]),
        metadata={"description": "which: weighted seconds or KiB, of the user or of all users together"},
    )
    asked = ma.fields.Integer(metadata={"description": "what the job asks for"})
    left = ma.fields.Integer(metadata={"description": "what is left; below 0 where jobs took more than reserved"})


class ProblemSchema(ma.Schema):
    """An error, as RFC 9457 has it."""

    type = ma.fields.String(required=True, metadata={"description": "URN of the kind of problem"})
    title = ma.fields.String(required=True, metadata={"description": "the kind of problem"})
    status = ma.fields.Integer(required=True, metadata={"description": "HTTP status"})
    detail = ma.fields.String(required=True, metadata={"description": "what happened, in one sentence"})
    code = ma.fields.String(required=True, metadata={"description": "stable word for programs"})
    errors = ma.fields.List(ma.fields.Nested(FieldErrorSchema), metadata={"description": "one entry per wrong field"})
    transient = ma.fields.Boolean(metadata={"description": "whether the same request may work later"})
    quota = ma.fields.Nested(ShortQuotaSchema, metadata={"description": "of `quota_exceeded`: what is short"})
    incident = ma.fields.String(metadata={"description": "where the gateway's log has the rest"})


class Schema(ma.Schema):
    """Base of our schemas: unknown fields are refused with the nearest known one."""

    class Meta:
        """Strict."""

        unknown = ma.RAISE

    def handle_error(self, error: ma.ValidationError, data: Any, *, many: bool, **kwargs: Any) -> None:
        """Says which field was probably meant."""
        if isinstance(error.messages, dict):
            unknown = self.error_messages["unknown"]
            known = [field.data_key or name for name, field in self.load_fields.items()]
            for name, messages in error.messages.items():
                if messages == [unknown]:
                    error.messages[name] = [f"unknown field{nearest(str(name), known)}"]

    def __deepcopy__(self, memo: object) -> Schema:
        """Itself: it is not changed once it is made, and flask-smorest copies it for every decorator of every view."""
        return self


class Parser(FlaskParser):
    """Reads requests strictly: JSON must say that it is JSON, be JSON, and name no field twice."""

    DEFAULT_UNKNOWN_BY_LOCATION: dict[str, str | None] = {}  # noqa: RUF012 - webargs declares it so

    def load_json(self, req: Request, schema: ma.Schema) -> Any:
        """The body. Without one it is an empty object, so that what is missing is named."""
        raw = raw_body(req)
        if not raw.strip():
            return {}
        if not req.is_json:
            found = req.mimetype or "nothing"
            raise UnsupportedMediaType(f"the body must be application/json; the Content-Type says {found}")
        return strict_json(raw)

    def handle_error(
        self, error: ma.ValidationError, req: Request, schema: ma.Schema, *, error_status_code: Any, error_headers: Any
    ) -> NoReturn:
        """All wrong fields as one error of ours."""
        messages = error.messages
        if isinstance(messages, dict) and len(messages) == 1:
            messages = next(iter(messages.values()))  # webargs puts the location on top
        raise InvalidSpec(list(flatten(messages))) from error


class LenientParser(Parser):
    """Reads a JSON body whatever its Content-Type says, and forms: for clients that nobody will change any more."""

    def load_json(self, req: Request, schema: ma.Schema) -> Any:
        """The body. Without one it is an empty object, so that what is missing is named."""
        found = json_or_form(req)
        return {} if found is None else found


def flatten(messages: Any, at: str = "") -> list[FieldError]:
    """Nested messages of marshmallow as one entry per field."""
    if isinstance(messages, Mapping):
        found = []
        for name, inner in messages.items():
            path = at if name == "_schema" else f"{at}.{name}" if at else str(name)
            found += flatten(inner, path)
        return found
    texts = messages if isinstance(messages, list) else [messages]
    return [FieldError(at or "body", _uncapitalised(str(text))) for text in texts]


def _uncapitalised(text: str) -> str:
    return text[:1].lower() + text[1:].removesuffix(".")


class Blueprint(flask_smorest.Blueprint):  # type: ignore[misc]
    """A blueprint whose operations have ids, and whose errors are documented."""

    ARGUMENTS_PARSER = Parser()
    #: Finds out who asks. A dialect whose clients send their token elsewhere has a blueprint with its own.
    authenticate: Callable[[Request], Principal] = staticmethod(authenticate)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._first_methods: dict[str, str] = {}
        # After the one of `arguments`, which sets the list of parameters.
        self._prepare_doc_cbks += [self._prepare_header_doc, self._prepare_operation_id]

    def add_url_rule(
        self,
        rule: str,
        endpoint: str | None = None,
        view_func: Callable[..., Any] | None = None,
        provide_automatic_options: bool | None = None,
        **options: Any,
    ) -> None:
        """Gives the operation an id that generated clients can use as a name."""
        assert view_func is not None
        operation = f"{self.name}_{view_func.__name__}"
        self._first_methods[operation] = (options.get("methods") or ["GET"])[0].lower()
        view_func = self.doc(operationId=operation)(view_func)
        super().add_url_rule(rule, endpoint, view_func, provide_automatic_options, **options)

    def route(self, rule: str, **options: Any) -> Callable[[View], View]:
        """Registers a view; as flask-smorest has it, with types."""
        return super().route(rule, **options)  # type: ignore[no-any-return]

    def arguments(self, schema: type[ma.Schema], **options: Any) -> Callable[[View], View]:
        """Reads a part of the request into the view's next argument; as flask-smorest has it, with types."""
        # One for all requests: making one takes longer than reading a request with it.
        return super().arguments(schema(), **options)  # type: ignore[no-any-return]

    def response(
        self, status_code: int, schema: type[ma.Schema] | ma.Schema | dict[str, Any] | None = None, **options: Any
    ) -> Callable[[View], View]:
        """Documents the answer; as flask-smorest has it, with types."""
        return super().response(status_code, schema, **options)  # type: ignore[no-any-return]

    def alt_response(self, status_code: int, response: str | None = None, **options: Any) -> Callable[[View], View]:
        """Documents another answer; as flask-smorest has it, with types."""
        return super().alt_response(status_code, response, **options)  # type: ignore[no-any-return]

    def doc(self, **members: Any) -> Callable[[View], View]:
        """Adds members to the operation's document; as flask-smorest has it, with types."""
        return super().doc(**members)  # type: ignore[no-any-return]

    def header(self, parameter: Mapping[str, Any]) -> Callable[[View], View]:
        """Documents a request header, beside the parameters that ``arguments`` documents.

        Args:
            parameter: ``name``, ``description`` and ``schema``.
        """

        def decorator(view: View) -> View:
            @wraps(view)
            def wrapper(*args: Any, **kwargs: Any) -> Any:
                return view(*args, **kwargs)

            known: dict[str, Any] = deepcopy(getattr(wrapper, "_apidoc", {}))
            known.setdefault("headers", []).append({"in": "header", **parameter})
            # Where flask-smorest keeps its documentation.
            setattr(wrapper, "_apidoc", known)  # noqa: B010
            return cast(View, wrapper)

        return decorator

    @staticmethod
    def _prepare_header_doc(doc: dict[str, Any], doc_info: dict[str, Any], **_: Any) -> dict[str, Any]:
        if headers := doc_info.get("headers"):
            doc.setdefault("parameters", []).extend(headers)
        return doc

    def _prepare_operation_id(self, doc: dict[str, Any], doc_info: dict[str, Any], *, method: str, **_: Any) -> Any:
        """Tells the methods of one view apart."""
        manual = doc_info["manual_doc"]
        if method != self._first_methods[manual["operationId"]]:
            manual["operationId"] += f"_{method}"
        return doc

    def login(self, view: View) -> View:
        """The route needs a token; the view gets the principal as its first argument."""

        @wraps(view)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            return view(self.authenticate(request), *args, **kwargs)

        documented = self.problems(401, 403, 429)(cast(View, wrapper))
        return self.doc(security=[{"token": []}])(documented)

    def problems(self, *statuses: int) -> Callable[[View], View]:
        """Documents the errors that a route answers with."""

        def decorator(view: View) -> View:
            # Where flask-smorest keeps its documentation. By `alt_response` each status would be one more call around
            # the view, at every request.
            known = getattr(view, "_apidoc", {})
            response = known.get("response", {})
            responses = response.get("responses", {})
            more = {status: [*responses.get(status, ()), http.HTTPStatus(status).name] for status in statuses}
            setattr(view, "_apidoc", {**known, "response": {**response, "responses": {**responses, **more}}})  # noqa: B010
            return view

        return decorator


class Api(flask_smorest.Api):  # type: ignore[misc]
    """An API whose documented errors are problems. Handlers are registered by ``server.errors``.

    Its routes are described when the document is first asked for: that takes longer than all else of a start.
    """

    ERROR_SCHEMA: type[ma.Schema] | dict[str, Any] = ProblemSchema
    ERROR_TYPE = PROBLEM_JSON

    def __init__(self, app: Flask) -> None:
        self._document: APISpec
        self._undescribed: list[Callable[[APISpec], None]] = []
        self._describing = threading.RLock()
        super().__init__(app)

    @property
    def spec(self) -> APISpec:
        """The document."""
        with self._describing:
            todo, self._undescribed = self._undescribed, []
            for describe in todo:
                describe(self._document)
            return self._document

    @spec.setter
    def spec(self, document: APISpec) -> None:
        self._document = document

    def register_blueprint(self, blp: flask_smorest.Blueprint, **options: Any) -> None:
        """Registers the routes of a blueprint."""
        name = options.get("name", blp.name)
        self._app.extensions["flask-smorest"]["blp_name_to_api"][name] = self
        self._app.register_blueprint(blp, **options)
        self._undescribed.append(partial(self._describe, blp, name))

    def _describe(self, blp: flask_smorest.Blueprint, name: str, document: APISpec) -> None:
        blp.register_views_in_doc(self, self._app, document, name=name, parameters=None)
        document.tag({"name": name, "description": blp.description})

    def _register_error_handlers(self) -> None:
        """Nothing: the application has its own."""

    def _register_pagination_header(self) -> None:
        """Nothing: pages carry their cursor in the body."""

    def _register_responses(self) -> None:
        for status in http.HTTPStatus:
            if status < 400:
                continue
            response: dict[str, Any] = {"description": status.phrase, "schema": self.ERROR_SCHEMA}
            prepare_response(response, self.spec, self.ERROR_TYPE)
            self.spec.components.response(status.name, response, lazy=True)
        default: dict[str, Any] = {"description": "Any other error", "schema": self.ERROR_SCHEMA}
        prepare_response(default, self.spec, self.ERROR_TYPE)
        self.spec.components.response("DEFAULT_ERROR", default, lazy=True)


def reply(data: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """JSON data as a response, as it is: schemas describe what goes out, but long lists are not walked again."""
    body = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return Response(body, status, dict(headers or {}), content_type="application/json")


def empty() -> Response:
    """The answer that has nothing to say."""
    response = Response(status=204)
    del response.headers["Content-Type"]
    return response
