"""What a log line tells beside its message."""

from __future__ import annotations

import io
import json
import logging

import pytest

from hpcgate.config import ServerTable, config_from
from hpcgate.errors import ConfigError
from hpcgate.service.logs import configure_logging, request_id_from
from hpcgate.service.trail import TRAIL, Trail, about

LOG = logging.getLogger("hpcgate.somewhere")


@pytest.fixture
def said(monkeypatch):
    """Configures the log and gives what it wrote."""
    root, ours = logging.getLogger(), logging.getLogger("hpcgate")
    before = root.handlers[:], root.level, ours.level
    stream = io.StringIO()

    def configure(**table):
        monkeypatch.setattr("sys.stderr", stream)
        configure_logging(ServerTable(**table))
        return stream.getvalue

    yield configure
    root.handlers[:], level, our_level = before
    root.setLevel(level)
    ours.setLevel(our_level)


@pytest.fixture
def trail():
    trail = Trail("r-1")
    TRAIL.set(trail)
    yield trail
    TRAIL.set(None)


def test_a_line_for_programs_has_request_and_jobs(said, trail):
    read = said(log_format="json")
    about("job", 12)
    about("user", "ann")
    LOG.warning("job %d: the site did not take it\nsecond line", 13, extra={"fields": {"status": 200}})
    told = json.loads(read())
    assert told.pop("at").endswith("+00:00")
    assert told == {
        "level": "warning",
        "logger": "hpcgate.somewhere",
        "message": "job 13: the site did not take it\nsecond line",
        "request": "r-1",
        "jobs": [12, 13],
        "status": 200,
    }


def test_an_exception_is_one_line_too(said):
    read = said(log_format="json")
    try:
        raise ValueError("broken")
    except ValueError:
        LOG.exception("it failed")
    assert read().count("\n") == 1
    assert "ValueError: broken" in json.loads(read())["exception"]


def test_a_line_for_people_has_them_too(said, trail):
    read = said()
    LOG.info("nothing in particular")
    assert "INFO hpcgate.somewhere [r-1] nothing in particular" in read()
    for number in range(5):
        about("job", number)
    LOG.info("many")
    assert "[r-1 job=0 job=1 job=2 ...] many" in read()


def test_without_a_request_there_is_none(said):
    read = said()
    LOG.info("a worker speaks of job 7")
    assert "[- job=7] a worker" in read()


def test_less_is_logged_where_less_is_wanted(said):
    read = said(log_level="error")
    LOG.warning("quiet")
    LOG.error("loud")
    assert "quiet" not in read()
    assert "loud" in read()


@pytest.mark.parametrize("header", [None, "", "a b", "x" * 129, "a\nb", "ä"])
def test_a_request_id_that_could_do_harm_is_replaced(header):
    assert request_id_from(header) != header
    assert request_id_from("mine-1") == "mine-1"


@pytest.mark.parametrize("table", [{"log_format": "xml"}, {"log_level": "loud"}, {"tls_min_version": "1.0"}])
def test_a_wrong_word_is_told(tmp_path, table):
    with pytest.raises(ConfigError, match=rf"\[server\] {next(iter(table))}: .* is unknown; it must be"):
        config_from({"server": table}, home=tmp_path)
