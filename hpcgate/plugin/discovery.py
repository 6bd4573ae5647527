"""Where plugins come from: the entry points of installed distributions, and objects that the caller gives."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import Distribution, distributions
from typing import Final

_UNKNOWN: Final = "unknown"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A plugin that may be loaded.

    Args:
        name: of the entry point.
        version: of the distribution; ``None`` = the plugin itself may tell.
        distribution: its name; ``None`` = given by the caller.
        load: imports it; may raise anything.
    """

    name: str
    version: str | None
    distribution: str | None
    load: Callable[[], object]


def find(group: str, extra: Sequence[tuple[str, object]]) -> list[Candidate]:
    """All candidates: those that the caller gives first, then the installed ones by name."""
    given = [Candidate(name, None, None, lambda plugin=plugin: plugin) for name, plugin in extra]  # type: ignore[misc]
    return given + sorted(_installed(group), key=lambda each: (each.name, each.distribution or ""))


def _installed(group: str) -> Iterator[Candidate]:
    seen: set[str] = set()
    for distribution in distributions():
        # Looked at before the metadata, which takes ten times as long to read and matters for few of them.
        if f"[{group}]" not in (distribution.read_text("entry_points.txt") or ""):
            continue
        name = _text(distribution, "Name")
        # The first on sys.path hides later ones of the same name, as it does for imports.
        normal = name.lower().replace("_", "-")
        if normal not in seen:
            seen.update({normal} - {_UNKNOWN})
            yield from _candidates(distribution, name, group)


def _candidates(distribution: Distribution, name: str, group: str) -> Iterator[Candidate]:
    version = _text(distribution, "Version")
    try:
        entries = list(distribution.entry_points.select(group=group))
    except Exception as error:  # noqa: BLE001 - the file is theirs, and the parser raises what it comes across
        yield Candidate(name, version, name, _raiser(ValueError(f"its entry_points.txt cannot be read: {error}")))
        return
    for entry in entries:
        yield Candidate(entry.name, version, name, entry.load)


def _raiser(error: Exception) -> Callable[[], object]:
    def load() -> object:
        raise error

    return load


def _text(distribution: Distribution, key: str) -> str:
    """A metadata field; ``"unknown"`` where the metadata is missing or damaged."""
    try:
        metadata: Mapping[str, str] = distribution.metadata  # type: ignore[assignment]
        return metadata[key] or _UNKNOWN if key in metadata else _UNKNOWN
    except Exception:  # noqa: BLE001 - other people's files; newer Pythons raise where older ones answer None
        return _UNKNOWN


def selected(names: set[str], environ: Mapping[str, str]) -> str | None:
    """Whether the environment lets a plugin be loaded.

    Args:
        names: under which it is known: entry point and distribution.
        environ: ``HPCGATE_LOAD_PLUGINS`` (only these; empty = none) and ``HPCGATE_BLOCK_PLUGINS`` (not these) count.

    Returns:
        Why it is blocked; ``None`` = it is not.
    """
    allowed = environ.get("HPCGATE_LOAD_PLUGINS")
    if allowed is not None and names.isdisjoint(_words(allowed)):
        return "HPCGATE_LOAD_PLUGINS does not name it"
    if not names.isdisjoint(_words(environ.get("HPCGATE_BLOCK_PLUGINS", ""))):
        return "HPCGATE_BLOCK_PLUGINS names it"
    return None


def _words(text: str) -> set[str]:
    return {word.strip() for word in text.split(",") if word.strip()}
