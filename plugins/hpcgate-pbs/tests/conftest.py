"""A stand-in for PBS, and sites that use it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hpcgate_pbs import plugin as pbs
from hpcgate_pbs.settings import PbsSettings

from hpcgate.testing.conformance.sites import default_site

STANDIN = Path(__file__).parent / "standin"

# For `pbs_answers` and `pbs_reading`: with importlib's import mode test files do not see their neighbours.
sys.path.append(str(Path(__file__).parent))


@dataclass(frozen=True)
class Standin:
    """The stand-in's commands, in a folder of their own.

    Args:
        folder: that holds ``bin`` and ``state``.
    """

    folder: Path

    @property
    def bin_dir(self):
        return self.folder / "bin"

    def run(self, *words, stdin=""):
        program = [str(self.bin_dir / words[0]), *words[1:]]
        return subprocess.run(
            program, input=stdin, capture_output=True, text=True, env={"TZ": "UTC", "PATH": "/usr/bin:/bin"}
        )

    def configure(self, **settings):
        """Changes the server: ``history``, ``query_other_jobs``, ``reachable``, ``cpus``, ..."""
        code = (
            f"import json, sys; sys.path.insert(0, {str(STANDIN)!r}); from pathlib import Path\n"
            "from store import configure; configure(Path(sys.argv[1]), **json.loads(sys.argv[2]))"
        )
        subprocess.run(
            [sys.executable, "-SE", "-c", code, str(self.folder / "state"), json.dumps(settings)], check=True
        )

    def site(self, folder, **settings):
        """A site with the plugin's default settings but these."""
        site = default_site("pbs", pbs, folder)
        return replace(site, settings=PbsSettings(bin_dir=str(self.bin_dir), **settings))

    def end_all(self):
        """Ends all jobs, so that no process is left behind."""
        ids = self.run("qstat").stdout.split()
        self.run("qdel", *[word for word in ids if word.endswith(".testpbs")])
        until = time.monotonic() + 20
        while self.run("qstat").stdout:
            assert time.monotonic() < until, "jobs of the stand-in do not end"
            time.sleep(0.05)


def install(folder):
    subprocess.run([sys.executable, str(STANDIN / "install.py"), str(folder)], check=True, capture_output=True)
    return Standin(folder)


@pytest.fixture(scope="class")
def standin_of_class(tmp_path_factory):
    standin = install(tmp_path_factory.mktemp("pbs"))
    yield standin
    standin.end_all()


@pytest.fixture
def standin(tmp_path_factory):
    standin = install(tmp_path_factory.mktemp("pbs"))
    yield standin
    standin.end_all()
