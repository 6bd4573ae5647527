"""Node lists such as ``n[001-100],m1``, folded open by ClusterShell."""

from __future__ import annotations

import re
from typing import Final

#: More than any machine has: a slip of the finger would fill the memory.
MOST_NODES: Final = 100_000
_LIST: Final = re.compile(r"[A-Za-z0-9._\-\[\],/]*")


def unfold(nodes: str) -> tuple[str, ...]:
    """The names in a node list, in its order as ClusterShell has it; none for an empty list.

    ClusterShell's groups and operators are no part of a node list here: what they stand for would depend on files of
    the machine.

    Raises:
        ValueError: it is no node list, or has too many names.
        ModuleNotFoundError: ClusterShell is not installed.
    """
    # Imported here: it takes a twentieth of a second, and is an extra.
    from ClusterShell.NodeSet import RESOLVER_NOGROUP, NodeSet, NodeSetException

    text = re.sub(r"\s*,\s*", ",", nodes.strip())
    if not _LIST.fullmatch(text):
        raise ValueError(f"{nodes!r} is no node list such as 'n[001-100],m1'")
    if any(int(last) - int(first) >= MOST_NODES for first, last in re.findall(r"(\d+)-(\d+)", text)):
        raise ValueError(f"{nodes!r} has more than {MOST_NODES} names")
    try:
        return tuple(NodeSet(text, resolver=RESOLVER_NOGROUP))
    except NodeSetException as error:
        raise ValueError(f"{nodes!r} is no node list such as 'n[001-100],m1': {error}") from error
