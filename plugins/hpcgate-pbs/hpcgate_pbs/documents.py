"""What ``qstat -f`` and ``pbsnodes`` print, in any of its three forms, as flat attributes.

Whatever the form, an object is a mapping of attribute to text, with a dot before the part of an attribute
(``Resource_List.walltime``), as PBS's own plain form writes it.

JSON is only as good as the PBS that prints it: older ones leave quotes and line breaks of environment values as they
are, write ``005`` without quotes where a name looks like a number, and repeat keys. What is no JSON is read line by
line, for every PBS prints one key a line. The first value of a repeated key stands: an attribute that matters stands
before whatever a user's environment may pretend.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

Attributes = Mapping[str, str]

_KEY = re.compile(r'\s*"((?:[^"\\]|\\.)*)"\s*:\s*(.*)\Z', re.DOTALL)
_CLOSE = re.compile(r"\s*[}\]],?\s*\Z")
_END_OF_TEXT = re.compile(r'(?<!\\)(?:\\\\)*",?\s*\Z')
_ATTRIBUTE = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*=")
_HEAD = re.compile(r"([A-Za-z][A-Za-z ]*): (\S.*)\Z")
#: Keys of a JSON answer that hold objects.
GROUPS: Final = ("Jobs", "Queue", "Server", "nodes")


@dataclass(frozen=True, slots=True)
class Document:
    """One answer.

    Args:
        objects: jobs, queues, nodes or servers by name.
        timestamp: epoch seconds by the server's clock; JSON alone has it.
        version: of PBS; JSON alone has it.
    """

    objects: Mapping[str, Attributes] = field(default_factory=dict)
    timestamp: float | None = None
    version: str | None = None


def read_json(text: str) -> Document:
    """Reads the JSON form, and what is nearly JSON.

    Raises:
        ValueError: it is no such document, or ends too soon.
    """
    try:
        data = json.loads(
            text,
            strict=False,
            parse_int=str,
            parse_float=str,
            parse_constant=str,
            object_pairs_hook=_first_of_each,
        )
    except json.JSONDecodeError:
        data = _repaired(text)
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error
    if not isinstance(data, dict) or "timestamp" not in data:
        raise ValueError("it is no answer of PBS: it has no timestamp")
    objects = {
        name: dict(_flat(attributes))
        for group in GROUPS
        for name, attributes in _mapping(data.get(group)).items()
        if isinstance(attributes, dict)
    }
    return Document(objects, _number(data["timestamp"]), _text(data.get("pbs_version")))


def read_dsv(text: str) -> Document:
    """Reads the form of ``-F dsv``: one object a line, attributes between bars.

    Raises:
        ValueError: it is of another form.
    """
    objects: dict[str, Attributes] = {}
    for line in _logical_lines(text):
        head, *parts = re.split(r"(?<!\\)\|", line)
        objects[_name(head)] = _first_of_each(_joined(parts))
    return Document(objects)


def read_plain(text: str) -> Document:
    """Reads the form for people: one attribute a line, what is longer goes on behind a tab.

    Raises:
        ValueError: it is of another form.
    """
    objects: dict[str, dict[str, str]] = {}
    attributes: dict[str, str] | None = None
    name = ""
    for line in text.split("\n"):
        if line.startswith("\t") and attributes is not None and name:
            attributes[name] += line[1:]
        elif line.startswith("    ") and attributes is not None:
            name, found, value = line.strip(" ").partition(" = ")
            if not found:
                raise ValueError(f"{line!r} is no attribute")
            attributes.setdefault(name, value)
        elif line.strip():
            attributes = objects.setdefault(_name(line), {})
            name = ""
    return Document(objects)


# --- JSON ---------------------------------------------------------------------------------------------------------


def _first_of_each(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        known = found.setdefault(key, value)
        if known is not value and isinstance(known, dict) and isinstance(value, dict):
            found[key] = {**value, **known}
    return found


def _repaired(text: str) -> dict[str, Any]:
    """Reads an answer by its lines.

    Raises:
        ValueError: a line is neither a key nor the end of an object, or the end is missing.
    """
    lines = text.split("\n")
    while lines and not lines[-1].strip():
        lines.pop()
    if not lines or lines[0].strip() != "{":
        raise ValueError("it is no JSON object")
    pairs, at = _object(lines, 1)
    if at != len(lines):
        raise ValueError(f"line {at + 1} stands behind the end")
    return pairs


def _object(lines: list[str], at: int) -> tuple[dict[str, Any], int]:
    """The object that begins before line ``at``, and the line behind its end."""
    pairs: list[tuple[str, Any]] = []
    while at < len(lines):
        line = lines[at]
        if _CLOSE.match(line):
            return _first_of_each(pairs), at + 1
        match = _KEY.match(line)
        if not match:
            raise ValueError(f"line {at + 1} is no key: {line[:80]!r}")
        key, rest = match.groups()
        value: dict[str, Any] | str
        value, at = _object(lines, at + 1) if rest.strip() == "{" else _value(lines, at, rest)
        pairs.append((key, value))
    raise ValueError("it ends too soon")


def _value(lines: list[str], at: int, rest: str) -> tuple[str, int]:
    """The value that begins with ``rest``, and the line behind it; a text may hold bare quotes and line breaks."""
    if not rest.startswith('"'):
        return rest.strip().rstrip(",").strip("[]{}"), at + 1
    while not (_END_OF_TEXT.search(rest[1:]) and _goes_on(lines, at + 1)):
        at += 1
        if at == len(lines):
            raise ValueError("a text has no end")
        rest += f"\n{lines[at]}"
    inner = rest.rstrip().removesuffix(",")[1:-1]
    return _unescaped(inner), at + 1


def _goes_on(lines: list[str], at: int) -> bool:
    return at < len(lines) and bool(_KEY.match(lines[at]) or _CLOSE.match(lines[at]))


def _unescaped(text: str) -> str:
    try:
        return str(json.loads(f'"{text}"', strict=False))
    except json.JSONDecodeError:
        return text


def _flat(attributes: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in attributes.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        elif isinstance(value, list):
            yield prefix + name, ",".join(map(str, value))
        else:
            yield prefix + name, str(value)


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _number(value: object) -> float | None:
    try:
        return float(str(value))
    except ValueError:
        return None


# --- dsv and plain ------------------------------------------------------------------------------------------------


def _logical_lines(text: str) -> Iterator[str]:
    """Lines that begin an object, each with those behind it that a line break inside a value made."""
    whole = ""
    for line in text.split("\n"):
        if _HEAD.match(line.partition("|")[0]):
            if whole:
                yield whole
            whole = line
        elif whole:
            whole += f"\n{line}"
        elif line.strip():
            raise ValueError(f"{line[:80]!r} begins no object")
    if whole:
        yield whole


def _joined(parts: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Attributes, each with the parts behind it that a bar inside a value made."""
    current = ""
    for part in parts:
        if _ATTRIBUTE.match(part):
            if current:
                yield _pair(current)
            current = part
        elif current:
            current += f"|{part}"
    if current:
        yield _pair(current)


def _pair(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    return name, value.rstrip("\n").replace("\\|", "|")


def _name(head: str) -> str:
    match = _HEAD.match(head)
    if not match:
        raise ValueError(f"{head[:80]!r} names no object")
    return match.group(2).strip()
