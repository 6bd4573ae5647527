"""The options, the fixtures, and the kit as it is run on what is installed."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from hpcgate.errors import ConfigError
from hpcgate.testing.conformance.sites import site_of_file
from hpcgate.testing.fakes import FakeScheduler

pytest_plugins = ["pytester"]


def test_fixtures(hpcgate_fake_scheduler, hpcgate_scripted_transport):
    assert hpcgate_fake_scheduler.hpcgate_scheduler_info().name == "fake"
    hpcgate_scripted_transport.on("true")
    assert hpcgate_scripted_transport.run(["true"]).exit_status == 0


def test_a_pytest_run_pays_next_to_nothing_for_it():
    code = (
        "import sys, pytest, hpcgate.testing.pytest_plugin; print(*(n for n in sys.modules if n.startswith('hpcgate')))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(result.stdout.split()) == {"hpcgate", "hpcgate.testing", "hpcgate.testing.pytest_plugin"}


@pytest.fixture
def _few_plugins(monkeypatch):
    """What else is installed beside pytest takes longer to import than the kit to run."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTEST_PLUGINS", "hpcgate.testing.pytest_plugin")


def run_kit(pytester, *options):
    pytester.makeini("[pytest]\nfilterwarnings = error\n")
    arguments = ["--pyargs", "hpcgate.testing.conformance", "-p", "no:cacheprovider", "-rs", *options]
    return pytester.runpytest_subprocess(*arguments)


def test_kit_without_a_scheduler_skips_with_one_line(pytester):
    result = run_kit(pytester)
    assert result.ret == 0
    result.assert_outcomes(skipped=1, deselected=result.parseoutcomes()["deselected"])
    result.stdout.fnmatch_lines(["SKIPPED*name a scheduler plugin with --hpcgate-scheduler"])


@pytest.fixture
def installed(_few_plugins, tmp_path, monkeypatch):
    """A distribution whose plugin runs jobs."""
    info = tmp_path / "kitted-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: kitted\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[hpcgate]\nkitted = kitted:plugin\n")
    source = "from hpcgate.testing.running import RunningScheduler\nplugin = RunningScheduler('kitted')\n"
    (tmp_path / "kitted.py").write_text(source)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))


def test_kit_on_an_installed_scheduler(pytester, installed):
    result = run_kit(pytester, "--hpcgate-scheduler=kitted", "-k", "info or exit_code or output or entry_point")
    assert result.ret == 0
    assert result.parseoutcomes()["passed"] >= 5


def test_kit_on_a_site_that_a_file_describes(pytester, installed, tmp_path):
    file = tmp_path / "sites.toml"
    table = f'[sites.one]\nscheduler = "kitted"\nwork_root = "{tmp_path}/work"\npoll = {{min_s = 0.2, max_s = 1}}\n'
    file.write_text(table + '[sites.two]\nscheduler = "local"\n[sites.one.settings]\ncpus = 3\n')
    assert tomllib.loads(file.read_text())["sites"]["one"]["settings"] == {"cpus": 3}
    result = run_kit(
        pytester, "--hpcgate-scheduler=kitted", f"--hpcgate-site={file}", "-k", "output_is or settings_survive"
    )
    assert result.ret == 0, str(result.stdout)
    result.assert_outcomes(passed=2, deselected=result.parseoutcomes()["deselected"])
    assert Path(tmp_path / "work").is_dir()


@pytest.mark.parametrize(("others", "found"), [("", "none"), ('[sites.b]\nscheduler = "fake"\n', "a, b")])
def test_file_must_have_one_site_with_the_scheduler(tmp_path, others, found):
    file = tmp_path / "sites.toml"
    scheduler = "fake" if others else "local"
    file.write_text(f'[sites.a]\nscheduler = "{scheduler}"\n{others}')
    with pytest.raises(ConfigError, match=f"one site with scheduler 'fake' is wanted; there is {found}"):
        site_of_file("fake", FakeScheduler(), file)
