"""The API of the BSP service account (jobs, files and quotas of an HPC system) as the dialect ``bsp`` of hpcgate."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from hpcgate.hookspecs import hookimpl

if TYPE_CHECKING:
    from hpcgate.server.dialect import Dialect


class Plugin:
    """The API of the BSP service account, for clients of CINECA's gateway."""

    @hookimpl
    def hpcgate_register_dialects(self, register: Callable[[Dialect], None]) -> None:
        """Called when a server is built; only then is the server's part of the installation needed."""
        from hpcgate_dialect_bsp.dialect import BspDialect

        register(BspDialect())


plugin = Plugin()
