"""The transport over ssh, on a real sshd and as an ordinary user."""

from __future__ import annotations

from uuid import uuid4

import pytest
from live.sshd import open_transport
from transport.contract import TransportConformance

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def shared(sshd, account):
    with open_transport(sshd, account) as transport:
        yield transport


@pytest.fixture
def transport(shared):
    return shared


@pytest.fixture
def folder(account, transport):
    path = f"{account.home}/{uuid4().hex}"
    transport.mkdir(path)
    yield path
    transport.remove(path)


class TestSshTransport(TransportConformance):
    """What every transport must do."""
