"""The watch over the log of all tests does see what it must not."""

from __future__ import annotations

import logging

import pytest
from logwatch import LogWatch
from support import ROOT

from hpcgate.config import config_from
from hpcgate.errors import Unauthenticated
from hpcgate.gateway import open_gateway
from hpcgate.service.secrets import FernetCipher, KeyRing

LOG = logging.getLogger("hpcgate.nobody")
PASSWORD = "correct horse battery"
PEM = "-----BEGIN CERTIFICATE-----\nMIIB\n"


@pytest.fixture
def gateway(tmp_path):
    with open_gateway(config_from({"sites": {"a": {"scheduler": "local"}}}, home=tmp_path)) as gateway:
        yield gateway


def leaked(watch: LogWatch, *args, **kwargs) -> list[str]:
    with watch.diverted() as leaks:
        LOG.debug(*args, **kwargs)
    return leaks


def test_a_password_is_known_once_it_was_set_or_tried(log_watch, gateway):
    gateway.identities.add_user(ROOT, "ann", password=PASSWORD)
    (told,) = leaked(log_watch, "ann said %s", PASSWORD)
    assert told.endswith("(hpcgate.nobody) logged a password")
    assert PASSWORD not in told
    with pytest.raises(Unauthenticated):
        gateway.identities.login("ann", "a wrong guess")
    assert leaked(log_watch, "ann said %r", "a wrong guess")


def test_a_token_is_known_whole_and_by_its_look(log_watch, gateway):
    gateway.identities.add_user(ROOT, "ann")
    token, _ = gateway.identities.create_token(ROOT, "ann")
    assert len(leaked(log_watch, "with %s", token)) == 2
    assert leaked(log_watch, "Authorization: Bearer 0123456789abcdef0123456789") != []


def test_what_is_stored_encrypted_is_known(log_watch, tmp_path):
    FernetCipher(KeyRing(tmp_path / "secret")).encrypt(b'{"KEY": "a value of a job"}')
    assert leaked(log_watch, "environment: a value of a job") != []


def test_a_proxy_and_a_traceback_are_looked_at(log_watch):
    assert leaked(log_watch, "header: %s", PEM) != []
    try:
        raise ValueError(PEM)
    except ValueError:
        assert leaked(log_watch, "it failed", exc_info=True) != []
    assert leaked(log_watch, "request", extra={"fields": {"path": PEM}}) != []


def test_other_lines_are_none(log_watch):
    assert leaked(log_watch, "127.0.0.1 ann GET /api/v1/me 200 1.2ms native") == []
