"""Mail on what happens to jobs, through a real SMTP server."""

from __future__ import annotations

import email
import email.policy
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import trustme
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult
from service.pushing import OPERATOR, submit, working
from support import ANN, eventually

from hpcgate.config import config_from
from hpcgate.errors import ConfigError, InvalidSpec
from hpcgate.gateway import Gateway
from hpcgate.model.job import Job
from hpcgate.model.query import JobFilter
from hpcgate.model.spec import JobSpec, Notification
from hpcgate.model.state import JobState, Reason
from hpcgate.model.webhook import DeliveryState, Mail
from hpcgate.service import mailer
from hpcgate.service.letters import letter

_EVERY = JobFilter()
FINISHED = (Notification(event="job.finished"),)


class Postbox(Controller):
    """A mail server on a free port that keeps what it takes; ``answers`` are given first."""

    def __init__(self, **more: Any) -> None:
        self.mails: list[Any] = []
        self.answers: list[str] = []
        super().__init__(self, hostname="127.0.0.1", port=0, **more)

    def _trigger_server(self) -> None:
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        if self.answers:
            return self.answers.pop(0)
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        self.mails.append((envelope.rcpt_tos, message, session.authenticated, session.ssl is not None))
        return "250 OK"


@pytest.fixture
def postbox() -> Iterator[Callable[..., Postbox]]:
    with ExitStack() as stack:

        def start(**more: Any) -> Postbox:
            found = Postbox(**more)
            found.start()
            stack.callback(found.stop, no_assert=True)
            return found

        yield start


@pytest.fixture
def open_gateway(make_gateway, monkeypatch) -> Callable[..., Gateway]:
    monkeypatch.setattr(mailer, "FIRST_PAUSE_S", 0.01)

    def build(server: Postbox, **table: Any) -> Gateway:
        mail = {"host": "127.0.0.1", "port": server.port, "tls": "none", "sender": "hpcgate@example.org", **table}
        gateway = make_gateway(mail=mail, gateway={"public_url": "https://gate.example.org/"})
        gateway.identities.add_user(OPERATOR, "ann", email="ann@example.org")
        return gateway

    return build


def run(gateway, fake, state=JobState.COMPLETED, more=None, **fields):
    job = submit(gateway, **{"notifications": FINISHED, **fields})
    eventually(lambda: gateway.jobs.get(ANN, job.id).state is JobState.QUEUED)
    fake.set_state(job, state, **(more or {}))
    eventually(lambda: gateway.jobs.get(ANN, job.id).state.final)
    return job


def test_the_end_of_a_job_is_told_once_with_what_became_of_it(open_gateway, postbox, fake, database_url):
    there = postbox()
    gateway = open_gateway(there)
    with working(gateway):
        job = run(gateway, fake, JobState.FAILED, {"exit_code": 3, "reason": Reason.EXIT_NONZERO}, name="weather")
        run(gateway, fake, notifications=())
        eventually(lambda: there.mails)
        eventually(lambda: not gateway.webhooks.figures().behind)
    ((to, message, _, _),) = there.mails
    assert to == ["ann@example.org"]
    assert message["To"] == "ann@example.org"
    assert message["Subject"] == f"Job {job.id} has failed: weather"
    assert message["Auto-Submitted"] == "auto-generated"
    text = message.get_content()
    for part in ("FAILED", "EXIT_NONZERO", "exit code: 3", "its stderr usually says why", "fake"):
        assert part in text
    assert f"https://gate.example.org/api/v1/jobs/{job.id}" in text
    assert gateway.webhooks.figures().channels["mail"].delivered == 1


@pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")
@pytest.mark.parametrize("tls", ["starttls", "tls"])
def test_the_server_is_reached_by_tls_and_password(open_gateway, postbox, fake, tmp_path, tls):
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    (tmp_path / "password").write_text("open sesame\n")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)

    def check(server, session, envelope, mechanism, data):
        return AuthResult(success=(data.login, data.password) == (b"gate", b"open sesame"))

    how = {"ssl_context": context} if tls == "tls" else {"tls_context": context, "require_starttls": True}
    # With TLS from the first byte the library does not know that there is any.
    there = postbox(authenticator=check, auth_required=True, auth_require_tls=tls == "starttls", **how)
    files = {"password_file": str(tmp_path / "password"), "ca_file": str(tmp_path / "ca.pem")}
    gateway = open_gateway(there, tls=tls, user="gate", **files)
    with working(gateway):
        run(gateway, fake)
        eventually(lambda: there.mails)
    assert there.mails[0][2]


def test_a_server_that_is_busy_is_tried_again_and_one_that_refuses_is_not(open_gateway, postbox, fake):
    there = postbox()
    gateway = open_gateway(there)
    there.answers = ["451 later", "452 later", "554 never"]
    with working(gateway):
        run(gateway, fake)
        eventually(lambda: gateway.webhooks.figures().channels["mail"].dead == 1)
        assert gateway.webhooks.figures().channels["mail"].failed == 2
        run(gateway, fake)
        eventually(lambda: there.mails)
    assert len(there.mails) == 1


