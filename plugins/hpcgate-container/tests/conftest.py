"""A live podman, an ordinary account that may use it, and sites on it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from pwd import getpwnam

import pytest
from hpcgate_container import plugin as container
from hpcgate_container.settings import ContainerSettings
from live.as_user import UserTransport
from live.podman_host import IMAGE, PodmanHost, new_podman
from live.sshd import Account, new_account

from hpcgate.model.site import Site
from hpcgate.testing.conformance.sites import default_site

# For `container_jobs`: with importlib's import mode test files do not see their neighbours.
sys.path.append(str(Path(__file__).parent))


@pytest.fixture(scope="session")
def podman() -> Iterator[PodmanHost]:
    with new_podman() as host:
        yield host


@pytest.fixture(scope="session")
def account(podman: PodmanHost) -> Iterator[Account]:
    with new_account("c") as account:
        Path(account.home).chmod(0o700)
        yield account


@pytest.fixture(scope="session")
def site(podman: PodmanHost, account: Account, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A site whose jobs run as the account, in an awkward place."""
    made = default_site("container", container, tmp_path_factory.mktemp("site"))
    root = f"{account.home}/it's a folder"
    settings = ContainerSettings(engine_command=podman.command, image=IMAGE, kill_grace_s=1, keep_s=30)
    return replace(made, settings=settings, work_root=root, event_spool=f"{root}/.events")


@pytest.fixture(scope="session")
def transport(account: Account) -> Iterator[UserTransport]:
    with UserTransport(getpwnam(account.name), {}) as transport:
        yield transport
