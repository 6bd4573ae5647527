"""Who asks."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

#: What mail programs take as one plain address; whether it is somebody's is the admin's word.
_EMAIL: Final = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*\Z")
_MAX_EMAIL_CHARS: Final = 254


def is_email(text: str) -> bool:
    """Whether a text is a plain address such as ``ann@example.org``."""
    return len(text) <= _MAX_EMAIL_CHARS and _EMAIL.match(text) is not None


class Role(StrEnum):
    """What a principal may do beyond its own jobs; ``service.access`` has the rules."""

    ADMIN = "admin"
    MANAGER = "manager"
    SUPPORT = "support"
    USER = "user"
    API = "api"
    DELEGATE = "delegate"


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """An authenticated user, program or operating-system user.

    Args:
        name: unique; never taken for an account at a site.
        roles: what it may do.
        groups: of which it is a member.
        token_id: ``jti`` of the token it came with; ``None`` = embedded use.
        delegate: the client that acts for it, with a token that it got in exchange; ``None`` = it acts itself.
    """

    name: str
    roles: frozenset[Role] = frozenset({Role.USER})
    groups: frozenset[str] = frozenset()
    token_id: str | None = None
    delegate: str | None = None

    @property
    def actor(self) -> str:
        """Who did it, for events: ``ann``, or ``ann by portal`` where a client did it for her."""
        return self.name if self.delegate is None else f"{self.name} by {self.delegate}"

    def has(self, *roles: Role) -> bool:
        """Whether it has at least one of ``roles``."""
        return not self.roles.isdisjoint(roles)


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A principal that the gateway keeps.

    Args:
        has_password: whether it can get a token by password.
        email: where its mail goes; ``None`` = nowhere. Set by an admin, or by a verified claim.
        groups: of which it is a member.
        managed_by_config: whether it stands in the config file, so that the API may not change it.
    """

    name: str
    roles: frozenset[Role]
    created_at: float
    has_password: bool = False
    locked: bool = False
    email: str | None = None
    groups: frozenset[str] = frozenset()
    managed_by_config: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenInfo:
    """A token as the gateway remembers it; the token itself is not kept.

    Args:
        delegate: the client that has it to act for the user.
    """

    id: str
    user: str
    roles: frozenset[Role]
    created_at: float
    expires_at: float
    revoked_at: float | None = None
    comment: str | None = None
    delegate: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """A group that the configuration has.

    Args:
        roles: that its members have beside their own.
    """

    name: str
    members: frozenset[str]
    roles: frozenset[Role] = frozenset()
