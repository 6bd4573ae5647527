"""The folders that a site's jobs use: can they be written, and do they look as if the nodes saw them too."""

from __future__ import annotations

from typing import Final

from hpcgate.model.scheduler import Check
from hpcgate.model.site import Site
from hpcgate.transport.base import Transport

#: Kinds of file systems, as ``stat`` names them, that no other machine can see.
_IN_MEMORY: Final = frozenset({"tmpfs", "ramfs"})

#: Of each folder: whether it, or the nearest one above it that is there, can be written, and on what it is.
_LOOK: Final = """\
for folder; do
    case $folder in "~/"*) folder=$HOME/${folder#??};; esac
    while [ ! -e "$folder" ]; do folder=$(dirname -- "$folder"); done
    if [ -d "$folder" ] && [ -w "$folder" ]; then can=yes; else can=no; fi
    printf '%s %s\\n' "$can" "$(stat -f -c %T -- "$folder" 2>/dev/null)"
done
"""


def look(site: Site, transport: Transport) -> list[Check]:
    """One check for each folder."""
    folders = {"work_root": site.work_root, "event_spool": site.event_spool}
    given = {name: path for name, path in folders.items() if path is not None}
    told = transport.run(["/bin/sh", "-c", _LOOK, "hpcgate", *given.values()]).out.splitlines()
    checks = [_check(name, path, line) for (name, path), line in zip(given.items(), told, strict=False)]
    if site.event_spool is None:
        checks.append(Check(name="event_spool", ok=True, detail="none: the end of a job is seen by the next poll"))
    return checks


def _check(name: str, path: str, told: str) -> Check:
    can, _, kind = told.partition(" ")
    if can != "yes":
        return Check(name=name, ok=False, detail=f"{path} cannot be written by this account")
    if kind in _IN_MEMORY:
        return Check(name=name, ok=False, detail=f"{path} is in the memory of this host ({kind}); nodes cannot see it")
    return Check(name=name, ok=True, detail=f"{path} can be written ({kind or 'unknown'}); the nodes must see it too")
