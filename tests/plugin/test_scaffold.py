"""A new plugin distribution works as it is."""

import subprocess
import sys
import tomllib

import pytest

import hpcgate
from hpcgate.errors import Conflict, InvalidSpec
from hpcgate.plugin.scaffold import create


def run_its_tests(root, *options):
    """Runs the tests of a distribution that is `installed` by a dist-info folder beside it."""
    data = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    info = root / f"{data['name'].replace('-', '_')}-{data['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {data['name']}\nVersion: {data['version']}\n")
    ((name, value),) = data["entry-points"]["hpcgate"].items()
    (info / "entry_points.txt").write_text(f"[hpcgate]\n{name} = {value}\n")
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-ra", *options],
        cwd=root,
        env={
            "PYTHONPATH": str(root),
            "PATH": "/usr/bin:/bin",
            "HOME": str(root),
            "PYTHONDONTWRITEBYTECODE": "1",
            # Whatever else is installed beside pytest takes longer to import than these tests to run.
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "PYTEST_PLUGINS": "hpcgate.testing.pytest_plugin",
        },
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def test_new_plugin_passes_its_tests_from_the_first_minute(tmp_path):
    root = create("my-batch2", tmp_path / "new")
    result = run_its_tests(root)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "passed" in result.stdout
    # It honours no secret environment, and that is the one thing that it need not.
    assert result.stdout.count("SKIPPED") == 1, result.stdout


def test_new_dialect_is_what_the_kit_for_dialects_asks_for(tmp_path):
    """The example of the documentation; `tests/testing` puts it to the test in this process."""
    root = create("my-api", tmp_path / "new", "dialect")
    found = sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())
    package = "hpcgate_dialect_my_api"
    assert found == [
        "README.md", f"{package}/__init__.py", f"{package}/dialect.py", "pyproject.toml", "tests/test_conformance.py",
    ]  # fmt: skip
    data = tomllib.loads((root / "pyproject.toml").read_text())
    assert data["project"]["entry-points"]["hpcgate"] == {"dialect-my-api": "hpcgate_dialect_my_api:plugin"}
    result = run_its_tests(root, "-k", "test_it_is_seen_below_its_prefix or test_its_document")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "2 passed" in result.stdout


def test_its_tests_can_fail(tmp_path):
    root = create("lsf", tmp_path / "new")
    module = root / "hpcgate_lsf" / "__init__.py"
    module.write_text(module.read_text().replace('"args", ', '"argz", '))
    result = run_its_tests(root)
    assert result.returncode == 1
    assert "FAILED tests/test_conformance.py::TestLsfScheduler::test_declared_fields_exist" in result.stdout


def test_it_has_the_shape_of_all_plugins(tmp_path):
    root = create("my-batch", tmp_path / "new")
    found = sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())
    assert found == [
        "README.md",
        "hpcgate_my_batch/__init__.py",
        "pyproject.toml",
        "tests/test_commands.py",
        "tests/test_conformance.py",
    ]
    data = tomllib.loads((root / "pyproject.toml").read_text())
    assert data["project"]["entry-points"]["hpcgate"] == {"my-batch": "hpcgate_my_batch:plugin"}
    major, minor, _ = hpcgate.__version__.split(".")
    assert data["project"]["dependencies"] == [f"hpcgate>={major}.{minor},<{major}.{int(minor) + 1}"]
    assert not [path for path in root.rglob("*") if path.is_file() and "%%" in path.read_text()]


@pytest.mark.parametrize("name", ["", "LSF", "1st", "a b", "a_b", "../up", "x-", "a\n", "x" * 41, "dialect-tes"])
def test_name_that_no_scheduler_can_have(tmp_path, name):
    with pytest.raises(InvalidSpec, match="is no name for a scheduler"):
        create(name, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_folder_that_is_not_empty_is_left_alone(tmp_path):
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(Conflict, match="is not empty"):
        create("lsf", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(Conflict, match="cannot be written"):
        create("lsf", tmp_path / "file" / "new")
