"""Links lead somewhere, files that are named are there, and what is marked to run does what it says."""

from __future__ import annotations

import doctest
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from docs.pages import DOCS, PAGES, ROOT, blocks, name, prose

#: Made by a command, or in somebody else's project.
ELSEWHERE = ("docs/_build/html", "tests/test_conformance.py")


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.replace(" ", "-") for heading in plain}


LINKS = [
    pytest.param(page, target, id=f"{name(page)} {target}")
    for page in PAGES
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page))
    if not target.startswith(("http:", "https:", "mailto:"))
]


def test_there_are_links():
    assert len(LINKS) > 30


@pytest.mark.parametrize(("page", "target"), LINKS)
def test_a_link_leads_to_a_page_and_a_heading(page, target):
    file, _, anchor = target.partition("#")
    found = (page.parent / file).resolve() if file else page
    assert found.is_file(), f"{found} is not there"
    if anchor:
        assert anchor in anchors(found)


NAMED = [
    pytest.param(path, id=f"{name(page)} {path}")
    for page in PAGES
    for path in re.findall(r"`((?:hpcgate|docs|tests|plugins)/[\w./-]*)`", prose(page))
    if path not in ELSEWHERE
]


@pytest.mark.parametrize("path", NAMED)
def test_a_file_that_is_named_is_there(path):
    assert (ROOT / path).exists()


def test_every_page_can_be_reached_from_the_first_one():
    index = (DOCS / "index.md").read_text(encoding="utf-8")
    listed = {line.strip() for line in index.splitlines()}
    pages = [page.relative_to(DOCS).with_suffix("") for page in PAGES if DOCS in page.parents]
    assert [str(page) for page in pages if str(page) not in listed and str(page) != "index"] == []


RUN = [page for page in PAGES if any(block.run for block in blocks(page))]


def test_there_are_examples_to_run():
    assert {name(page) for page in RUN} >= {"docs/tutorial/first-job.md", "docs/how-to/embed.md"}


@pytest.mark.live
@pytest.mark.parametrize("page", RUN, ids=name)
def test_what_is_marked_to_run_does_what_the_page_says(page, tmp_path):
    marked = [block for block in blocks(page) if block.run]
    (language,) = {block.language for block in marked}
    end = "--- end of block ---"
    say = {"python": f"print({end!r}, flush=True)", "sh": f"echo '{end}'"}[language]
    script = "\n".join(f"{block.text}\n{say}" for block in marked)
    command = [sys.executable, "-W", "error", "-"] if language == "python" else ["sh", "-eu"]
    scripts = str(Path(sys.executable).parent)
    result = subprocess.run(
        command,
        input=script,
        cwd=tmp_path,
        env={**os.environ, "HPCGATE_HOME": str(tmp_path / "home"), "PATH": f"{scripts}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert (result.returncode, result.stderr) == (0, ""), result.stdout + result.stderr
    printed = result.stdout.split(f"{end}\n")
    assert len(printed) == len(marked) + 1
    check = doctest.OutputChecker()
    for block, got in zip(marked, printed, strict=False):
        if block.output is not None:
            flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
            assert check.check_output(block.output, got, flags), f"expected:\n{block.output}\ngot:\n{got}"
