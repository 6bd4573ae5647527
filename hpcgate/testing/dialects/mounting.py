"""Where a dialect is seen, and what stays the same there."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from urllib.parse import urljoin

import pytest

from hpcgate.testing.dialects.facts import Call
from hpcgate.testing.dialects.server import DialectServer

AT_ONCE = 12


class MountingConformance:
    """Prefix and hosts, slashes, methods, document, and many requests at the same time."""

    def test_it_is_seen_below_its_prefix(self, served: DialectServer) -> None:
        """By everybody who may."""
        for user in served.facts.users:
            answer = served.ask(served.facts.protected, user)
            assert answer.is_success, f"{answer.status_code}: {answer.text}"
            assert answer.headers["X-Request-ID"]
            assert answer.headers["X-Content-Type-Options"] == "nosniff"

    @pytest.mark.parametrize("host", ["{}.example.org", "{}.example.org:8080", "{}.EXAMPLE.org", "{}.example.com:8443"])
    def test_its_hosts_see_it_at_the_root(self, served: DialectServer, host: str) -> None:
        """With and without port, and nothing of the native API."""
        at_root = {"base": served.root, "headers": {"Host": host.format(served.facts.name)}}
        answer = served.ask(served.facts.protected, served.facts.users[0], **at_root)  # type: ignore[arg-type]
        assert answer.is_success, f"{answer.status_code}: {answer.text}"
        for path in ("/health/live", "/api/v1/me", "/metrics"):
            native = served.ask(Call("GET", path), served.facts.users[0], **at_root)  # type: ignore[arg-type]
            assert '"status": "ok"' not in native.text
            assert "hpcgate_" not in native.text
            assert '"roles"' not in native.text

    @pytest.mark.parametrize("host", ["{}.example.com", "not-{}.example.org", "localhost"])
    def test_other_hosts_see_the_native_api(self, served: DialectServer, host: str) -> None:
        """Also where a name only resembles one of the dialect's."""
        headers = {"Host": host.format(served.facts.name)}
        answer = served.ask(Call("GET", "/health/live"), base=served.root, headers=headers)
        assert answer.json() == {"status": "ok"}

    def test_no_slash_too_many_or_too_few_is_a_redirect(self, served: DialectServer) -> None:
        """A redirect turns the POST of many clients into a GET."""
        user = served.facts.users[0]
        for call in (served.facts.protected, served.facts.submit):
            bare, _, query = call.path.partition("?")
            bare = bare.rstrip("/")
            for path in (bare, f"{bare}/", f"/{bare}"):
                answer = served.ask(replace(call, path=f"{path}?{query}" if query else path), user)
                assert not answer.is_redirect, f"{path} answers {answer.status_code}"

    def test_head_is_get_without_a_body(self, served: DialectServer) -> None:
        """With the same status."""
        if served.facts.protected.method != "GET":
            pytest.skip("the protected request is no GET")
        answer = served.ask(replace(served.facts.protected, method="HEAD"), served.facts.users[0])
        assert answer.is_success
        assert answer.content == b""

    def test_options_tells_the_methods(self, served: DialectServer) -> None:
        """Without a token, since a browser sends none with its question."""
        answer = served.ask(replace(served.facts.protected, method="OPTIONS"))
        assert answer.status_code in (200, 204)
        assert served.facts.protected.method in answer.headers.get("Allow", served.facts.protected.method)

    def test_its_document_is_valid_and_names_where_it_is(self, served: DialectServer) -> None:
        """At each place where it is mounted."""
        path = served.facts.openapi
        if path is None:
            pytest.skip("it has no document")
        validator = pytest.importorskip("openapi_spec_validator", reason="pip install 'hpcgate[testing]'")
        at_host = {"Host": f"{served.facts.name}.example.org"}
        for base, headers in ((served.base, {}), (served.root, at_host)):
            answer = served.ask(Call("GET", path), base=base, headers=headers)
            assert answer.status_code == 200
            document = answer.json()
            validator.validate(document)
            url = urljoin(base + path, document["servers"][0]["url"]).rstrip("/")
            assert url == base, f"its servers say {url}"
            assert document["paths"], "it documents nothing"
            for documented in document["paths"]:
                assert "api/v1/me" not in documented, "the native API stands in it"

    def test_requests_at_the_same_time_do_not_mix(self, served: DialectServer) -> None:
        """Each user sees the answers to her own requests, and each submit makes a job of its own."""
        facts = served.facts
        users = [facts.users[number % 2] for number in range(AT_ONCE)]
        with ThreadPoolExecutor(AT_ONCE) as pool:
            jobs = list(pool.map(served.submit, users))
            seen = list(pool.map(lambda user, job: served.ask(facts.read[0], user, job=job), users, jobs))
        assert len(set(jobs)) == AT_ONCE
        assert [answer.status_code for answer in seen if not answer.is_success] == []

    def test_a_body_is_read_whatever_its_content_type_says(self, served: DialectServer) -> None:
        """Unless the dialect is strict about it."""
        if not served.facts.any_content_type:
            pytest.skip("it looks at the Content-Type")
        for kind in ("application/json", "text/plain", "application/x-www-form-urlencoded", ""):
            named = {name: value for name, value in served.facts.submit.headers.items() if name != "Content-Type"}
            headers = {**named, **({"Content-Type": kind} if kind else {})}
            answer = served.ask_submit(served.facts.users[0], headers=headers)
            assert answer.is_success, f"{kind!r}: {answer.status_code} {answer.text}"
