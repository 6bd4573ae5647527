"""The REST API of ClusterCockpit (what ran, where and for how long) as the dialect ``clustercockpit`` of hpcgate."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from hpcgate.hookspecs import hookimpl

if TYPE_CHECKING:
    from hpcgate.server.dialect import Dialect


class Plugin:
    """The API of cc-backend, for what reports jobs to it and what reads them."""

    @hookimpl
    def hpcgate_register_dialects(self, register: Callable[[Dialect], None]) -> None:
        """Called when a server is built; only then is the server's part of the installation needed."""
        from hpcgate_dialect_clustercockpit.dialect import ClusterCockpitDialect

        register(ClusterCockpitDialect())


plugin = Plugin()
