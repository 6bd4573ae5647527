"""The dialect ``bsp`` in front of the live Slurm, which is reached over ssh as an ordinary account: by curl."""

from __future__ import annotations

import json

import pytest
from live.bsp_life import Portal, live, tables
from live.served import serving

pytestmark = [pytest.mark.live, pytest.mark.timeout(240)]


def test_a_whole_life_on_slurm_over_ssh(cluster, account, sshd, tmp_path):
    cluster.add_user(account.name)
    commands = cluster.commands(cluster.root / "bsp")
    reached = "".join(f"{key} = {json.dumps(value)}\n" for key, value in sshd.table(account).items())
    site = f"""
[sites.kit]
scheduler = "slurm"
transport = "ssh"
work_root = "~/bsp jobs"
poll = {{min_s = 0.3, max_s = 1, spool_s = 0.2}}
settings = {{bin = {json.dumps(str(commands.folder))}}}
[sites.kit.ssh]
{reached}"""
    try:
        with serving(tmp_path / "home", site + tables("kit")) as server:
            live(Portal(server, tmp_path))
    finally:
        cluster.clear()
