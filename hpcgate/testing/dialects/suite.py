"""``DialectConformance``: what every dialect must keep."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import pytest

from hpcgate.testing.dialects.access import AccessConformance
from hpcgate.testing.dialects.errors import ErrorConformance
from hpcgate.testing.dialects.facts import DialectFacts
from hpcgate.testing.dialects.mounting import MountingConformance
from hpcgate.testing.dialects.server import DialectServer, running


class DialectConformance(ErrorConformance, AccessConformance, MountingConformance):
    """Subclass it as ``TestNAME``, and give it the attribute ``facts`` and the fixture ``plugin`` (scope ``class``).

    The bases stand in this order because pytest collects the tests of the last one first.
    """

    facts: ClassVar[DialectFacts]

    @pytest.fixture(scope="class")
    @classmethod
    def served(cls, plugin: object, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DialectServer]:
        """The dialect, over HTTP."""
        with running(plugin, cls.facts, tmp_path_factory.mktemp(cls.facts.name) / "home") as served:
            yield served
