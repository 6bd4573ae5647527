"""What the distributions say of themselves, and what their wheels hold."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from configparser import ConfigParser
from email import message_from_string
from pathlib import Path
from zipfile import ZipFile

import pytest

import hpcgate

ROOT = Path(__file__).parents[2]
PLUGINS = sorted(path.parent for path in ROOT.glob("plugins/*/pyproject.toml"))
BOUND = re.compile(r"<|==")


def setup_cfg() -> ConfigParser:
    parser = ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return parser


def project(plugin: Path) -> dict:
    return tomllib.loads((plugin / "pyproject.toml").read_text())["project"]


def test_there_are_plugins():
    assert ROOT / "plugins" / "hpcgate-local" in PLUGINS


@pytest.mark.parametrize("plugin", PLUGINS, ids=lambda path: path.name)
def test_a_plugin_has_the_shape_of_all_plugins(plugin):
    data = project(plugin)
    name = plugin.name.removeprefix("hpcgate-")
    package = plugin.name.replace("-", "_")
    assert data["name"] == plugin.name
    assert data["version"] == hpcgate.__version__, "versions go in lockstep until 1.0"
    assert data["entry-points"]["hpcgate"] == {name: f"{package}:plugin"}
    assert (plugin / package / "__init__.py").is_file()
    assert (plugin / "tests").is_dir()
    assert len((plugin / "README.md").read_text().splitlines()) > 5
    major, minor, _ = hpcgate.__version__.split(".")
    assert f"hpcgate>={major}.{minor},<{major}.{int(minor) + 1}" in data["dependencies"]


def test_every_requirement_has_an_upper_bound():
    core = setup_cfg()
    lines = core["options"]["install_requires"].split("\n")
    for extra in core["options.extras_require"].values():
        lines += extra.split("\n")
    for plugin in PLUGINS:
        lines += project(plugin).get("dependencies", [])
    loose = [line for line in lines if line and not line.startswith("hpcgate[") and not BOUND.search(line)]
    assert loose == []


def test_every_tool_of_the_runner_has_an_upper_bound():
    parser = ConfigParser(interpolation=None)
    parser.read(ROOT / "tox.ini")
    lists = [parser[section].get(key, "") for section in parser.sections() for key in ("deps", "tools")]
    lines = [line for text in lists for line in text.splitlines()]
    own = ("-e ", "{[testenv")
    assert [line for line in lines if line and not line.startswith(own) and not BOUND.search(line)] == []


def test_the_licence_is_apache():
    assert setup_cfg()["metadata"]["license"] == "Apache-2.0"
    assert "Apache License" in (ROOT / "LICENSE").read_text()[:200]
    assert {project(plugin)["license"] for plugin in PLUGINS} == {"Apache-2.0"}


# --- wheels -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ZipFile]:
    """Wheels of all distributions, built from copies so that nothing is left in the source tree."""
    pytest.importorskip("setuptools", minversion="77", reason="building takes setuptools 77 or newer")
    out = tmp_path_factory.mktemp("wheels")
    copies = [tmp_path_factory.mktemp("source") / source.name for source in (ROOT, *PLUGINS)]
    unwanted = shutil.ignore_patterns(".*", "*.egg-info", "build", "dist", "__pycache__", "_build")
    for source, copy in zip((ROOT, *PLUGINS), copies, strict=True):
        shutil.copytree(source, copy, ignore=unwanted)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--wheel-dir", str(out), *map(str, copies)], check=True, timeout=110)
    opened = {path.name.partition("-")[0]: ZipFile(path) for path in out.glob("*.whl")}
    yield opened
    for wheel in opened.values():
        wheel.close()


def contents(wheel: ZipFile) -> set[str]:
    return {name for name in wheel.namelist() if ".dist-info/" not in name}


def sources(folder: Path, *patterns: str) -> set[str]:
    found = (path for pattern in patterns for path in folder.rglob(pattern) if path.is_file())
    return {str(path.relative_to(folder.parent)) for path in found if "__pycache__" not in path.parts}


@pytest.mark.live
def test_the_core_wheel_holds_the_package_with_its_migrations_and_pages_and_nothing_else(wheels):
    held = contents(wheels["hpcgate"])
    assert held == sources(ROOT / "hpcgate", "*.py", "py.typed", "*.html", "static/*", "*.in", "*.tmpl")
    assert "hpcgate/py.typed" in held
    assert any(name.startswith("hpcgate/store/migrations/0001") for name in held)
    assert any(name.startswith("hpcgate/web/") for name in held)


@pytest.mark.live
@pytest.mark.parametrize("plugin", PLUGINS, ids=lambda path: path.name)
def test_the_wheel_of_a_plugin_holds_its_package_and_nothing_else(wheels, plugin):
    package = plugin.name.replace("-", "_")
    assert contents(wheels[package]) == sources(plugin / package, "*.py", "py.typed")


@pytest.mark.live
def test_the_metadata_of_the_core_wheel(wheels):
    wheel = wheels["hpcgate"]
    (name,) = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
    metadata = message_from_string(wheel.read(name).decode())
    assert metadata["Version"] == hpcgate.__version__
    assert metadata["Requires-Python"] == ">=3.11"
    assert set(metadata.get_all("Provides-Extra")) >= {"server", "ssh", "postgres", "all", "testing"}
    assert metadata.get_payload().startswith("# hpcgate"), "the README is its description"
    entry_points = wheel.read(name.replace("METADATA", "entry_points.txt")).decode()
    assert "hpcgate = hpcgate.cli.main:main" in entry_points


@pytest.mark.live
def test_the_wheels_install_and_run_without_the_source_tree(wheels, tmp_path):
    target = tmp_path / "site"
    for wheel in wheels.values():
        wheel.extractall(target)
    # -P: nothing from the current folder. The libraries come from this environment, hpcgate from the wheels.
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import hpcgate, hpcgate_local, tempfile, pathlib\n"
        "assert hpcgate.__file__.startswith(sys.argv[1]), hpcgate.__file__\n"
        "from hpcgate.config import config_from\n"
        "home = pathlib.Path(tempfile.mkdtemp(dir=sys.argv[2]))\n"
        "with hpcgate.open_gateway(config_from({}, home=home)) as gateway:\n"
        "    print(sorted(gateway.sites), gateway.status()['database'])\n"
    )
    command = [sys.executable, "-P", "-c", code, str(target), str(tmp_path)]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stdout, result.stderr) == (0, "['local'] ok\n", "")
