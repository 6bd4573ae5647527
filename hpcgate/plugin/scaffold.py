"""``hpcgate plugin new``: writes the distribution of a plugin that is yet to be filled in."""

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
#: What can be made -> template -> where it goes below the distribution's folder.
KINDS: Final[Mapping[str, Mapping[str, str]]] = {
    "scheduler": {
        "pyproject.toml.in": "pyproject.toml",
        "README.md.in": "README.md",
        "package.py.in": "%%package/__init__.py",
        "test_commands.py.in": "tests/test_commands.py",
        "test_conformance.py.in": "tests/test_conformance.py",
    },
    "dialect": {
        "pyproject.toml.in": "pyproject.toml",
        "README.md.in": "README.md",
        "package.py.in": "%%package/__init__.py",
        "dialect.py.in": "%%package/dialect.py",
        "test_conformance.py.in": "tests/test_conformance.py",
    },
}


class _Template(Template):
    """``%%word`` is replaced: ``$``, ``{`` and ``@`` mean something in what is written."""

    delimiter = "%%"


def create(name: str, target: Path, kind: str = "scheduler") -> Path:
    """Writes a plugin distribution that installs and passes the conformance kit, as far as that can be.

    Args:
        name: of the scheduler or dialect.
        target: folder of the distribution; made here, empty if it is there already.
        kind: one of ``KINDS``.

    Returns:
        ``target``.

    Raises:
        InvalidSpec: the name cannot be a scheduler's or dialect's.
        Conflict: the folder is not empty, or cannot be made.
    """
    if not _NAME.fullmatch(name) or len(name) > 40 or name.startswith("dialect-"):
        message = f"{name!r} is no name for a {kind}; use lower case letters, digits and -, e.g. 'lsf'"
        raise InvalidSpec.of("name", message)
    words = _words(name, kind)
    try:
        target.mkdir(parents=True, exist_ok=True)
        if any(target.iterdir()):
            raise Conflict(f"{target} is not empty; name another folder")
        for template, place in KINDS[kind].items():
            path = target / _Template(place).substitute(words)
            path.parent.mkdir(exist_ok=True)
            path.write_text(_fill(kind, template, words), encoding="utf-8")
    except OSError as error:
        raise Conflict(f"{target} cannot be written: {error.strerror}") from error
    return target


def distribution(name: str, kind: str) -> str:
    """The name of the distribution; by default its folder has it as well."""
    return f"hpcgate-{name}" if kind == "scheduler" else f"hpcgate-{kind}-{name}"


def _words(name: str, kind: str) -> Mapping[str, str]:
    major, minor = __version__.split(".")[:2]
    return {
        "name": name,
        "package": distribution(name, kind).replace("-", "_"),
        "class": "".join(word.capitalize() for word in name.split("-")) + kind.capitalize(),
        "bound": f">={major}.{minor},<{major}.{int(minor) + 1}",
    }


def _fill(kind: str, template: str, words: Mapping[str, str]) -> str:
    text = files("hpcgate.plugin").joinpath("template", kind, template).read_text(encoding="utf-8")
    return _Template(text).substitute(words)
