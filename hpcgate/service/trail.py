"""What one request or command has done so far: for the audit log, and so that log lines tell what they belong to.

A trail hangs on the thread that handles the request. ``service.access`` and the services leave word on it; where
nobody follows (a worker, an embedded gateway) that costs nothing.
"""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Final

from hpcgate.model.principal import Principal

#: Objects that are told by name; of more, how many there were.
MAX_OBJECTS: Final = 100


@dataclass(slots=True)
class Trail:
    """Who asked for what, as far as it is known.

    Args:
        request_id: of the request or command.
        who: name of the principal; what it was taken for where it was refused.
        delegate: the client that acts for it.
        token: ``jti`` of its token.
        verbs: what ``service.access`` was asked about, in order.
        objects: what it was about, as ``job 12``.
        left_off: how many more objects there were.
        denied: whether somebody may not do it; the answer may say that it is not there.
    """

    request_id: str
    who: str | None = None
    delegate: str | None = None
    token: str | None = None
    verbs: list[str] = field(default_factory=list)
    objects: dict[str, None] = field(default_factory=dict)
    left_off: int = 0
    denied: bool = False

    def job_ids(self) -> list[int]:
        """The jobs among the objects."""
        return [int(each[4:]) for each in self.objects if each.startswith("job ")]


TRAIL: Final[ContextVar[Trail | None]] = ContextVar("hpcgate_trail", default=None)


def is_by(principal: Principal) -> None:
    """Notes who asks."""
    trail = TRAIL.get()
    if trail is not None:
        trail.who, trail.delegate, trail.token = principal.name, principal.delegate, principal.token_id


def claims_to_be(user: str, token: str | None = None) -> None:
    """Notes for whom somebody is taken who may still be refused.

    Only names of users who exist, or from signed tokens: what is typed into the wrong field may be a password.
    """
    trail = TRAIL.get()
    if trail is not None:
        trail.who, trail.token = user, token


def asked(verb: str) -> None:
    """Notes what was asked for, whether or not it is allowed."""
    trail = TRAIL.get()
    if trail is not None and verb not in trail.verbs:
        trail.verbs.append(verb)


def denied() -> None:
    """Notes that it is not allowed."""
    trail = TRAIL.get()
    if trail is not None:
        trail.denied = True


def about(kind: str, name: object) -> None:
    """Notes an object that it was about."""
    trail = TRAIL.get()
    if trail is None:
        return
    said = f"{kind} {name}"
    if said in trail.objects:
        return
    if len(trail.objects) < MAX_OBJECTS:
        trail.objects[said] = None
    else:
        trail.left_off += 1
