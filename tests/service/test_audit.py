"""Where records of the audit log go: a file that may be rotated, or syslog."""

from __future__ import annotations

import json
import os
import socket
import threading

import pytest

from hpcgate.config import config_from
from hpcgate.errors import ConfigError
from hpcgate.service import trail
from hpcgate.service.audit import AuditFile, AuditRecord, open_audit
from hpcgate.service.trail import MAX_OBJECTS, TRAIL, Trail

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbm4ifQ.c2lnbmF0dXJl"


def record(what="GET /x", **fields):
    known = {"at": 1.0, "api": "native", "address": "10.0.0.1", "trail": Trail("r"), "reading": False, "result": "done"}
    return AuditRecord(**{**known, "what": what, **fields})


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "audit.jsonl"


@pytest.fixture
def audit(path):
    log = AuditFile(path, reads=True)
    yield log
    log.close()


def test_lines_are_appended_for_the_owner_alone(audit, path):
    path.write_text('{"older":1}\n')
    path.chmod(0o600)
    audit.write(record("one"))
    audit.close()
    audit.write(record("two"))
    assert [line.get("what") for line in lines(path)] == [None, "one", "two"]
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_new_file_is_its_owners_alone(audit, path):
    audit.write(record())
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_file_that_is_rotated_or_cut_is_followed(audit, path):
    audit.write(record("one"))
    path.rename(f"{path}.1")
    audit.write(record("two"))
    audit.write(record("three"))
    os.truncate(path, 0)
    audit.write(record("four"))
    assert [line["what"] for line in lines(path.with_name("audit.jsonl.1"))] == ["one"]
    assert [line["what"] for line in lines(path)] == ["four"]


def test_writers_do_not_mix_their_lines(path):
    def write(number):
        log = AuditFile(path, reads=True)
        for _ in range(100):
            log.write(record(str(number) * 500))
        log.close()

    writers = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for each in writers:
        each.start()
    for each in writers:
        each.join()
    assert sorted(line["what"][0] for line in lines(path)) == sorted("0123" * 100)


def test_one_that_cannot_be_written_is_told_and_nothing_else_fails(tmp_path, caplog):
    log = AuditFile(tmp_path / "no" / "folder", reads=True)
    log.write(record())
    assert log.failures == 1
    assert "the audit log cannot be written" in caplog.text


def test_a_link_is_not_followed(audit, path, tmp_path):
    path.symlink_to(tmp_path / "elsewhere")
    audit.write(record())
    assert audit.failures == 1
    assert not (tmp_path / "elsewhere").exists()


def test_reads_may_be_left_out_but_not_those_that_are_refused(path):
    log = AuditFile(path, reads=False)
    log.write(record("read", reading=True))
    log.write(record("refused", reading=True, result="refused"))
    log.write(record("change"))
    log.close()
    assert [line["what"] for line in lines(path)] == ["refused", "change"]


def test_a_token_in_a_path_is_not_written_down(audit, path):
    audit.write(record(path=f"/v2/tokens/{JWT}/x"))
    assert lines(path)[0]["path"] == "/v2/tokens/***/x"


def test_what_is_unknown_is_left_out_and_lists_are_bounded(audit, path):
    mine = Trail("r")
    TRAIL.set(mine)
    for number in range(MAX_OBJECTS + 7):
        trail.about("job", number)
    trail.about("job", 3)
    trail.asked("READ")
    trail.asked("READ")
    TRAIL.set(None)
    trail.about("job", 10**6)
    audit.write(record(trail=mine))
    told = lines(path)[0]
    assert len(told["objects"]) == MAX_OBJECTS
    assert told["more_objects"] == 7
    assert told["verbs"] == ["READ"]
    assert told.keys() == {"at", "request", "api", "from", "what", "verbs", "objects", "more_objects", "result"}


def test_syslog_gets_one_message_a_record(tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "log"))
        listening.settimeout(10)
        table = {"to": "syslog", "syslog": str(tmp_path / "log"), "facility": "local3"}
        log = open_audit(config_from({"audit": table}, home=tmp_path))
        log.write(record("one"))
        log.write(record("two"))
        head, _, body = listening.recv(10_000).decode().partition("hpcgate-audit: ")
        assert head == f"<{19 * 8 + 6}>"
        assert json.loads(body)["what"] == "one"
        assert b'"two"' in listening.recv(10_000)
        log.close()


def test_a_syslog_that_is_away_is_used_again_once_it_is_back(tmp_path):
    log = open_audit(config_from({"audit": {"to": "syslog", "syslog": str(tmp_path / "log")}}, home=tmp_path))
    log.write(record("lost"))
    assert log.failures == 1
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "log"))
        listening.settimeout(10)
        log.write(record("found"))
        assert b'"found"' in listening.recv(10_000)
    log.close()


def test_none_is_none(tmp_path):
    open_audit(config_from({"audit": {"to": "none"}}, home=tmp_path)).write(record())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ({"to": "printer"}, r"\[audit\] to: 'printer' is unknown; it must be file or syslog or none"),
        ({"facility": "kernel"}, "facility: 'kernel' is unknown"),
        ({"syslog": "somewhere"}, "neither a socket's path such as /dev/log nor HOST:PORT"),
        ({"syslog": "host:99999"}, "neither a socket's path"),
    ],
)
def test_a_wrong_table_is_told(tmp_path, table, told):
    with pytest.raises(ConfigError, match=told):
        config_from({"audit": table}, home=tmp_path)
