"""The transport over ssh, on a real sshd and as an ordinary user."""

from __future__ import annotations

import os
from pathlib import Path
from uuid import uuid4

import pytest
from live.sshd import Account, Sshd
from transport.contract import TransportConformance

from hpcgate.model.site import Site, SshSettings
from hpcgate.transport.ssh import SshOpener, SshTransport

pytestmark = pytest.mark.live


def site(ssh: SshSettings, **fields) -> Site:
    return Site(name="there", scheduler="local", transport="ssh", work_root="~/jobs", settings=None, ssh=ssh, **fields)


def open_transport(sshd: Sshd, account: Account, **changed) -> SshTransport:
    return SshOpener()(site(sshd.settings(account, **changed)), None)


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
