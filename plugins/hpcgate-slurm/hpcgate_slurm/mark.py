"""What a job carries in its comment, so that any listing tells whose it is and what it consists of."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

#: In front of the key.
PREFIX: Final = "hpcgate:"
#: The longest mark that the listing shows whole.
MAX_CHARS: Final = 240
#: What a role may be called: it stands in the mark, in file names and in records.
ROLE_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")

_MARK: Final = re.compile(rf"{PREFIX}([0-9A-Za-z_-]{{1,64}})(?::(?:(\d{{1,7}})|([\w.=,-]+)))?(?:\s|$)", re.ASCII)
_ROLE: Final = re.compile(rf"({ROLE_NAME.pattern})=(\d{{1,7}})")


@dataclass(frozen=True, slots=True)
class Mark:
    """The key of a job and what it consists of.

    Args:
        key: the gateway's.
        tasks: how many tasks its array has; ``None`` = it is no array.
        roles: name and number of tasks of each role of a gang.
    """

    key: str
    tasks: int | None = None
    roles: tuple[tuple[str, int], ...] = ()

    def __str__(self) -> str:
        parts = f":{self.tasks}" if self.tasks is not None else ""
        if self.roles:
            parts = ":" + ",".join(f"{name}={count}" for name, count in self.roles)
        return f"{PREFIX}{self.key}{parts}"

    @classmethod
    def read(cls, comment: str) -> Mark | None:
        """The mark at the beginning of a comment; ``None`` = there is none."""
        match = _MARK.match(comment)
        if not match:
            return None
        key, tasks, roles = match.groups()
        found = [_ROLE.fullmatch(part) for part in roles.split(",")] if roles else []
        return cls(
            key,
            tasks=None if tasks is None else int(tasks),
            roles=tuple((each[1], int(each[2])) for each in found if each),
        )
