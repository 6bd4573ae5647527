"""The dialect ``bsp`` on a server of its own, with jobs that really run: by curl."""

from __future__ import annotations

import pytest
from live.bsp_life import Portal, is_held_to_the_limit, live, tables
from live.served import serving

pytestmark = pytest.mark.live
LOCAL = """
[sites.here]
scheduler = "local"
poll = {min_s = 0.1, max_s = 0.5, spool_s = 0.1}
settings = {linger_s = 0.0}
"""


def test_a_whole_life_on_this_machine(tmp_path):
    with serving(tmp_path / "home", LOCAL + tables("here")) as server:
        portal = Portal(server, tmp_path)
        live(portal)
        is_held_to_the_limit(portal, tmp_path)
