"""Open transports, one per site and account, shared by all who need them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from threading import Lock

from hpcgate.errors import ConfigError, HpcgateError, PluginError, TransportError
from hpcgate.model.site import Site
from hpcgate.transport.base import Transport

Opener = Callable[[Site, str | None], Transport]


class Transports:
    """Opens a transport when it is first needed and closes all at the end.

    Args:
        openers: transport name -> how it is opened for a site and an account.
    """

    def __init__(self, openers: Mapping[str, Opener]) -> None:
        self._openers = dict(openers)
        self._open: dict[tuple[str, str | None], Transport] = {}
        self._uids: dict[tuple[str, str | None], int] = {}
        self._lock = Lock()

    def get(self, site: Site, account: str | None = None) -> Transport:
        """The transport to a site as an account (``None`` = the site's own).

        Raises:
            ConfigError: no installed plugin brings the site's transport.
            TransportError, PluginError: it could not be opened.
        """
        with self._lock:
            transport = self._open.get((site.name, account))
            if transport is None:
                if site.transport not in self._openers:
                    known = ", ".join(sorted(self._openers))
                    raise ConfigError(
                        f"[sites.{site.name}] transport: {site.transport!r} is not installed; known are: {known}"
                    )
                transport = self._open[site.name, account] = self._opened(site, account)
            return transport

    def for_jobs(self, site: Site, account: str | None) -> Transport:
        """The transport for what runs as an account and for its files.

        Raises:
            TransportError: the account is root there, by whatever name. Otherwise as ``get``.
        """
        if account is not None and self.uid(site, account) == 0:
            raise TransportError(f"{account!r} is root at site {site.name!r}; no job may run as it", transient=False)
        return self.get(site, account)

    def uid(self, site: Site, account: str | None) -> int:
        """The number of an account, by its own word.

        Raises:
            TransportError: it did not say. Otherwise as ``get``.
        """
        key = (site.name, account)
        if key not in self._uids:
            said = self.get(site, account).run(["id", "-u"])
            if said.exit_status != 0 or not said.out.strip().isdigit():
                raise TransportError(f"site {site.name!r} does not tell the number of its account: {said.err.strip()}")
            self._uids[key] = int(said.out)
        return self._uids[key]

    def _opened(self, site: Site, account: str | None) -> Transport:
        try:
            return self._openers[site.transport](site, account)
        except HpcgateError:
            raise
        except Exception as error:
            raise PluginError(f"transport {site.transport!r} of site {site.name!r} failed to open: {error}") from error

    def close(self) -> None:
        """Closes every open transport."""
        with self._lock:
            transports, self._open = list(self._open.values()), {}
        with ExitStack() as stack:  # each is closed, also where another one fails to
            for transport in transports:
                stack.callback(transport.close)
