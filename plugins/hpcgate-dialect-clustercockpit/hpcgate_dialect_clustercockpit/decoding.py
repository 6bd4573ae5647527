"""Bodies, read as the API has always read them: as Go's ``encoding/json`` does where it is strict.

Keys match in any case, the last of equal ones counts, ``null`` is as if it were not there, a number in quotes is no
number, an unknown key is an error. The Content-Type is not looked at, and nothing behind the first JSON value is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, Final, NoReturn

import marshmallow as ma
from flask import Request
from marshmallow import fields, validate

from hpcgate.errors import InvalidSpec
from hpcgate.server.bodies import raw_body
from hpcgate.server.errors import MalformedBody
from hpcgate.server.smorest import Schema, flatten

MAX_TEXT_CHARS: Final = 255
_SPACE: Final = " \t\r\n"
#: ``\ud800``-like escapes; alone they make text that no UTF-8 file or database can hold.
_SURROGATE: Final = re.compile(r"\\u[dD][89a-fA-F]")


def read(request: Request, schema: ma.Schema) -> Any:
    """The body, checked.

    Raises:
        MalformedBody: it is no JSON, or there is none.
        InvalidSpec: it is of another shape; names field, value and what would be right.
    """
    return load(first_value(raw_body(request)), schema)


def read_texts(request: Request) -> list[str]:
    """The body as an array of texts.

    Raises:
        MalformedBody: it is no JSON, or there is none.
        InvalidSpec: it is of another shape.
    """
    data = first_value(raw_body(request))
    data = [] if data is None else data
    if not isinstance(data, list) or not all(isinstance(each, str) for each in data):
        raise InvalidSpec.of("body", "must be an array of texts")
    return data


def load(data: Any, schema: ma.Schema) -> Any:
    """JSON data, checked."""
    if schema.many:
        data = [] if data is None else data
        if not isinstance(data, list):
            raise InvalidSpec.of("body", f"must be an array, not {_kind(data)}")
    try:
        return schema.load({} if data is None else data)
    except ma.ValidationError as error:
        raise InvalidSpec(list(flatten(error.messages))) from error


def first_value(raw: bytes) -> Any:
    """The first JSON value of a text, whatever comes behind it.

    Raises:
        MalformedBody: it does not begin with one.
    """
    text = raw.decode("utf-8", "replace").lstrip(_SPACE)
    if not text:
        raise MalformedBody("parsing request body failed: EOF; a JSON value is needed")
    try:
        value, end = _DECODER.raw_decode(text)
        if _SURROGATE.search(text, 0, end):
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except RecursionError:
        raise MalformedBody("parsing request body failed: it is nested too deeply") from None
    except UnicodeEncodeError:
        raise MalformedBody("parsing request body failed: half of a surrogate pair is no text") from None
    except ValueError as error:
        raise MalformedBody(f"parsing request body failed: {error}") from None
    return value


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


_DECODER: Final = json.JSONDecoder(parse_constant=_no_constant)


def _kind(data: Any) -> str:
    return {dict: "an object", list: "an array", str: "a text", bool: "a truth value"}.get(type(data), "a number")


class Body(Schema):
    """Base of what clients send."""

    @cached_property
    def _names(self) -> Mapping[str, str]:
        """Keys as they are spelt, by themselves in lower case."""
        keys = [field.data_key or name for name, field in self.load_fields.items()]
        return {key.lower(): key for key in keys}

    @ma.pre_load
    def _fold(self, data: Any, **_: Any) -> Any:
        if data is None:
            return {}
        if not isinstance(data, Mapping):
            return data
        folded: dict[str, Any] = {}
        for key, value in data.items():
            name = self._names.get(key.lower())
            if name is None:
                folded[key] = value
            elif value is not None:
                folded[name] = value
        return folded


def _no_nul(text: str) -> None:
    if "\0" in text:
        raise ma.ValidationError("must not have a NUL character.")


def text(description: str, default: str = "", *more: Callable[[Any], Any], **options: Any) -> fields.String:
    """A short text."""
    checks: list[Callable[[Any], Any]] = [_no_nul, validate.Length(max=MAX_TEXT_CHARS), *more]
    return fields.String(load_default=default, validate=checks, metadata={"description": description}, **options)


def integer(description: str, default: int | None = 0, *, bits: int = 64, **options: Any) -> fields.Integer:
    """A whole number of Go."""
    most = 2 ** (bits - 1)
    least = options.pop("least", -most)
    checks = validate.Range(least, options.pop("most", most - 1))
    known = {"description": description}
    return fields.Integer(strict=True, load_default=default, validate=checks, metadata=known, **options)


class Real(fields.Float):
    """A number of Go: one in quotes is none."""

    def _deserialize(self, value: Any, *rest: Any, **options: Any) -> Any:
        if isinstance(value, (str, bool)):
            raise self.make_error("invalid", input=value)
        return super()._deserialize(value, *rest, **options)


class Numbers(fields.List[int]):
    """Whole numbers; an item that is ``null`` is 0."""

    def __init__(self, **options: Any) -> None:
        super().__init__(fields.Integer(strict=True, validate=validate.Range(0, 2**31 - 1)), **options)

    def _deserialize(self, value: Any, *rest: Any, **options: Any) -> list[Any]:
        if isinstance(value, list):
            value = [0 if each is None else each for each in value]
        return super()._deserialize(value, *rest, **options)


class TextMap(fields.Dict):
    """Texts by texts; one that is ``null`` is empty."""

    def __init__(self, **options: Any) -> None:
        super().__init__(fields.String(validate=_no_nul), fields.String(), **options)

    def _deserialize(self, value: Any, *rest: Any, **options: Any) -> Any:
        if isinstance(value, Mapping):
            value = {key: "" if each is None else each for key, each in value.items()}
        return super()._deserialize(value, *rest, **options)  # type: ignore[no-untyped-call]
