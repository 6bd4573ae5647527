"""What is said when something goes wrong: always in the dialect's own shape, and never more than is good."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import httpx
import pytest

from hpcgate import errors
from hpcgate.errors import HpcgateError
from hpcgate.testing.dialects.facts import Call
from hpcgate.testing.dialects.server import MAX_BODY_BYTES, DialectServer

#: Every kind of failure that the services know, and one that nobody foresaw.
FAILURES: dict[str, Callable[[], Exception]] = {
    "unexpected": lambda: ZeroDivisionError("the-inside-of-the-gateway"),
    "internal": lambda: HpcgateError("the-inside-of-the-gateway"),
    "unauthenticated": lambda: errors.Unauthenticated("no"),
    "forbidden": lambda: errors.Forbidden("no"),
    "not found": lambda: errors.NotFound("no"),
    "conflict": lambda: errors.Conflict("no"),
    "rejected": lambda: errors.JobRejected("no"),
    "invalid": lambda: errors.InvalidSpec.of("a.field", "is wrong"),
    "too many tries": lambda: errors.TooManyTries("no", retry_after_s=7),
    "not supported": lambda: errors.NotSupported("no"),
    "site": lambda: errors.SiteError("no", transient=True),
    "site time-out": lambda: errors.CommandTimeout("no", transient=True),
    "database": lambda: errors.DatabaseUnavailable("no"),
}
#: What an answer of another application, framework or language looks like.
FOREIGN = ("Traceback (most recent", "<!doctype html", "<html", "werkzeug", "A server error occurred")
NATIVE = ("application/problem+json", "urn:hpcgate:")


class ErrorConformance:
    """The shape of errors."""

    @pytest.mark.parametrize("failure", FAILURES)
    def test_every_failure_has_the_dialects_shape(
        self, served: DialectServer, failure: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Whatever a service raises in the middle of a request."""

        def fail(*args: object, **kwargs: object) -> None:
            failed = FAILURES[failure]()
            raise failed

        monkeypatch.setattr(served.gateway.identities, "authenticate", fail)
        answer = served.ask(served.facts.protected, served.facts.users[0])
        assert answer.status_code >= 400
        self.in_shape(served, answer)
        assert "the-inside-of-the-gateway" not in answer.text

    @pytest.mark.parametrize("path", ["/no/such/path", "/..%2f", "/%00", "/%FF", "/a%0ab", "/" + "x" * 4000])
    def test_an_unknown_path(self, served: DialectServer, path: str) -> None:
        """Below the prefix and at the dialect's host alike."""
        at_host = {"Host": f"{served.facts.name}.example.org"}
        for base, headers in ((served.base, {}), (served.root, at_host)):
            for method in ("GET", "POST"):
                answer = served.ask(Call(method, path), served.facts.users[0], base=base, headers=headers)
                assert answer.status_code == served.facts.refused.unknown_path, f"{method}: {answer.status_code}"
                self.in_shape(served, answer)

    def test_a_method_that_does_not_go_with_the_path(self, served: DialectServer) -> None:
        """Is told so."""
        answer = served.ask(replace(served.facts.protected, method="TRACE"), served.facts.users[0])
        assert answer.status_code == served.facts.refused.wrong_method
        self.in_shape(served, answer)

    def test_a_body_that_is_too_large(self, served: DialectServer) -> None:
        """Is not read to its end."""
        answer = served.ask_submit(served.facts.users[0], content=b'"' + b"x" * MAX_BODY_BYTES + b'"')
        assert answer.status_code == served.facts.refused.too_large, f"{answer.status_code}: {answer.text}"
        self.in_shape(served, answer)

    @pytest.mark.parametrize(
        "content",
        [b"", b"{", b"null", b"[]", b"7", b'"text"', b"{}", b"\xff\xfe", b'{"a": NaN}', b"[" * 5000, b'{"\\ud800": 1}'],
        ids=lambda content: repr(content[:16]),
    )
    def test_a_body_that_nobody_can_mean(self, served: DialectServer, content: bytes) -> None:
        """Is the client's fault, and is said to be."""
        answer = served.ask_submit(served.facts.users[0], content=content)
        assert answer.status_code < 500, f"{answer.status_code}: {answer.text}"
        if not answer.is_success:
            self.in_shape(served, answer)

    @pytest.mark.parametrize("host", ["a b", "[", "x:y:z", "\xe9.example.org"])
    def test_a_host_that_is_none(self, served: DialectServer, host: str) -> None:
        """Does no harm: it is found out before the dialect is asked."""
        answer = served.ask(served.facts.protected, served.facts.users[0], headers={"Host": host.encode("latin-1")})  # type: ignore[dict-item]
        if not answer.is_success:
            self.in_shape(served, answer)

    def in_shape(self, served: DialectServer, answer: httpx.Response) -> None:
        """Asserts that an error is the dialect's own, and tells nothing of the inside."""
        seen = f"{answer.headers.get('Content-Type')}\n{answer.text}"
        for mark in FOREIGN if served.facts.native_errors else (*FOREIGN, *NATIVE):
            assert mark.lower() not in seen.lower(), f"{mark!r} in {answer.status_code}: {seen}"
        served.facts.error(answer)
