"""Who gets in, and to what."""

from __future__ import annotations

import base64
from dataclasses import replace

import httpx
import pytest

from hpcgate.model.query import JobFilter
from hpcgate.testing.dialects.server import ADMIN, DialectServer

#: Ids that no job has: unknown ones, and attempts to get at something else.
STRANGE_IDS = (
    "999999999",
    "no-such-job",
    "0",
    "-1",
    "99999999999999999999999999",
    "1.5",
    "%00",
    "%0a",
    "a%20b",
    "%27%20OR%201%3D1%20--",
    "%C3%A9%E2%98%83",
    "%FF",
    "..%2F..%2Fhealth%2Flive",
    "x" * 2000,
)


class AccessConformance:
    """Tokens, and whose job it is."""

    def test_without_a_token_nobody_gets_in(self, served: DialectServer) -> None:
        """Not to anything that the facts name."""
        facts = served.facts
        job = served.submit(facts.users[0])
        self.refused(served, served.ask_submit(None))
        for call in (facts.protected, *facts.read, *facts.change):
            self.refused(served, served.ask(call, job=job))

    @pytest.mark.parametrize(
        "token", ["x", "not.a.token", "a" * 20_000, base64.b64encode(b"junk" * 100).decode(), "Bearer", "0"]
    )
    def test_what_is_no_token_does_not_get_in(self, served: DialectServer, token: str) -> None:
        """However it looks."""
        self.refused(served, served.ask(served.facts.protected, token=token))

    def test_a_token_of_this_dialect_is_good(self, served: DialectServer) -> None:
        """And one of another is not."""
        facts = served.facts
        user = facts.users[0]
        issuer = served.issuer(dialects=(facts.name, "another"))
        own, _ = issuer.create_token(ADMIN, user, dialect=facts.name)
        assert served.ask(facts.protected, token=own).is_success
        foreign, _ = issuer.create_token(ADMIN, user, dialect="another")
        self.refused(served, served.ask(facts.protected, token=foreign))

    def test_an_expired_or_revoked_token_does_not_get_in(self, served: DialectServer) -> None:
        """From then on."""
        facts, identities = served.facts, served.gateway.identities
        expired, _ = served.issuer(ago_s=7200).create_token(ADMIN, facts.users[0], ttl_s=3600)
        self.refused(served, served.ask(facts.protected, token=expired))
        token, info = identities.create_token(ADMIN, facts.users[0])
        assert served.ask(facts.protected, token=token).is_success
        identities.revoke_token(ADMIN, info.id)
        self.refused(served, served.ask(facts.protected, token=token))

    def test_a_forged_token_does_not_get_in(self, served: DialectServer) -> None:
        """Neither one without a signature nor one with another's."""
        head, body, signature = served.tokens[served.facts.users[0]].split(".")
        none = base64.urlsafe_b64encode(b'{"alg":"none","typ":"JWT"}').rstrip(b"=").decode()
        turned = signature[:-6] + ("AAAAAA" if not signature.endswith("AAAAAA") else "BBBBBB")
        for token in (f"{none}.{body}.", f"{head}.{body}.", f"{head}.{body}.{turned}"):
            self.refused(served, served.ask(served.facts.protected, token=token))

    def test_a_locked_user_does_not_get_in(self, served: DialectServer) -> None:
        """With a token that was good before."""
        self.refused(served, served.ask(served.facts.protected, "locked"))

    def test_what_is_open_needs_no_token(self, served: DialectServer) -> None:
        """Only what the facts say."""
        for call in served.facts.open:
            answer = served.ask(call)
            assert answer.is_success, f"{call.path}: {answer.status_code} {answer.text}"

    def test_credentials_do_not_travel_in_the_clear(self, served: DialectServer) -> None:
        """A request that came over plain HTTP by an unknown proxy is refused, whatever its token."""
        answer = served.ask(served.facts.protected, served.facts.users[0], headers={"X-Forwarded-For": "192.0.2.7"})
        assert answer.status_code >= 400
        served.facts.error(answer)

    def test_the_job_of_another_is_not_there(self, served: DialectServer) -> None:
        """Neither to look at nor to change, and the answer does not tell it from one that never was."""
        facts = served.facts
        owner, other = facts.users
        job = served.submit(owner)
        for call in facts.read:
            assert served.ask(call, owner, job=job).is_success, f"{call.path}: the owner herself cannot"
        for call in (*facts.read, *facts.change):
            answer = served.ask(call, other, job=job)
            assert answer.status_code == facts.refused.hidden, f"{call.path}: {answer.status_code} {answer.text}"
            facts.error(answer)
        if facts.reporter is None:
            newest = served.gateway.jobs.list(ADMIN, JobFilter(), limit=1).items[0]
            assert not newest.canceling, "another could cancel it"
        assert served.ask(facts.read[0], owner, job=job).is_success, "another could remove it"

    def test_the_owner_may_change_her_job(self, served: DialectServer) -> None:
        """Else the test above would say nothing."""
        owner = served.facts.users[0]
        for call in served.facts.change:
            answer = served.ask(call, owner, job=served.submit(owner))
            assert answer.is_success, f"{call.method} {call.path}: {answer.status_code} {answer.text}"

    @pytest.mark.parametrize("job", STRANGE_IDS, ids=lambda job: job[:24])
    def test_an_id_that_no_job_has(self, served: DialectServer, job: str) -> None:
        """Is never a server error, and never anything else's."""
        for call in (*served.facts.read, *served.facts.change):
            answer = served.ask(call, served.facts.users[0], job=job)
            assert 400 <= answer.status_code < 500, f"{call.path}: {answer.status_code} {answer.text}"
            served.facts.error(answer)

    def test_nothing_secret_is_logged(self, served: DialectServer) -> None:
        """Neither tokens, good or bad, nor what comes in headers and queries."""
        facts = served.facts
        secret = "hunter2-in-a-query-or-header"  # noqa: S105
        served.ask(facts.protected, facts.users[0], headers={"X-Auth-Token": secret, "PROXY": secret})
        served.ask(facts.protected, token=secret)
        query = "&" if "?" in facts.protected.path else "?"
        served.ask(replace(facts.protected, path=f"{facts.protected.path}{query}token={secret}"), facts.users[0])
        text = "\n".join(served.log)
        assert f" {facts.name}" in text, "nothing was logged at all"
        assert secret not in text
        for token in served.tokens.values():
            for value in facts.credential(token).values():
                assert value.removeprefix("Bearer ") not in text
            assert token.rpartition(".")[2] not in text

    def refused(self, served: DialectServer, answer: httpx.Response) -> None:
        """Asserts that it is the answer to somebody who is not known."""
        assert answer.status_code == served.facts.refused.unauthenticated, f"{answer.status_code}: {answer.text}"
        served.facts.error(answer)
