"""The pages of the documentation as these tests look at them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*(page for page in DOCS.rglob("*.md") if "_build" not in page.parts), *ROOT.glob("*.md")])

_FENCE = re.compile(r"^(?P<indent> *)```(?P<language>[^\n`]*)\n(?P<text>.*?)^(?P=indent)```$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block.

    Args:
        run: whether ``<!-- run -->`` stands before it.
        output: text of the block ``text`` that follows it directly, if it is to be run.
    """

    language: str
    text: str
    run: bool = False
    output: str | None = None


def blocks(page: Path) -> Iterator[Block]:
    """The fenced blocks of a page, in order."""
    source = page.read_text(encoding="utf-8")
    found = list(_FENCE.finditer(source))
    for number, match in enumerate(found):
        run = source[: match.start()].rstrip(" ").endswith("<!-- run -->\n")
        after = found[number + 1] if number + 1 < len(found) else None
        follows = run and after and after["language"] == "text" and not source[match.end() : after.start()].strip()
        yield Block(match["language"], match["text"], run, after["text"] if after and follows else None)


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return _FENCE.sub("", page.read_text(encoding="utf-8"))


def name(page: Path) -> str:
    """How a test calls a page."""
    return str(page.relative_to(ROOT))
