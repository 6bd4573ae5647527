"""What the live tests of this folder share: an sshd, and an ordinary user to be there."""

from __future__ import annotations

import pytest
from live.sshd import new_account, new_sshd, require_sshd


@pytest.fixture(scope="session")
def account():
    require_sshd()
    with new_account() as account:
        yield account


@pytest.fixture(scope="session")
def sshd(account):
    with new_sshd() as server:
        yield server
