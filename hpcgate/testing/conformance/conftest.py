"""Without ``--hpcgate-scheduler`` there is nothing to put to the test: one line says so."""

from __future__ import annotations

from pathlib import Path

import pytest


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves one skipped test of the kit where no scheduler is named."""
    if config.getoption("--hpcgate-scheduler"):
        return
    here = Path(__file__).parent
    mine = [item for item in items if item.path.parent == here]
    if mine:
        mine[0].add_marker(pytest.mark.skip(reason="name a scheduler plugin with --hpcgate-scheduler"))
        config.hook.pytest_deselected(items=mine[1:])
        items[:] = [item for item in items if item not in mine[1:]]
