"""``hpcgate plugin new``: writes the distribution of a scheduler plugin that is yet to be filled in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Final

from hpcgate import __version__
from hpcgate.errors import Conflict, InvalidSpec

_NAME: Final = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
#: Template -> where it goes below the distribution's folder.
_FILES: Final = {
    "pyproject.toml.in": "pyproject.toml",
    "README.md.in": "README.md",
    "package.py.in": "%%package/__init__.py",
    "test_commands.py.in": "tests/test_commands.py",
    "test_conformance.py.in": "tests/test_conformance.py",
}


class _Template(Template):
    """``%%word`` is replaced: ``$``, ``{`` and ``@`` mean something in what is written."""

    delimiter = "%%"


def create(name: str, target: Path) -> Path:
    """Writes a plugin distribution that installs and passes the static part of the conformance kit.

    Args:
        name: of the scheduler.
        target: folder of the distribution; made here, empty if it is there already.

    Returns:
        ``target``.

    Raises:
        InvalidSpec: the name cannot be a scheduler's.
        Conflict: the folder is not empty, or cannot be made.
    """
    if not _NAME.fullmatch(name) or len(name) > 40 or name.startswith("dialect-"):
        message = f"{name!r} is no name for a scheduler; use lower case letters, digits and -, e.g. 'lsf'"
        raise InvalidSpec.of("name", message)
    words = _words(name)
    try:
        target.mkdir(parents=True, exist_ok=True)
        if any(target.iterdir()):
            raise Conflict(f"{target} is not empty; name another folder")
        for template, place in _FILES.items():
            path = target / _Template(place).substitute(words)
            path.parent.mkdir(exist_ok=True)
            path.write_text(_fill(template, words), encoding="utf-8")
    except OSError as error:
        raise Conflict(f"{target} cannot be written: {error.strerror}") from error
    return target


def _words(name: str) -> Mapping[str, str]:
    major, minor = __version__.split(".")[:2]
    return {
        "name": name,
        "package": f"hpcgate_{name.replace('-', '_')}",
        "class": "".join(word.capitalize() for word in name.split("-")) + "Scheduler",
        "bound": f">={major}.{minor},<{major}.{int(minor) + 1}",
    }


def _fill(template: str, words: Mapping[str, str]) -> str:
    text = files("hpcgate.plugin").joinpath("template", template).read_text(encoding="utf-8")
    return _Template(text).substitute(words)
