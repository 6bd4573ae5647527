"""The ``#SBATCH`` lines of a script, read as sbatch reads them.

The gateway submits a script of its own around the user's, so sbatch does not see these lines: they are read here,
checked, and given to sbatch on its command line.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from hpcgate.errors import FieldError, InvalidSpec, nearest

PREFIX: Final = "#SBATCH"


@dataclass(frozen=True, slots=True)
class Option:
    """One option of sbatch.

    Args:
        name: without dashes.
        short: its letter.
        value: ``"yes"``, ``"no"`` or ``"maybe"`` (only as ``--name=VALUE``).
    """

    name: str
    short: str | None = None
    value: str = "yes"


def _options() -> Iterator[Option]:
    letters = {
        "account": "A", "array": "a", "batch": None, "begin": "b", "chdir": "D", "clusters": "M", "constraint": "C",
        "core-spec": "S", "cpus-per-task": "c", "dependency": "d", "distribution": "m", "error": "e", "exclude": "x",
        "extra-node-info": "B", "gpus": "G", "input": "i", "job-name": "J", "licenses": "L", "nodefile": "F",
        "nodelist": "w", "nodes": "N", "ntasks": "n", "output": "o", "partition": "p", "qos": "q", "time": "t",
    }  # fmt: skip
    plain = (
        "acctg-freq bb bbf cluster-constraint comment consolidate-segments container container-id cores-per-socket "
        "cpu-freq cpus-per-gpu deadline delay-boot export export-file gid gpu-bind gpu-freq gpus-per-node "
        "gpus-per-socket gpus-per-task gres gres-flags hint kill-on-invalid-dep mail-type mail-user mcs-label mem "
        "mem-bind mem-per-cpu mem-per-gpu mincpus network ntasks-per-core ntasks-per-gpu ntasks-per-node "
        "ntasks-per-socket open-mode power prefer priority profile propagate reservation segment signal "
        "sockets-per-node switches thread-spec threads-per-core time-min tmp tres-bind tres-per-task uid "
        "wait-all-nodes wckey wrap"
    )
    flags = {
        "contiguous": None, "help": "h", "hold": "H", "ignore-pbs": None, "no-requeue": None, "overcommit": "O",
        "oversubscribe": "s", "parsable": None, "quiet": "Q", "reboot": None, "requeue": None, "spread-job": None,
        "stepmgr": None, "test-only": None, "usage": None, "use-min-nodes": None, "verbose": "v", "version": "V",
        "wait": "W",
    }  # fmt: skip
    for name, letter in letters.items():
        yield Option(name, letter)
    for name in plain.split():
        yield Option(name)
    for name, letter in flags.items():
        yield Option(name, letter, "no")
    yield Option("exclusive", None, "maybe")
    yield Option("get-user-env", None, "maybe")
    yield Option("nice", None, "maybe")
    yield Option("no-kill", "k", "maybe")
    yield Option("resv-ports", None, "maybe")


OPTIONS: Final[Mapping[str, Option]] = MappingProxyType({option.name: option for option in _options()})
_BY_LETTER: Final = {option.short: option for option in OPTIONS.values() if option.short}
_OTHER_NAMES: Final = {"workdir": "chdir", "share": "oversubscribe", "tasks-per-node": "ntasks-per-node"}


@dataclass(frozen=True, slots=True)
class Directive:
    """One option that a script asks for.

    Args:
        line: its number in the script, from 1.
        name: of the option, without dashes.
        value: ``""`` for one without.
    """

    line: int
    name: str
    value: str


def read_directives(script: str) -> tuple[Directive, ...]:
    """The options in the ``#SBATCH`` lines before the first command. Of one named twice the last counts.

    Raises:
        InvalidSpec: a line is not understood, or names an option that sbatch does not have.
    """
    found: dict[str, Directive] = {}
    errors: list[FieldError] = []
    for number, words in _lines(script, errors):
        try:
            for directive in _parse(number, words):
                found[directive.name] = directive
        except ValueError as error:
            errors.append(_error(number, str(error)))
    if errors:
        raise InvalidSpec(errors)
    return tuple(found.values())


def _lines(script: str, errors: list[FieldError]) -> Iterator[tuple[int, list[str]]]:
    for number, line in enumerate(script.split("\n"), 1):
        if line.strip() and not line.startswith("#"):
            return
        if line == PREFIX or line.startswith((f"{PREFIX} ", f"{PREFIX}\t")):
            try:
                words = shlex.split(line[len(PREFIX) :], comments=True)
            except ValueError as error:
                errors.append(_error(number, f"{str(error).lower()} in {line!r}"))
                continue
            if ":" in words:
                errors.append(_error(number, "heterogeneous jobs (':') are not supported in scripts"))
            elif "hetjob" in words or "packjob" in words:
                errors.append(_error(number, "heterogeneous jobs are not supported in scripts"))
            else:
                yield number, words


def _parse(number: int, words: Sequence[str]) -> Iterator[Directive]:
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            option = _long(name)
            if not equals and option.value == "yes":
                value = _next(rest, f"--{option.name}")
            elif equals and option.value == "no":
                raise ValueError(f"--{option.name} takes no value, and is given {value!r}")
        elif word.startswith("-") and len(word) > 1:
            option = _short(word[1])
            value = word[2:]
            if option.value == "no" and value:
                rest.insert(0, f"-{value}")
                value = ""
            elif option.value == "yes":
                value = value.removeprefix("=") or _next(rest, word)
        else:
            raise ValueError(f"{word!r} is no option; options begin with '-'")
        yield Directive(number, option.name, value)


def _next(rest: list[str], name: str) -> str:
    if not rest:
        raise ValueError(f"{name} needs a value")
    return rest.pop(0)


def _long(name: str) -> Option:
    name = _OTHER_NAMES.get(name, name)
    if name in OPTIONS:
        return OPTIONS[name]
    starts = [option for option in OPTIONS.values() if name and option.name.startswith(name)]
    if len(starts) == 1:
        return starts[0]  # getopt takes any beginning that is unique
    raise ValueError(f"sbatch has no option --{name}{nearest(name, list(OPTIONS))}"[:200])


def _short(letter: str) -> Option:
    if letter not in _BY_LETTER:
        raise ValueError(f"sbatch has no option -{letter}")
    return _BY_LETTER[letter]


def _error(number: int, message: str) -> FieldError:
    return FieldError("script", f"line {number}, {PREFIX}: {message}")
