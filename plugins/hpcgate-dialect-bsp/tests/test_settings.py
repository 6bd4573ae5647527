"""Settings that are wrong are told when the server starts, with their place."""

from __future__ import annotations

import pytest
from bsptools import DAINT, NSG, TABLES
from hpcgate_dialect_bsp.settings import Settings

from hpcgate.errors import ConfigError, InvalidSpec
from hpcgate.model.codec import decode

GOOD = {"site": "fake", "kind": "command", "projects": [DAINT]}


@pytest.mark.parametrize(
    ("systems", "text"),
    [
        ({}, "hpc: names no system"),
        ({"A B": GOOD}, "hpc.A B: 'A B' is no name"),
        ({"a": GOOD, "A": GOOD}, "hpc.A: is named twice"),
        ({"A": {**GOOD, "kind": "queue"}}, "hpc.A.kind: 'queue' is unknown; known are: command, tool"),
        ({"A": {**GOOD, "projects": []}}, "hpc.A.projects: is empty"),
        ({"A": {**GOOD, "default_project": "x"}}, "hpc.A.default_project: 'x' is none of its projects"),
        ({"A": {**GOOD, "kind": "tool"}}, "hpc.A.tools: is required of kind 'tool'"),
        ({"A": {**GOOD, "tools": {"X": "sh"}}}, "hpc.A.tools: goes with kind 'tool' only"),
        ({"A": {**GOOD, "kind": "tool", "tools": {"x-y": "sh"}}}, "hpc.A.tools: 'x-y' is no name of a tool"),
        ({"A": {**GOOD, "kind": "tool", "tools": {"X": "'sh"}}}, 'hpc.A.tools.X: "\'sh" is no command'),
        ({"A": {**GOOD, "max_nodes": 0}}, "hpc.A.max_nodes: must be more than 0"),
    ],
)
def test_what_is_wrong_is_told_with_its_key(systems, text):
    with pytest.raises(InvalidSpec) as caught:
        decode(Settings, {"hpc": systems})
    assert text in caught.value.message


@pytest.mark.parametrize(
    ("systems", "text"),
    [
        ({"A": {**GOOD, "site": "fak"}}, "hpc.A.site: there is no site 'fak'; did you mean 'fake'?"),
        ({"A": {**GOOD, "projects": [NSG]}}, f"hpc.A.projects: '{NSG}' is at site 'other', not at 'fake'"),
    ],
)
def test_what_does_not_fit_the_sites_is_told_with_its_place(make, systems, text):
    sites = {**TABLES["sites"], "other": {"scheduler": "fake"}}
    projects = {DAINT: {"site": "fake"}, NSG: {"site": "other"}}
    tables = {"sites": sites, "projects": projects, "dialects": {"bsp": {"settings": {"hpc": systems}}}}
    with pytest.raises(ConfigError) as caught:
        make(tables)
    assert "dialects.bsp.settings" in caught.value.message
    assert text in caught.value.message
