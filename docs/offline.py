"""Says which pages load something from elsewhere: ``python docs/offline.py docs/_build/html``."""

from __future__ import annotations

import sys
from html.parser import HTMLParser
from pathlib import Path

#: Elements that a browser loads by itself -> the attribute that says from where.
LOADED = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src", "object": "data"}


class Loads(HTMLParser):
    """Collects what a page loads from other hosts."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Looks at one element."""
        given = dict(attrs)
        target = given.get(LOADED.get(tag, "")) or ""
        if target.startswith(("http:", "https:", "//")) and given.get("rel") != "canonical":
            self.found.append(target)


def main() -> int:
    pages = list(Path(sys.argv[1]).rglob("*.html"))
    bad = []
    for page in pages:
        loads = Loads()
        loads.feed(page.read_text(encoding="utf-8"))
        bad += [f"{page}: {target}" for target in loads.found]
    for sheet in Path(sys.argv[1]).rglob("*.css"):
        if "url(http" in sheet.read_text(encoding="utf-8").replace('"', "").replace("'", ""):
            bad.append(f"{sheet}: loads from elsewhere")
    print(*bad, f"{len(pages)} pages looked at", sep="\n")
    return 1 if bad or not pages else 0


if __name__ == "__main__":
    sys.exit(main())
