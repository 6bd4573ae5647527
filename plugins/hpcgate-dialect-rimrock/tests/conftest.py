"""A gateway with this dialect."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from rimrock_bench import open_bench


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """One for all tests of a file."""
    home = tmp_path_factory.mktemp("rimrock")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(home / "home of ann"))
        # How long a job that was not taken waits for its next try.
        patch.setattr("hpcgate.service.submission.RETRY_AFTER_S", 0.0)
        with open_bench(home / "gateway") as bench:
            yield bench


@pytest.fixture
def bench(shared):
    """It, with users who have nothing yet."""
    return shared.fresh()
