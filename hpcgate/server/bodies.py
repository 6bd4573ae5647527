"""Request bodies: with their limit, and as JSON whatever a client says that they are."""

from __future__ import annotations

import json
import math
import re
from typing import Any, Final, NoReturn

from flask import Request
from werkzeug.exceptions import RequestEntityTooLarge

from hpcgate.server.errors import MalformedBody

#: ``\ud800``-like escapes; alone they make text that no UTF-8 file or database can hold.
_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F]")
_FORM: Final = "application/x-www-form-urlencoded"


def raw_body(req: Request) -> bytes:
    """The body as it came.

    Raises:
        RequestEntityTooLarge: it is longer than the application takes.
    """
    raw = req.get_data(cache=True, parse_form_data=False)
    if req.content_length is None and len(raw) >= (req.max_content_length or math.inf) and _goes_on(req):
        raise RequestEntityTooLarge  # a body in chunks is cut at the limit, not refused
    return raw


def json_body(req: Request) -> Any:
    """The body as JSON, whatever its Content-Type says; ``None`` where there is none.

    Raises:
        MalformedBody: it is no JSON; see ``strict_json``.
        RequestEntityTooLarge: it is longer than the application takes.
    """
    raw = raw_body(req)
    return strict_json(raw) if raw.strip() else None


def json_or_form(req: Request) -> Any:
    """The body as JSON, or as an object of texts where it is a form that says so; ``None`` where there is none.

    Many clients (curl -d) say that their JSON is a form: what begins with a brace is taken for JSON all the same.

    Raises:
        MalformedBody: it is neither.
        RequestEntityTooLarge: it is longer than the application takes.
    """
    raw = raw_body(req)
    if req.mimetype == _FORM and not raw.lstrip().startswith((b"{", b"[")):
        return req.form.to_dict() or None
    return strict_json(raw) if raw.strip() else None


def _goes_on(req: Request) -> bool:
    """Whether there is more of a body than was read of it."""
    return bool(req.environ["wsgi.input"].read(1))


def strict_json(raw: bytes) -> Any:
    """JSON text to data.

    Raises:
        MalformedBody: it is no JSON (NaN is none), not UTF-8, names a field twice, or is nested absurdly deep.
    """
    try:
        text = raw.decode("utf-8")
        data = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
        if _SURROGATE.search(raw):
            json.dumps(data, ensure_ascii=False).encode("utf-8")
    except UnicodeError:
        raise MalformedBody("the body is not valid UTF-8 text") from None
    except RecursionError:
        raise MalformedBody("the body is nested too deeply") from None
    except ValueError as error:
        raise MalformedBody(f"the body is no JSON: {error}") from None
    return data


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the field {twice!r} is given twice")
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")
