"""Sends mail through the site's SMTP server."""

from __future__ import annotations

import logging
import math
import smtplib
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from email.message import EmailMessage
from pathlib import Path
from typing import TYPE_CHECKING, Final

from hpcgate.config import MailTable
from hpcgate.errors import ConfigError, NotFound
from hpcgate.model.webhook import DeliveryState, Mail
from hpcgate.service.backoff import pause_s
from hpcgate.service.duty import Part
from hpcgate.service.letters import letter, one_line

if TYPE_CHECKING:
    from hpcgate.store.database import Store

_log = logging.getLogger(__name__)

FIRST_PAUSE_S: Final = 30.0
MAX_PAUSE_S: Final = 3600.0
_HOUR_S: Final = 3600.0
_BATCH: Final = 50
_MAX_ERROR_CHARS: Final = 200


class RefusedForGood(Exception):
    """The server will not take this mail, however often it is tried."""


class Mailer(Part):
    """Sends what is due, one mail after the other.

    Args:
        store: where mails are.
        address: where a user's mail goes; ``None`` = nowhere.
        table: the ``[mail]`` table.
        public_url: of the server, for links.
        clock: epoch seconds.

    Raises:
        ConfigError: a file that the table names cannot be read.
    """

    def __init__(
        self,
        store: Store,
        address: Callable[[str], str | None],
        table: MailTable,
        public_url: str | None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__()
        self._store = store
        self._address = address
        self._table = table
        self._public_url = public_url
        self._clock = clock
        self._server = _Server(table)

    def pending(self) -> bool:
        """Whether a mail is due."""
        return bool(self._store.mail.due(self._clock(), 1))

    def next_due(self) -> float:
        """Seconds until a mail is due."""
        now = self._clock()
        return (self._store.mail.next_due(now) or math.inf) - now

    def step(self) -> float:
        """Sends what is due; seconds until something is due again."""
        try:
            mails = self._store.mail.due(self._clock(), _BATCH)
            for mail in mails:
                self._store.mail.record(self._send(mail))
            if mails:
                return 0.0
        finally:
            self._server.leave()
        return self.next_due()

    def _send(self, mail: Mail) -> Mail:
        """The mail as it is after this try."""
        now = self._clock()
        tried = replace(mail, tries=mail.tries + 1)
        dead = replace(tried, state=DeliveryState.DEAD, ended_at=now)
        try:
            message = self._letter(mail, now)
            self._server.send(message)
        except RefusedForGood as error:
            _log.info("mail about job %s is not sent: %s", mail.job_id, error)
            return replace(dead, error=str(error))
        except (OSError, smtplib.SMTPException) as error:
            # Also what a user cannot help, such as a password that the server no longer takes.
            said = one_line(f"{type(error).__name__}: {error}", _MAX_ERROR_CHARS)
            _log.warning("mail about job %s could not be sent: %s", mail.job_id, said)
            pause = pause_s(mail.tries, first_s=FIRST_PAUSE_S, most_s=MAX_PAUSE_S)
            if now + pause >= mail.created_at + self._table.retry_for_s:
                return replace(dead, error=said)
            return replace(tried, due_at=now + pause, error=said)
        return replace(tried, state=DeliveryState.DELIVERED, error=None, ended_at=now)

    def _letter(self, mail: Mail, now: float) -> EmailMessage:
        try:
            job = self._store.jobs.get(mail.job_id)
        except NotFound:
            raise RefusedForGood("the job is gone") from None
        to = self._address(mail.owner)
        if to is None:
            raise RefusedForGood("its owner has no address, or is locked or gone")
        left = self._table.max_per_hour - self._store.mail.sent(mail.owner, now - _HOUR_S)
        if left <= 0:
            raise RefusedForGood(f"its owner got {self._table.max_per_hour} mails in an hour already")
        return letter(mail, job, sender=self._table.sender, to=to, public_url=self._public_url, last=left == 1)


class _Server:
    """The SMTP server, connected to while there is something to send."""

    def __init__(self, table: MailTable) -> None:
        self._table = table
        self._password = _password(table)
        self._context = _context(table)
        self._smtp: smtplib.SMTP | None = None

    def send(self, message: EmailMessage) -> None:
        """Sends one mail.

        Raises:
            RefusedForGood: the server refuses it, or its receiver.
            OSError, smtplib.SMTPException: it was not sent, but may be later.
        """
        if self._smtp is None:
            self._smtp = self._connected()
        try:
            self._smtp.send_message(message)
        except smtplib.SMTPRecipientsRefused as error:
            for code, said in error.recipients.values():
                _refuse_if_final(code, said)
            raise
        except smtplib.SMTPResponseException as error:
            if not isinstance(error, smtplib.SMTPSenderRefused):
                _refuse_if_final(error.smtp_code, error.smtp_error)
            raise
        except (OSError, smtplib.SMTPServerDisconnected):
            self.leave()
            raise

    def leave(self) -> None:
        """Says goodbye."""
        smtp, self._smtp = self._smtp, None
        if smtp is not None:
            with suppress(OSError, smtplib.SMTPException):
                smtp.quit()
            smtp.close()

    def _connected(self) -> smtplib.SMTP:
        table = self._table
        port = table.port or table.PORTS[table.tls]
        if table.tls == "tls":
            smtp: smtplib.SMTP = smtplib.SMTP_SSL(table.host, port, timeout=table.timeout_s, context=self._context)
        else:
            smtp = smtplib.SMTP(table.host, port, timeout=table.timeout_s)
        try:
            if table.tls == "starttls":
                smtp.starttls(context=self._context)
            if table.user is not None:
                smtp.login(table.user, self._password)
        except BaseException:
            smtp.close()
            raise
        return smtp


def _refuse_if_final(code: int, said: bytes | str) -> None:
    if 500 <= code < 600:
        text = said.decode("utf-8", "replace") if isinstance(said, bytes) else said
        raise RefusedForGood(one_line(f"the mail server answered {code} {text}", _MAX_ERROR_CHARS))


def _password(table: MailTable) -> str:
    if table.password_file is None:
        return ""
    try:
        return Path(table.password_file).expanduser().read_text(encoding="utf-8").rstrip("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"[mail] password_file {table.password_file}: cannot be read: {error}") from error


def _context(table: MailTable) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if table.ca_file is not None:
        try:
            context.load_verify_locations(Path(table.ca_file).expanduser())
        except OSError as error:
            raise ConfigError(f"[mail] ca_file {table.ca_file}: cannot be read: {error}") from error
    return context
