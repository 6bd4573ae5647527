"""What a submit brings: the payload (a header, or a part of the body) and the file (the body, or a part of it)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from flask import Request
from werkzeug.datastructures import FileStorage
from werkzeug.http import parse_options_header

from hpcgate.errors import InvalidSpec
from hpcgate.server.bodies import raw_body, strict_json
from hpcgate.server.errors import MalformedBody

PAYLOAD: Final = "payload"
#: What a file is called that came without a name.
UNNAMED: Final = "input.zip"

#: Clients write names as they are, without quotes also where the standard wants them.
_FILENAME: Final = re.compile(r';\s*filename\s*=\s*("[^"]*"|[^;]*)', re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class File:
    """The file that came with a job."""

    name: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Upload:
    """A submit, as far as it can be read without knowing where it goes.

    Args:
        payload: JSON data.
        file: ``None`` = none was announced, and none came.
    """

    payload: Mapping[str, Any]
    file: File | None


def read_upload(request: Request) -> Upload:
    """Reads a submit, raw or multipart.

    Raises:
        InvalidSpec: payload or file are missing or malformed.
        RequestEntityTooLarge: the body is longer than the dialect takes.
    """
    body = raw_body(request)  # holds bodies in chunks to the limit as well; the parts are read from what it keeps
    announced = _announced(request)
    if request.mimetype != "multipart/form-data":
        return Upload(_payload(_header(request)), _file(announced, None, body))
    if body and not (request.files or request.form):
        raise InvalidSpec.of("file", "the form has no part that can be read; is its boundary right?")
    part = next((each for name, each in request.files.items(multi=True) if name.lower() != PAYLOAD), None)
    text = _header(request) or _payload_part(request)
    content = b"" if part is None else part.stream.read()
    return Upload(_payload(text), _file(announced, None if part is None else part.filename, content))


# --- the payload


def _header(request: Request) -> bytes | None:
    text = request.headers.get(PAYLOAD)
    # WSGI gives every byte of a header as one character.
    return None if text is None or not text.strip() else text.encode("latin-1")


def _payload_part(request: Request) -> bytes | None:
    """A field of the form, or a part with a Content-Type of its own."""
    for name, text in request.form.items(multi=True):
        if name.lower() == PAYLOAD:
            return text.encode()
    parts: list[FileStorage] = [each for name, each in request.files.items(multi=True) if name.lower() == PAYLOAD]
    return parts[0].stream.read() if parts else None


def _payload(raw: bytes | None) -> Mapping[str, Any]:
    if raw is None:
        raise InvalidSpec.of(
            "Payload", 'is required: send a header, or a part of the form, with JSON such as {"runtime": 1}'
        )
    try:
        data = strict_json(_as_utf8(raw))
    except MalformedBody as error:
        raise InvalidSpec.of("Payload", error.message.replace("the body", "it", 1)) from None
    if not isinstance(data, dict):
        raise InvalidSpec.of("Payload", "must be a JSON object")
    return data


def _as_utf8(raw: bytes) -> bytes:
    """Many clients send headers as Latin-1."""
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1").encode()
    return raw


# --- the file


def _announced(request: Request) -> str | None:
    """The name in the request's Content-Disposition; ``None`` where it announces no file."""
    header = request.headers.get("Content-Disposition", "")
    if "filename*" in header.lower():
        return parse_options_header(header)[1].get("filename")
    plain = _FILENAME.search(header)
    return None if plain is None else _recoded(plain.group(1).strip().strip('"'))


def _recoded(name: str) -> str:
    try:
        return name.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return name


def _file(announced: str | None, named: str | None, content: bytes) -> File | None:
    if not content:
        if announced is None and named is None:
            return None
        raise InvalidSpec.of("file", f"{announced or named!r} was announced, but is missing or empty")
    return File(_safe_name(announced or named or UNNAMED), content)


def _safe_name(name: str) -> str:
    """The last step of a name: some clients send the whole path, of their kind of system."""
    last = re.split(r"[/\\]", name)[-1].strip()
    if last in ("", ".", "..") or not last.isprintable():
        raise InvalidSpec.of("file", f"{name!r} is no name of a file")
    return last