def test_a_server_that_is_away_is_waited_for(open_gateway, fake):
    there, away = Postbox(), Postbox()
    there.start()
    away.port = there.port
    there.stop()
    gateway = open_gateway(away)
    with working(gateway):
        run(gateway, fake)
        eventually(lambda: gateway.webhooks.figures().channels["mail"].failed >= 2)
        away.start()
        try:
            eventually(lambda: away.mails)
        finally:
            away.stop()


def test_mail_goes_to_the_address_of_then_and_to_nobody_who_is_locked(open_gateway, postbox, fake):
    there = postbox()
    gateway = open_gateway(there)
    with working(gateway):
        there.answers = ["451 later"] * 3
        run(gateway, fake)
        gateway.identities.update_user(OPERATOR, "ann", email="new@example.org")
        eventually(lambda: there.mails)
        gateway.identities.update_user(OPERATOR, "ann", locked=True)
        job = submit_as_locked(gateway)
        eventually(lambda: gateway.webhooks.figures().channels["mail"].dead == 1)
    assert there.mails[0][0] == ["new@example.org"]
    assert len(there.mails) == 1
    assert job


def submit_as_locked(gateway) -> int:
    """A mail that is on its way when its owner is locked."""
    (job,) = gateway.jobs.list(ANN, _EVERY).items
    now = job.updated_at
    gateway.store.mail.add(
        [Mail(seq=10_000, job_id=job.id, owner="ann", status=JobState.COMPLETED, created_at=now, due_at=0.0)]
    )
    return job.id


def test_there_are_only_so_many_in_an_hour_and_the_last_one_says_so(open_gateway, postbox, fake):
    there = postbox()
    gateway = open_gateway(there, max_per_hour=2)
    with working(gateway):
        for _ in range(3):
            run(gateway, fake)
        eventually(lambda: gateway.webhooks.figures().channels["mail"].dead == 1)
    texts = [message.get_content() for _, message, _, _ in there.mails]
    assert ["last mail for now" in text for text in texts] == [False, True]


@pytest.mark.parametrize(
    ("notices", "said"),
    [
        ((Notification(event="job.finishd"),), "job.finished"),
        ((Notification(event="job.finished", channel="sms"),), "must be email"),
    ],
)
def test_what_would_not_be_sent_is_refused_at_submit(open_gateway, postbox, notices, said):
    with pytest.raises(InvalidSpec, match=said):
        submit(open_gateway(postbox()), notifications=notices)


def test_without_a_server_or_an_address_mail_is_refused_at_submit(open_gateway, make_gateway, postbox):
    with pytest.raises(InvalidSpec, match="sends no mail"):
        submit(make_gateway(), notifications=FINISHED)
    gateway = open_gateway(postbox())
    gateway.identities.update_user(OPERATOR, "ann", email=None)
    with pytest.raises(InvalidSpec, match="has no e-mail address"):
        submit(gateway, notifications=FINISHED)


@pytest.mark.parametrize("name", ["x\r\nBcc: eve@example.org", "a\u2028b\u202ec", "ünï " * 100, "=?utf-8?q?=0ABcc:e?="])
def test_no_name_of_a_job_makes_a_header(name):
    mail = Mail(seq=7, job_id=1, owner="ann", status=JobState.FAILED, created_at=0.0, due_at=0.0)
    spec = JobSpec(command="true")
    object.__setattr__(spec, "name", name)  # such a name is refused already
    job = Job(id=1, key="KEY", owner="ann", site="s", spec=spec, state=JobState.FAILED, created_at=0.0, updated_at=0.0)
    sent = letter(mail, job, sender="gate@example.org", to="ann@example.org", public_url=None, last=False).as_bytes()
    back = email.message_from_bytes(sent, policy=email.policy.default)
    assert set(back.keys()) <= {
        "From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "Content-Type", "Content-Transfer-Encoding",
        "MIME-Version",
    }  # fmt: skip
    assert back["Bcc"] is None
    assert b"\r\nBcc" not in sent
    assert len(back["Subject"]) < 100


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"tls": "ssl"}, "starttls, tls, none"),
        ({"sender": "nobody"}, "no address"),
        ({"user": "x"}, "password_file"),
        ({"user": "x", "password_file": "/x", "tls": "none"}, "in the clear"),
        ({"max_per_hour": 0}, "more than 0"),
    ],
)
def test_a_table_that_is_wrong_is_told(tmp_path, table, said):
    mail = {"host": "mail.example.org", "sender": "a@example.org", **table}
    with pytest.raises(ConfigError, match=said):
        config_from({"mail": mail}, home=tmp_path)


def test_a_password_file_that_is_not_there_is_told_when_the_worker_starts(open_gateway, postbox, tmp_path):
    gateway = open_gateway(postbox(), user="x", password_file=str(tmp_path / "none"))
    with pytest.raises(ConfigError, match="password_file"):
        gateway.worker()


def test_old_mail_is_forgotten(open_gateway, postbox, fake):
    gateway = open_gateway(postbox())
    done = Mail(seq=1, job_id=1, owner="ann", status=JobState.FAILED, created_at=0.0, due_at=0.0, ended_at=5.0)
    gateway.store.mail.add([done, *[]])
    gateway.store.mail.record(done)
    assert done.state is DeliveryState.WAITING
    assert gateway.store.mail.prune(5.0) == 0
    assert gateway.store.mail.prune(6.0) == 1
