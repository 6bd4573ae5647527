"""What the kit has to be told of a dialect, since every one is another API."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx


def bearer(token: str) -> Mapping[str, str]:
    """How most clients send a token."""
    return {"Authorization": f"Bearer {token}"}


def job_id_of(answer: httpx.Response) -> str:
    """The job's id in an answer like ``{"id": 17}``."""
    return str(answer.json()["id"])


def no_check(answer: httpx.Response) -> None:
    """Nothing that is the dialect's own is looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """Statuses of the dialect where they are not what HTTP would have.

    Args:
        unauthenticated: no token, or none that is good.
        hidden: a job that is not there, or is another's.
        unknown_path, wrong_method, too_large: as they say.
    """

    unauthenticated: int = 401
    hidden: int = 404
    unknown_path: int = 404
    wrong_method: int = 405
    too_large: int = 413


@dataclass(frozen=True, slots=True)
class Call:
    """One request.

    Args:
        method: of HTTP.
        path: below the dialect's root, with ``{job}`` where the id of a job goes.
        content: the body; ``None`` = there is none.
        headers: beside those that say who asks.
    """

    method: str
    path: str
    content: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class DialectFacts:
    """A dialect, as far as the kit has to know it.

    Args:
        name: of the dialect.
        protected: a request that needs a token, changes nothing, and is answered with 2xx to every user.
        submit: makes a job that is accepted (2xx) by a site whose scheduler takes everything. ``@USER@`` in its content
            stands for the user, ``@NUMBER@`` for a number that no other has.
        submitted: the job's foreign id in the answer to ``submit``.
        reporter: name of a program with the role ``api`` alone that sends ``submit`` in place of the users, where
            jobs are reported and not run; then no job of the gateway's own is looked for.
        read: requests about one job, ``{job}`` in their path, that change nothing.
        change: those that do; cancel, say.
        error: asserts that an answer has the dialect's error shape; it gets answers of all statuses from 400 on.
        refused: its statuses.
        credential: request headers that carry a token.
        open: requests that are answered with 2xx to anybody.
        openapi: where its document is; ``None`` = it has none.
        any_content_type: whether ``submit`` is understood whatever its Content-Type says.
        native_errors: whether its errors are those of the native API, so that they may look so.
        site: name of the site in the kit's configuration.
        settings: ``[dialects.NAME.settings]``.
        config: further tables of the configuration.
        users: names of two principals, and what the kit logs in as.
    """

    name: str
    protected: Call
    submit: Call
    submitted: Callable[[httpx.Response], str] = job_id_of
    reporter: str | None = None
    read: tuple[Call, ...]
    change: tuple[Call, ...] = ()
    error: Callable[[httpx.Response], None] = no_check
    refused: Refused = field(default_factory=Refused)
    credential: Callable[[str], Mapping[str, str]] = bearer
    open: tuple[Call, ...] = ()
    openapi: str | None = "/openapi.json"
    any_content_type: bool = True
    native_errors: bool = False
    site: str = "fake"
    settings: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    users: tuple[str, str] = ("ann", "bob")
