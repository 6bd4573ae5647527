"""What mails say."""

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from typing import Final

from hpcgate.model.job import Job
from hpcgate.model.state import JobState
from hpcgate.model.webhook import Mail

_MAX_SUBJECT_CHARS: Final = 60
_MAX_LINE_CHARS: Final = 500


def letter(mail: Mail, job: Job, *, sender: str, to: str, public_url: str | None, last: bool) -> EmailMessage:
    """The mail about a job.

    Args:
        mail: what it is about.
        job: the job as it is now.
        sender: from whom.
        to: the owner's address.
        public_url: of the server; ``None`` = there is no link.
        last: whether it is the last one that may be sent in this hour.
    """
    message = EmailMessage(policy=SMTP)
    message["From"] = sender
    message["To"] = to
    # What looks like an encoded word would be decoded by the library, line ends in it too.
    name = one_line(job.spec.name, _MAX_SUBJECT_CHARS).replace("=?", "= ?")
    message["Subject"] = f"Job {job.id} {_word(mail.status)}: {name}"
    message["Date"] = format_datetime(datetime.fromtimestamp(mail.created_at, UTC))
    # The same at each try, so that mail programs show it once.
    message["Message-ID"] = f"<hpcgate.{mail.seq}.{job.key}@{sender.rpartition('@')[2]}>"
    message["Auto-Submitted"] = "auto-generated"
    message.set_content("\n".join([*_lines(mail, job, public_url), *([_LAST] if last else [])]) + "\n")
    return message


_LAST: Final = "\nThis is the last mail for now: as many have been sent to you in an hour as may be."


def _lines(mail: Mail, job: Job, public_url: str | None) -> list[str]:
    lines = [f"Job {job.id} ({one_line(job.spec.name, _MAX_LINE_CHARS)}) {_word(mail.status)}.", ""]
    facts: dict[str, object] = {"site": job.site, "state": mail.status.value, "started": _time(job.started_at)}
    if mail.status is job.state:
        facts |= {
            "ended": _time(job.ended_at),
            "exit code": job.exit_code,
            "signal": job.signal,
            "reason": job.reason,
            "message": one_line(job.message, _MAX_LINE_CHARS) if job.message else None,
            "advice": job.reason.advice if job.reason else None,
        }
    lines += [f"{name + ':':<11}{value}" for name, value in facts.items() if value is not None]
    if public_url is not None:
        lines += ["", f"{public_url.rstrip('/')}/api/v1/jobs/{job.id}"]
    return lines


def _word(state: JobState) -> str:
    words = {
        JobState.RUNNING: "has started",
        JobState.COMPLETED: "has completed",
        JobState.FAILED: "has failed",
        JobState.CANCELED: "was canceled",
    }
    return words[state]


def _time(at: float | None) -> str | None:
    return None if at is None else datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def one_line(text: str, most: int) -> str:
    """A text as one line without control characters, so that it can neither end a header nor pass for another line."""
    plain = "".join(" " if unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp") else char for char in text)
    plain = " ".join(plain.split())
    return plain if len(plain) <= most else plain[: most - 1] + "…"
