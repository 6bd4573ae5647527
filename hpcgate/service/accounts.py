"""As which account a principal's jobs run, and who may run jobs as an account that several share.

A principal's name is never taken for an account. Where an account is shared by all jobs of a site, a job can read and
change the files of every other one, so such a site is one principal's, unless its operator says otherwise: the owner
of the oldest job that the gateway still has there.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from hpcgate.errors import FieldError, Forbidden, InvalidSpec
from hpcgate.model.job import JobRef
from hpcgate.model.principal import Principal, Role
from hpcgate.model.site import Site
from hpcgate.model.spec import JobSpec
from hpcgate.transport.account import uid_of

if TYPE_CHECKING:
    from hpcgate.store.database import Store


class Accounts:
    """Gives jobs their accounts.

    Args:
        sites: by name.
        store: knows whose jobs there are.
    """

    def __init__(self, sites: Mapping[str, Site], store: Store) -> None:
        self._sites = sites
        self._store = store

    def account_of(self, principal: Principal, site: Site) -> str | None:
        """The account of a principal's jobs; ``None`` = the one that the site's transport has anyway.

        Raises:
            Forbidden: it has none at the site.
        """
        if site.identity.mode == "service":
            return None
        account = site.identity.accounts.get(principal.name)
        if account is None:
            raise Forbidden(
                f"{principal.name!r} has no account at site {site.name!r}; its operator can name one in "
                f"[sites.{site.name}.identity] accounts"
            )
        return account

    def require_share(self, principal: Principal, site: Site) -> None:
        """Refuses a second principal where all jobs run as one account.

        Sites that are entered as the same account of the same host count as one. Call it in the transaction that
        stores the job: of two that come at the same time one must see the other.

        Raises:
            Forbidden: the account is somebody else's.
        """
        identity = site.identity
        if identity.mode != "service" or identity.shared_account:
            return
        place = _place(site)
        alike = [name for name, other in self._sites.items() if _place(other) == place]
        first = self._store.jobs.first_owner(alike)
        if first not in (None, principal.name):
            raise Forbidden(
                f"all jobs of site {site.name!r} run as one account, where there are jobs of another principal, so "
                f"{principal.name!r} may not run any; its operator can set shared_account = true in "
                f"[sites.{site.name}.identity], or give each principal an account"
            )


def _place(site: Site) -> tuple[object, ...] | None:
    """Where and as whom a site's jobs run; ``None`` = not as one account."""
    identity = site.identity
    if identity.mode != "service":
        return None
    if site.transport == "ssh" and site.ssh is not None:
        return (site.transport, site.ssh.host, site.ssh.port, site.ssh.user)
    if site.transport == "local":
        return (site.transport, os.geteuid() if identity.run_as is None else uid_of(identity.run_as))
    return (site.transport, site.name)


def runs_as_root(site: Site) -> bool:
    """Whether a site's jobs run with all rights there are on its machine."""
    if site.identity.mode != "service" or site.identity.run_as is not None:
        return False
    if site.transport == "ssh" and site.ssh is not None and site.ssh.user is not None:
        return site.ssh.user == "root"
    return site.transport in ("local", "ssh") and os.geteuid() == 0


def check_output_paths(principal: Principal, site: Site, spec: JobSpec) -> None:
    """Keeps output out of places where root alone may write, where a job would be started as root.

    A job of root can do whatever it likes; but a slip in a path must not cost the machine. Admins know what they do.

    Raises:
        InvalidSpec: a path of output leads out of the job's folder and its working directory.
    """
    if not runs_as_root(site) or principal.has(Role.ADMIN):
        return
    roots = [site.work_root, *([spec.working_directory] if spec.working_directory else [])]
    errors = [
        FieldError(
            name,
            f"{path!r} must be below the working directory, without '..', since jobs of site {site.name!r} run as root",
        )
        for name in ("stdout_path", "stderr_path")
        if (path := getattr(spec, name)) is not None and not _stays_below(roots, path)
    ]
    if errors:
        raise InvalidSpec(errors)


def _stays_below(roots: Sequence[str], path: str) -> bool:
    if ".." in path.split("/"):
        return False
    return not path.startswith(("/", "~")) or any(path.startswith(f"{root.rstrip('/')}/") for root in roots)


def by_account(refs: Iterable[JobRef]) -> Mapping[str | None, Sequence[JobRef]]:
    """Jobs by the account that they run as, in the order in which they come."""
    groups: dict[str | None, list[JobRef]] = {}
    for ref in refs:
        groups.setdefault(ref.account, []).append(ref)
    return groups
