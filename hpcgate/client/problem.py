"""Error answers of the server as the same exceptions that the library raises in-process."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from hpcgate import errors
from hpcgate.errors import FieldError, HpcgateError, InvalidSpec, SiteError

if TYPE_CHECKING:
    import httpx

#: For answers without a code of ours: a proxy's, or those of something that is no hpcgate server.
_BY_STATUS: Mapping[int, type[HpcgateError]] = {
    401: errors.Unauthenticated,
    403: errors.Forbidden,
    404: errors.NotFound,
    409: errors.Conflict,
}
_SHOWN_CHARS = 200


def error_of(response: httpx.Response) -> HpcgateError:
    """The exception that an answer that is no success stands for."""
    problem = _problem(response)
    if problem is None:
        return _foreign(response)
    message = str(problem.get("detail") or problem.get("title") or f"HTTP status {response.status_code}")
    return _build(str(problem.get("code", "error")), message, problem)


def error_from_wire(problem: Mapping[str, Any]) -> HpcgateError:
    """The exception that one failed item of a bulk answer stands for."""
    return _build(str(problem.get("code", "error")), str(problem.get("detail") or problem.get("title")), problem)


def may_pass(error: HpcgateError) -> bool:
    """Whether a stream that ended so is worth another try."""
    return error.code == "too_many_streams" or (isinstance(error, SiteError) and error.transient)


def not_json(response: httpx.Response) -> HpcgateError:
    """The error for a successful answer that is not what this API sends."""
    kind = response.headers.get("content-type", "no content type")
    return errors.TransportError(
        f"{_place(response)} answered with {kind} instead of JSON; is this the address of an hpcgate server?",
        transient=False,
    )


def _build(code: str, message: str, problem: Mapping[str, Any]) -> HpcgateError:
    kind = _by_code().get(code)
    if kind is InvalidSpec:
        return InvalidSpec(_fields(problem) or [FieldError("body", message)])
    if kind is None:
        error = HpcgateError(message)
        error.code = code
        return error
    if kind is errors.QuotaExceeded:
        return errors.QuotaExceeded(message, **_quota(problem))
    if issubclass(kind, SiteError):
        return kind(message, transient=bool(problem.get("transient", True)))
    return kind(message)


def _quota(problem: Mapping[str, Any]) -> dict[str, Any]:
    told = problem.get("quota")
    known = told if isinstance(told, Mapping) else {}
    words = {name: str(known.get(name, "")) for name in ("project", "quota")}
    return words | {name: int(known.get(name, 0)) for name in ("asked", "left")}


def _fields(problem: Mapping[str, Any]) -> list[FieldError]:
    entries = problem.get("errors")
    if not isinstance(entries, list):
        return []
    return [
        FieldError(str(entry.get("field", "body")), str(entry.get("message", "is wrong")))
        for entry in entries
        if isinstance(entry, Mapping)
    ]


def _by_code() -> dict[str, type[HpcgateError]]:
    return {
        kind.code: kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, HpcgateError)
    }


def _problem(response: httpx.Response) -> Mapping[str, Any] | None:
    if "json" not in response.headers.get("content-type", ""):
        return None
    try:
        body = response.json()
    except ValueError:
        return None
    return body if isinstance(body, Mapping) and "code" in body else None


def _foreign(response: httpx.Response) -> HpcgateError:
    text = " ".join(response.text.split())[:_SHOWN_CHARS]
    message = f"{_place(response)} answered {response.status_code} {response.reason_phrase}: {text or 'empty body'}"
    kind = _BY_STATUS.get(response.status_code)
    return kind(message) if kind else errors.TransportError(message, transient=response.status_code >= 500)


def _place(response: httpx.Response) -> str:
    url = response.request.url
    return f"{url.scheme}://{url.netloc.decode('ascii')}{url.path}"
