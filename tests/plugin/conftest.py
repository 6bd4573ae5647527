"""Fake distributions in a temp folder, and a job to speak about."""

import sys
from textwrap import dedent

import pytest

from hpcgate.model.job import Job
from hpcgate.model.site import Site
from hpcgate.model.spec import JobSpec
from hpcgate.model.state import JobState
from hpcgate.testing.fakes import FakeSettings


@pytest.fixture
def distribution(tmp_path, monkeypatch):
    """``distribution(name, module_source)`` puts an installed distribution with one plugin on sys.path."""
    made = []

    def make(name, source, *, version="1.0", entry=None, entry_points=None, metadata=True):
        module = f"fakedist_{name.replace('-', '_')}"
        root = tmp_path / f"site-{name}-{version}"
        info = root / f"{module}-{version}.dist-info"
        info.mkdir(parents=True)
        if metadata:
            (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: fakedist-{name}\nVersion: {version}\n")
        text = entry_points or f"[hpcgate]\n{entry or name} = {module}:plugin\n"
        (info / "entry_points.txt").write_text(text)
        (root / f"{module}.py").write_text(dedent(source))
        monkeypatch.syspath_prepend(str(root))
        made.append(module)
        return module

    yield make
    for module in made:
        sys.modules.pop(module, None)


@pytest.fixture
def site():
    return Site(name="here", scheduler="fake", transport="local", work_root="/jobs", settings=FakeSettings())


@pytest.fixture
def make_job():
    def make(number=1, **spec):
        return Job(
            id=number,
            key=f"KEY{number}",
            owner="ann",
            site="here",
            spec=JobSpec(**(spec or {"command": "true"})),
            state=JobState.SUBMITTING,
            folder=f"/jobs/KEY{number}",
            created_at=1.0,
            updated_at=1.0,
        )

    return make


@pytest.fixture
def job(make_job):
    return make_job()
