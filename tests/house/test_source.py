"""Rules about the source tree that no linter knows."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from statistics import median

import pytest

ROOT = Path(__file__).parents[2]
MODULES = sorted(
    path
    for folder in (ROOT / "hpcgate", *ROOT.glob("plugins/*/hpcgate_*"))
    if folder.is_dir() and folder.suffix != ".egg-info"
    for path in folder.rglob("*.py")
)


def imports(path: Path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            yield node.module or "", [alias.name for alias in node.names]
        elif isinstance(node, ast.Import):
            yield from ((alias.name, []) for alias in node.names)


def test_names_are_imported_from_the_module_that_defines_them():
    """Importing from the root from below is how import cycles start."""
    submodules = {item.stem for item in (ROOT / "hpcgate").iterdir()} | {"__version__"}
    from_root = {
        str(path.relative_to(ROOT)): {name for module, names in imports(path) if module == "hpcgate" for name in names}
        for path in MODULES
        if path != ROOT / "hpcgate/__init__.py"
    }
    assert {path: names - submodules for path, names in from_root.items() if not names <= submodules} == {}


def test_every_module_says_what_it_is_for():
    silent = [path for path in MODULES if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))]
    assert silent == []


def test_modules_stay_small():
    sizes = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES}
    large = sorted(str(path.relative_to(ROOT)) for path, lines in sizes.items() if lines > 400)
    assert median(sizes.values()) <= 150
    assert len(large) <= len(sizes) * 0.06, f"too many modules of more than 400 lines: {large}"


def test_there_is_no_drawer_for_leftovers():
    assert [path for path in MODULES if path.stem in ("utils", "util", "helpers", "misc")] == []


def test_the_gate_runs_the_command_of_the_readme():
    from_readme = re.search(
        r"^## Test it\n.*?```sh\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE
    )
    gate = (ROOT / ".ci" / "run").read_text()
    assert "README.md" in gate
    assert "'## Test it'" in gate or '"## Test it"' in gate
    assert from_readme
    assert "tox" in from_readme.group(1)


@pytest.mark.parametrize("heading", ["Run it", "Test it"])
def test_the_readme_has_one_command_under_each_heading(heading):
    text = (ROOT / "README.md").read_text()
    sections = re.split(r"^## ", text, flags=re.MULTILINE)
    (section,) = [each for each in sections if each.startswith(f"{heading}\n")]
    blocks = re.findall(r"^```(\w*)\n(.*?)^```", section, re.DOTALL | re.MULTILINE)
    assert [language for language, _ in blocks] == ["sh"]
    assert len(blocks[0][1].splitlines()) == 1
