"""``SchedulerConformance``: all tiers in one class to subclass."""

from __future__ import annotations

from hpcgate.testing.conformance.capabilities import CapabilityConformance
from hpcgate.testing.conformance.live import LiveConformance
from hpcgate.testing.conformance.safety import SafetyConformance
from hpcgate.testing.conformance.static import StaticConformance


class SchedulerConformance(CapabilityConformance, SafetyConformance, LiveConformance, StaticConformance):
    """Subclass it as ``TestNAME`` and give the fixtures ``plugin``, ``site`` and ``transport`` (scope ``class``).

    The bases stand in this order because pytest collects the tests of the last one first.
    """
