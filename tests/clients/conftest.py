"""One ``hpcgate serve`` for all clients of the dialects, at the root of the names that they have built in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from live import bsp_life
from live.served import Serving, serving
from support import ROOT

from hpcgate.config import load_config
from hpcgate.gateway import open_gateway
from hpcgate.model.principal import Role

CONFIG = """
[sites.here]
scheduler = "local"
aliases = ["zeus.cyfronet.pl", "prometheus.cyfronet.pl", "ares.cyfronet.pl", "athena.cyfronet.pl"]
poll = {min_s = 0.1, max_s = 0.5, spool_s = 0.1}
identity = {shared_account = true}
default_walltime_s = 600
settings = {linger_s = 0, cpus = 64}
[dialects.rimrock]
hosts = ["rimrock.plgrid.pl"]
[dialects.rimrock.settings]
process = true
[dialects.clustercockpit]
hosts = ["cockpit.example.org"]
"""
#: Each client of ClusterCockpit has a cluster of its own.
CLUSTERS = "".join(
    f'[clusters.{name}.subclusters]\nmain = ""\n' for name in ("slurm", "condor", "rules", "go", "shell")
)


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Serving, Path]]:
    """The server, and its home."""
    home = tmp_path_factory.mktemp("clients") / "home"
    with serving(home, CONFIG + CLUSTERS + bsp_life.tables("here")) as server:
        yield server, home


@pytest.fixture
def someone(served: tuple[Serving, Path]) -> Callable[..., Serving]:
    """The server with the token of a new user, who has nothing yet; or of a program, by its roles."""
    server, home = served

    def made(name: str, *roles: Role) -> Serving:
        with open_gateway(load_config(home / "hpcgate.toml", {"HPCGATE_HOME": str(home)})) as gateway:
            gateway.identities.add_user(ROOT, name, roles=roles)
            return replace(server, token=gateway.identities.create_token(ROOT, name)[0])

    return made
