"""Request bodies to ``JobRequest``: one strict reading for a single job, a bulk of ten thousand, and a dry run.

The schemas beside this file describe what is accepted (a test holds the two together); the reading itself is the
codec's, which knows every rule of the model and is fast enough for bulks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from hpcgate.errors import FieldError, InvalidSpec
from hpcgate.model.codec import decode_spec
from hpcgate.model.spec import JobSpec
from hpcgate.service.admission import JobRequest

#: What stands in for a wrong field while the rest is looked at, so that no error is about its absence.
_STAND_IN: Final[Mapping[str, Any]] = {"script": "#!/bin/sh\n", "command": "true"}
_MAX_DEPTH: Final = 3


def read_request(body: object) -> JobRequest:
    """A job request from JSON data.

    Raises:
        InvalidSpec: with every wrong field, not just the first ones found.
    """
    if not isinstance(body, Mapping):
        raise InvalidSpec.of("body", "must be an object: the fields of the job, and its site")
    fields = dict(body)
    site = fields.pop("site", None)
    errors = _site_errors(site)
    try:
        spec = decode_spec(fields)
    except InvalidSpec as error:
        raise InvalidSpec([*errors, *_all_errors(fields, error)]) from error
    if errors:
        raise InvalidSpec(errors)
    return JobRequest(spec=spec, site=site)


def read_each(bodies: list[object]) -> list[JobRequest | InvalidSpec]:
    """Requests of a bulk; a wrong one is an ``InvalidSpec`` in its place."""
    return [_request_or_error(body) for body in bodies]


def _request_or_error(body: object) -> JobRequest | InvalidSpec:
    try:
        return read_request(body)
    except InvalidSpec as error:
        return error


def _site_errors(site: object) -> list[FieldError]:
    if site is None or (isinstance(site, str) and site):
        return []
    return [FieldError("site", "must be the name of a site, as text")]


def _all_errors(fields: dict[str, Any], first: InvalidSpec, depth: int = 0) -> list[FieldError]:
    """The errors found, and those that come to light when the wrong fields are out of the way."""
    errors = list(first.errors)
    wrong = {error.field.partition(".")[0] for error in errors}
    rest = {name: value for name, value in fields.items() if name not in wrong}
    rest.update({name: _STAND_IN[name] for name in wrong & _STAND_IN.keys() & fields.keys()})
    if depth == _MAX_DEPTH or rest == fields:
        return errors
    if not rest.keys() & {"script", "command", "tasks", "roles"}:
        rest["command"] = _STAND_IN["command"]
    try:
        decode_spec(rest)
    except InvalidSpec as error:
        seen = set(errors)
        errors += [each for each in _all_errors(rest, error, depth + 1) if each not in seen]
    return errors


def spec_fields() -> tuple[str, ...]:
    """The fields of a job, for documents and tests."""
    return tuple(JobSpec.__dataclass_fields__)
