"""The reference says what the code does."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
import tomllib

import pluggy
import pytest
from docs.pages import DOCS, PAGES, ROOT, blocks, name

from hpcgate import hookspecs
from hpcgate.config import config_from

HOOKS = (DOCS / "plugin" / "hooks.md").read_text(encoding="utf-8")
GENERATED = (
    "slurm-states",
    "pbs-states",
    "pbs-failures",
    "config",
    "commands",
    "exit-codes",
    "states",
    "skips",
    "requeues",
    "reasons",
    "errors",
    "limits",
    "routes",
)


def test_what_is_made_from_the_code_is_up_to_date():
    result = subprocess.run(
        [sys.executable, "docs/generate.py", "--check"], cwd=ROOT, capture_output=True, text=True, timeout=110
    )
    assert (result.stdout + result.stderr, result.returncode) == ("", 0)


@pytest.mark.parametrize("block", [*GENERATED, "settings-local", "fields-local", "capabilities-local"])
def test_every_table_stands_on_one_page_and_is_not_empty(block):
    found = [
        match[1].strip()
        for page in PAGES
        for match in re.finditer(
            rf"<!-- begin: {block} -->(.*?)<!-- end: {block} -->", page.read_text(encoding="utf-8"), re.DOTALL
        )
    ]
    assert len(found) == 1
    assert found[0]


def specs() -> dict[str, tuple[str, ...]]:
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    return {hook: getattr(manager.hook, hook).spec.argnames for hook in dir(hookspecs) if hook.startswith("hpcgate_")}


def test_every_hook_is_documented_by_its_signature():
    headings = re.findall(r"^### `(\w+)\((.*?)\)`$", HOOKS, re.MULTILINE)
    documented = {hook: tuple(filter(None, arguments.split(", "))) for hook, arguments in headings}
    assert documented == specs()
    assert len(headings) == len(documented)


@pytest.mark.parametrize("hook", sorted(specs()))
def test_a_hook_stands_under_its_kind(hook):
    before = HOOKS[: HOOKS.index(f"### `{hook}(")]
    kind = re.findall(r"^## (\w+)$", before, re.MULTILINE)[-1]
    marker = inspect.getsource(hookspecs).split(f"def {hook}(")[0].rsplit("@hookspec", 1)[1].strip()
    assert (kind == "Addressed") == (marker == "(firstresult=True)")
    section = inspect.getsource(hookspecs).split(f"def {hook}(")[0].rsplit("# --- ", 1)[1]
    assert section.startswith(kind.lower())


@pytest.mark.parametrize("hook", sorted(specs()))
def test_the_page_names_what_a_hook_returns(hook):
    """For the hooks that return a model."""
    returned = inspect.signature(getattr(hookspecs, hook)).return_annotation
    models = re.findall(r"\b[A-Z]\w+", returned)
    said = HOOKS[HOOKS.index(f"### `{hook}(") :].split("\n### ")[0]
    assert [model for model in models if model not in ("Sequence", "None") and f"`{model}`" not in said] == []


def test_every_environment_variable_is_documented():
    used = set()
    modules = [*(ROOT / "hpcgate").rglob("*.py"), *(ROOT / "plugins").glob("*/hpcgate_*/*.py")]
    for path in (path for path in modules if "testing" not in path.parts):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                used |= set(re.findall(r"(?<![A-Z_])HPCGATE_[A-Z_]+[A-Z]\b", node.value))
            if isinstance(node, ast.keyword) and node.arg and node.arg.startswith("HPCGATE_"):
                used.add(node.arg)
    assert used >= {"HPCGATE_HOME", "HPCGATE_URL", "HPCGATE_JOB_ID"}
    text = (DOCS / "reference/config.md").read_text() + (DOCS / "reference/settings.md").read_text()
    assert {variable for variable in used if f"`{variable}`" not in text} == set()


EXAMPLES = [
    pytest.param(block.text, id=f"{name(page)} {number}")
    for page in PAGES
    for number, block in enumerate(blocks(page))
    if block.language == "toml" and "[sites" in block.text + "[sites" and "build-system" not in block.text
]


@pytest.mark.parametrize("text", [param for param in EXAMPLES if "literalinclude" not in param.values[0]])
def test_every_configuration_that_is_shown_is_one(text, tmp_path):
    assert config_from(tomllib.loads(text), home=tmp_path)
