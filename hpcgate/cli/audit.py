"""``hpcgate audit``."""

# ruff: noqa: D301 - click wants a real backspace before lines that stay as they are

from __future__ import annotations

import json
import os
import time
from collections import deque
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Final, TextIO

import click

from hpcgate.cli.output import clean, local_time, print_json, print_table
from hpcgate.cli.session import Session, pass_session
from hpcgate.cli.values import MOMENT

HEADERS: Final = ("AT", "WHO", "FROM", "API", "WHAT", "OBJECTS", "RESULT")
LOOK_S: Final = 0.2
RESULTS: Final = ("done", "refused", "failed")

Record = dict[str, Any]


@click.command()
@click.option("--user", "who", metavar="NAME", help="Only what NAME did, or a client for it, or NAME as a client.")
@click.option("--token", metavar="ID", help="Only what was done by this token.")
@click.option("--from", "address", metavar="ADDRESS", help="Only from this address; `local` = by commands here.")
@click.option("--api", metavar="NAME", help="Only through this API: native, cli, or a dialect.")
@click.option("--what", metavar="TEXT", help="Only where route, command or verb holds this text.")
@click.option("--object", "thing", metavar="OBJECT", help="Only about this, as 'job 12' or 'user alice'.")
@click.option("--result", type=click.Choice(RESULTS), help="Only what ended so.")
@click.option("--request", "request_id", metavar="ID", help="Only the request with this X-Request-ID.")
@click.option("--since", type=MOMENT, help="Only from then on: 2026-01-31, 2h (ago), RFC 3339.")
@click.option("--until", type=MOMENT, help="Only before then.")
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True, help="At most so many, the last.")
@click.option("--file", "path", type=click.Path(path_type=Path), help="Another file, maybe one that was rotated away.")
@click.option("--follow", "-f", is_flag=True, help="Go on with what is written from now on, until Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list; with --follow one JSON object a line.")
@pass_session
def audit(
    session: Session,
    who: str | None,
    token: str | None,
    address: str | None,
    api: str | None,
    what: str | None,
    thing: str | None,
    result: str | None,
    request_id: str | None,
    since: float | None,
    until: float | None,
    limit: int,
    path: Path | None,
    follow: bool,
    as_json: bool,
) -> None:
    """Show who did what, from where, and what came of it.

    Reads the audit log on the gateway's own machine; who may read the file may use this.

    \b
    Examples:
      hpcgate audit --user alice --since 2h
      hpcgate audit --result refused --json
      hpcgate audit --object 'job 12'
      hpcgate audit --follow
    """
    exact = {"token": token, "from": address, "api": api, "result": result, "request": request_id}

    def wanted(record: Record) -> bool:
        return (
            all(value is None or record.get(name) == value for name, value in exact.items())
            and who in (None, record.get("who"), record.get("by"))
            and (thing is None or thing in record.get("objects", ()))
            and (what is None or any(what.lower() in said.lower() for said in _said(record)))
            and (since is None or _at(record) >= since)
            and (until is None or _at(record) < until)
        )

    if path is None:
        path = _configured(session)
    if follow:
        for record in _following(path):
            if wanted(record):
                click.echo(json.dumps(record) if as_json else "  ".join(map(clean, _row(record))))
        return
    found = deque(filter(wanted, _records(path)), maxlen=limit)
    if as_json:
        print_json(list(found))
    else:
        print_table(HEADERS, map(_row, found))


def _configured(session: Session) -> Path:
    from hpcgate.service.audit import audit_path

    if session.remote_url:
        raise click.UsageError("works on the gateway's own machine, on its audit log; unset HPCGATE_URL there")
    if session.config.audit.to != "file":
        raise click.UsageError(f"[audit] to = {session.config.audit.to!r}: there is no file; or name one by --file")
    return audit_path(session.config)


def _records(path: Path) -> Iterator[Record]:
    try:
        with path.open(encoding="utf-8") as lines:
            yield from _parsed(lines)
    except FileNotFoundError:
        return


def _parsed(lines: Iterable[str]) -> Iterator[Record]:
    """Records; a line that was cut off (a full disk) is left out."""
    for line in lines:
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict):
            yield record


def _following(path: Path) -> Iterator[Record]:
    """What is appended from now on, also after the file was rotated away or cut."""
    file = _opened(path)
    if file is not None:
        file.seek(0, os.SEEK_END)
    try:
        while True:
            if file is not None:
                yield from _parsed(_complete(file))
            if file is None or _replaced(path, file):
                newer = _opened(path)
                if newer is not None:
                    if file is not None:
                        yield from _parsed(_complete(file))  # what came between the last look and the new file
                        file.close()
                    file = newer
                    continue
            time.sleep(LOOK_S)
    finally:
        if file is not None:
            file.close()


def _opened(path: Path) -> TextIO | None:
    try:
        return path.open(encoding="utf-8")
    except FileNotFoundError:
        return None


def _complete(file: TextIO) -> Iterator[str]:
    """Lines that are there as a whole."""
    while True:
        at = file.tell()
        line = file.readline()
        if not line.endswith("\n"):
            file.seek(at)
            return
        yield line


def _replaced(path: Path, file: TextIO) -> bool:
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    mine = os.fstat(file.fileno())
    return (there.st_ino, there.st_dev) != (mine.st_ino, mine.st_dev) or mine.st_size < file.tell()


def _said(record: Record) -> list[str]:
    return [record.get("what", ""), *record.get("verbs", ())]


def _at(record: Record) -> float:
    return datetime.fromisoformat(record["at"]).timestamp() if "at" in record else 0.0


def _row(record: Record) -> tuple[Any, ...]:
    who = record.get("who")
    by = record.get("by")
    result = " ".join(str(record[key]) for key in ("result", "status", "code") if key in record)
    return (
        local_time(record.get("at")),
        f"{who} by {by}" if by else who,
        record.get("from"),
        record.get("api"),
        record.get("what"),
        ", ".join(record.get("objects", ())),
        result,
    )
