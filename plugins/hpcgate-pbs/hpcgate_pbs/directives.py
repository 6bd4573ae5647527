"""The ``#PBS`` lines of a user's script: read, checked against a table, and turned into what a submit can use.

PBS reads them from the comments at the top of a script, up to the first line that is a command. Here they are taken
out of the script's hands: what they ask for goes on ``qsub``'s command line, after it was looked at.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from hpcgate.errors import FieldError, InvalidSpec

PREFIX: Final = "#PBS"

_RESOURCE = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?:=(.*))?\Z", re.DOTALL)
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_INTERPRETER = re.compile(r"#!\s*(\S+)")


@dataclass(frozen=True, slots=True)
class Directives:
    """What the ``#PBS`` lines of a script ask for.

    Args:
        options: ``qsub`` options with their value, e.g. ``{"q": "long"}``; a switch has the value ``""``.
        resources: what ``-l`` names, in order.
        attributes: what ``-W`` names, in order.
        environment: what ``-v`` names.
    """

    options: Mapping[str, str] = field(default_factory=dict)
    resources: Mapping[str, str] = field(default_factory=dict)
    attributes: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)


#: Options that go on to ``qsub``, or that the gateway itself honours (``e j o v``).
TAKEN: Final[Mapping[str, str]] = {
    "A": "account",
    "N": "name",
    "P": "project of PBS",
    "M": "who gets mail",
    "W": "further attributes",
    "a": "earliest start",
    "c": "checkpoints",
    "e": "stderr",
    "h": "hold",
    "j": "join stdout and stderr",
    "l": "resources",
    "m": "when mail is sent",
    "o": "stdout",
    "p": "priority",
    "q": "queue",
    "r": "whether it may be run again",
    "v": "variables",
}
SWITCHES: Final = frozenset("fhIVXz")
#: Options that ask for what is so in any case.
IMPLIED: Final[Mapping[str, str]] = {
    "k": "output is written where it is to stay while the job runs",
    "S": "the script is run by its own #! line",
}
REFUSED: Final[Mapping[str, str]] = {
    "C": "directives begin with #PBS here",
    "D": "the job folder is given by the gateway",
    "G": "a job of the gateway has no terminal",
    "I": "a job of the gateway has no terminal",
    "J": "the gateway counts the tasks of an array; give `array` in the request",
    "R": "output files belong to the job's owner; remove them yourself",
    "V": "the environment of the gateway is not for jobs; name variables in `environment`",
    "X": "a job of the gateway has no display",
    "d": "set working_directory instead",
    "f": "the gateway does not wait in the foreground",
    "u": "the account is given by the gateway",
    "w": "set working_directory instead",
    "z": "the gateway needs the job's id",
}
#: Attributes of ``-W`` that are taken.
ATTRIBUTES: Final = frozenset({"depend", "group_list", "umask", "run_count", "max_run_subjobs"})


def parse_directives(script: str, refused: Sequence[str] = ()) -> Directives:
    """Reads the ``#PBS`` lines of a script.

    Args:
        script: the whole script.
        refused: options that the site does not allow, e.g. ``p`` or ``l place``.

    Raises:
        InvalidSpec: a line is not understood, or asks for what is not taken; each with its number.
    """
    reader = _Reader(script, frozenset(refused))
    for number, line in enumerate(script.splitlines(), 1):
        if line.startswith(PREFIX) and line[len(PREFIX) :][:1] in (" ", "\t"):
            reader.line(number, line[len(PREFIX) :])
        elif line.strip() and not line.startswith("#"):
            break
    if reader.errors:
        raise InvalidSpec(reader.errors)
    return Directives(reader.options, reader.resources, reader.attributes, reader.environment)


class _Reader:
    """Collects what the lines say, and what is wrong with them."""

    def __init__(self, script: str, refused: frozenset[str]) -> None:
        self.errors: list[FieldError] = []
        self.options: dict[str, str] = {}
        self.resources: dict[str, str] = {}
        self.attributes: dict[str, str] = {}
        self.environment: dict[str, str] = {}
        self._refused = refused
        match = _INTERPRETER.match(script)
        self._interpreter = match.group(1) if match else ""
        self._number = 0

    def line(self, number: int, text: str) -> None:
        self._number = number
        try:
            words = shlex.split(text, comments=True)
        except ValueError as error:
            self._fail(f"is not understood: {error}")
            return
        while words:
            word = words.pop(0)
            if not word.startswith("-") or len(word) < 2:
                self._fail(f"{word!r} is no option")
                return
            letter, value = word[1], word[2:]
            if letter in SWITCHES:
                if value:
                    words.insert(0, f"-{value}")
                value = ""
            elif not value:
                if not words:
                    self._fail(f"-{letter} lacks its value")
                    return
                value = words.pop(0)
            self._option(letter, value)

    def _option(self, letter: str, value: str) -> None:
        if letter in REFUSED:
            self._fail(f"-{letter} cannot be honoured: {REFUSED[letter]}")
        elif letter in self._refused:
            self._fail(f"-{letter} is not allowed at this site")
        elif letter == "S" and value != self._interpreter:
            self._fail(f"-S {value} cannot be honoured: {IMPLIED['S']}, which names {self._interpreter or 'nothing'}")
        elif letter in IMPLIED:
            return
        elif letter not in TAKEN:
            self._fail(f"-{letter} is no option of qsub that is known here")
        elif letter in _LISTS:
            _LISTS[letter](self, value)
        else:
            self.options[letter] = value

    def resource_list(self, value: str) -> None:
        for item in _items(value):
            match = _RESOURCE.match(item)
            if not match or match.group(2) in (None, ""):
                self._fail(f"-l {item!r} is not of the form NAME=VALUE")
            elif f"l {match.group(1)}" in self._refused:
                self._fail(f"-l {match.group(1)} is not allowed at this site")
            else:
                self.resources[match.group(1)] = match.group(2)

    def attribute_list(self, value: str) -> None:
        # A value may hold commas and colons (depend=afterok:1:2,afterany:3), so only a new NAME= begins a new one.
        for item in re.split(r",(?=[A-Za-z_]+=)", value):
            name, found, text = item.partition("=")
            if not found or not text:
                self._fail(f"-W {item!r} is not of the form NAME=VALUE")
            elif name not in ATTRIBUTES:
                self._fail(f"-W {name} cannot be honoured; taken are {', '.join(sorted(ATTRIBUTES))}")
            elif f"W {name}" in self._refused:
                self._fail(f"-W {name} is not allowed at this site")
            else:
                self.attributes[name] = text

    def variable_list(self, value: str) -> None:
        for item in _items(value):
            name, found, text = item.partition("=")
            if not found:
                self._fail(f"-v {name} cannot be honoured: {REFUSED['V']}")
            elif not _ENV_NAME.match(name):
                self._fail(f"-v {name!r} is no variable name")
            elif name.startswith(("HPCGATE_", "PBS_")):
                self._fail(f"-v {name} cannot be honoured: such names belong to hpcgate and PBS")
            else:
                self.environment[name] = text.strip("'\"") if text[:1] == text[-1:] else text

    def _fail(self, message: str) -> None:
        self.errors.append(FieldError("script", f"line {self._number}: {PREFIX} {message}"))


_LISTS: Final[Mapping[str, Callable[[_Reader, str], None]]] = {
    "l": _Reader.resource_list,
    "W": _Reader.attribute_list,
    "v": _Reader.variable_list,
}


def _items(text: str) -> list[str]:
    """The parts of a list with commas, none of them inside quotes or behind a backslash."""
    return [item.strip().replace("\\,", ",") for item in re.findall(r"""(?:\\.|"[^"]*"|'[^']*'|[^,])+""", text)]
