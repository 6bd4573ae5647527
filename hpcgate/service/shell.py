"""What principals do at a site beside their jobs, as the account that those run as: folders and short commands."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from hpcgate.errors import CommandTimeout, InvalidSpec, TransportError
from hpcgate.model.principal import Principal
from hpcgate.model.site import Site
from hpcgate.service.access import Verb, require
from hpcgate.service.accounts import Accounts
from hpcgate.service.trail import about
from hpcgate.transport.base import CommandResult, Transport

if TYPE_CHECKING:
    from hpcgate.service.admission import Admission
    from hpcgate.service.transports import Transports
    from hpcgate.store.database import Store

#: Bytes that a command may print.
MAX_OUTPUT: Final = 4 << 20
#: How much longer than the command itself its answer may take, seconds.
_WAY_S: Final = 5.0
#: What `timeout` ends with where the time was over, and what a shell says of a command that was killed.
_LATE: Final = frozenset({124, 137})

# The limit is kept at the far side, so that what was printed until then comes back.
_RUN: Final = """\
cd -- "$1" || exit 1
set -- "$2" "${SHELL:-/bin/sh}" "$3"
if command -v timeout >/dev/null 2>&1; then exec timeout -k 1 "$1" "$2" -c "$3"; fi
exec "$2" -c "$3"
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """What a command answered.

    Args:
        result: exit status and output; of one that ran too long, what it printed until then.
        late: whether it was ended because its time was over.
    """

    result: CommandResult
    late: bool


class ShellService:
    """Commands and folders at sites.

    Args:
        sites: by name.
        store, transports, admission: the parts it works on.
    """

    def __init__(self, sites: Mapping[str, Site], store: Store, transports: Transports, admission: Admission) -> None:
        self._transports = transports
        self._admission = admission
        self._accounts = Accounts(sites, store)
        self._homes: dict[tuple[str, str | None], str] = {}

    def home(self, principal: Principal, site: str | None) -> str:
        """The home folder of the account that the principal's jobs run as; asked once, and kept.

        Raises:
            TransportError: the site did not say.
            InvalidSpec, Forbidden: as ``run``.
        """
        where, account = self._place(principal, site)
        key = (where.name, account)
        if key not in self._homes:
            told = self._transport(where, account).run(["/bin/sh", "-c", 'printf "%s\\n" "$HOME"'])
            path = told.out.removesuffix("\n")
            if told.exit_status != 0 or not path.startswith("/"):
                raise TransportError(f"site {where.name!r} does not tell the home folder of its account")
            self._homes[key] = path.rstrip("/") or "/"
        return self._homes[key]

    def make_folder(self, principal: Principal, site: str | None, path: str) -> None:
        """Makes a folder and those above it; one that is there already is left as it is.

        Args:
            principal: who asks.
            site: name or alias.
            path: absolute.

        Raises:
            TransportError: it could not be made.
            InvalidSpec, Forbidden: as ``run``.
        """
        where, account = self._place(principal, site)
        self._transport(where, account).mkdir(path)

    def run(
        self, principal: Principal, site: str | None, command: str, *, folder: str | None = None, timeout_s: float
    ) -> Ran:
        """Runs a line of the account's shell at the site's host itself, not as a job, and waits for it.

        Args:
            principal: who asks.
            site: name or alias.
            command: for the shell.
            folder: absolute, where it starts; the home when not given.
            timeout_s: after which it is ended.

        Raises:
            InvalidSpec: there is no such site, or the command is none.
            Forbidden: the principal may not submit jobs, or has no account there.
            TransportError: there was no answer, or it printed more than ``MAX_OUTPUT``.
        """
        if not command.strip() or "\0" in command:
            raise InvalidSpec.of("command", "must be a line of shell, without NUL characters")
        where, account = self._place(principal, site)
        start = self.home(principal, site) if folder is None else folder
        argv = ["/bin/sh", "-c", _RUN, "hpcgate", start, f"{timeout_s:g}", command]
        transport, began = self._transport(where, account), time.monotonic()
        try:
            result = transport.run(argv, timeout_s=timeout_s + _WAY_S, max_output=MAX_OUTPUT)
        except CommandTimeout:
            return Ran(result=CommandResult(-9, b"", b""), late=True)
        # A command may end with these by itself, but then hardly at that very time.
        late = result.exit_status in _LATE and time.monotonic() - began >= timeout_s
        return Ran(result=result, late=late)

    def _place(self, principal: Principal, site: str | None) -> tuple[Site, str | None]:
        require(principal, Verb.SUBMIT)
        where = self._admission.site(site)
        about("site", where.name)
        account = self._accounts.account_of(principal, where)
        self._accounts.require_share(principal, where)
        return where, account

    def _transport(self, site: Site, account: str | None) -> Transport:
        return self._transports.for_jobs(site, account)
