"""The core tier's static part: what can be said of a plugin without running a job."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, get_args, get_type_hints

import pytest

from hpcgate.errors import InvalidSpec
from hpcgate.model.codec import decode, encode
from hpcgate.model.scheduler import CONTRACT_VERSION, HONOURED, Approximated, Capability, RenderedScript, SchedulerInfo
from hpcgate.model.site import Site
from hpcgate.model.spec import JobSpec
from hpcgate.plugin import discovery
from hpcgate.plugin.manager import GROUP
from hpcgate.testing.conformance.bench import Bench
from hpcgate.testing.conformance.sites import host_of
from hpcgate.testing.conformance.texts import AWKWARD, AWKWARD_NAMES
from hpcgate.testing.transports import MemoryTransport

#: Fields of the spec that every scheduler must honour, in full or in part.
CORE_FIELDS = ("script", "command", "args", "environment")

#: What a capability is good for only together with a field of the spec.
FIELDS_OF = {
    Capability.HOLD: "hold",
    Capability.ARRAYS: "array",
    Capability.WALLTIME: "resources.walltime_s",
    Capability.MEMORY: "resources.memory_mib",
    Capability.DEPENDENCIES: "dependencies",
}

_SECRET = "s3cret-that-must-not-show"  # noqa: S105 - a marker to look for


class StaticConformance:
    """Subclass it and give the fixtures ``plugin`` and ``site``.

    Attributes:
        installed: whether the plugin is an installed distribution, so that its entry point is looked at.
    """

    installed = True

    @pytest.fixture(scope="class")
    @classmethod
    def info(cls, plugin: Any) -> SchedulerInfo:
        """What the plugin says of itself."""
        info: SchedulerInfo = plugin.hpcgate_scheduler_info()
        return info

    @pytest.fixture(scope="class")
    @classmethod
    def dry(cls, plugin: Any, info: SchedulerInfo, site: Site) -> Bench:
        """A bench whose transport leads nowhere."""
        return Bench(host_of(info.name, plugin), site, MemoryTransport())

    # --- what it says of itself -------------------------------------------------------------------------------------

    def test_host_takes_it(self, plugin: Any, info: SchedulerInfo) -> None:
        """It loads: every hook is known, every argument is spelt right, the core is complete."""
        (record,) = [each for each in host_of(info.name, plugin).records if each.name == info.name and not each.error]
        assert record.kind == "scheduler"

    def test_entry_point_has_its_name(self, plugin: Any, info: SchedulerInfo) -> None:
        """An entry point ``NAME = package:plugin`` in group ``hpcgate`` leads to it."""
        if not self.installed:
            pytest.skip("it is not installed")
        found = [each for each in discovery.find(GROUP, ()) if each.name == info.name]
        assert found, f"no distribution has an entry point {info.name!r} in group {GROUP!r}"
        assert len(found) == 1, f"{[each.distribution for each in found]} all have an entry point {info.name!r}"
        assert type(found[0].load()) is type(plugin)
        assert found[0].version == info.version, "the distribution has another version than SchedulerInfo"

    def test_contract_version_is_one_that_the_host_has(self, info: SchedulerInfo) -> None:
        """The major is the host's, the minor no newer."""
        mine, hosts = (tuple(map(int, text.split("."))) for text in (info.contract, CONTRACT_VERSION))
        assert mine[0] == hosts[0]
        assert mine <= hosts

    def test_info_is_complete(self, info: SchedulerInfo) -> None:
        """Name, version and one line about it are there."""
        assert re.fullmatch(r"[a-z][a-z0-9-]*", info.name), f"{info.name!r} must be lower case letters, digits and -"
        assert info.version
        assert info.summary
        assert "\n" not in info.summary
        assert info.message_timeout_s >= 0
        assert all(isinstance(each, Capability) for each in info.capabilities)

    def test_info_is_always_the_same(self, plugin: Any, info: SchedulerInfo) -> None:
        """It does not depend on when it is asked."""
        assert plugin.hpcgate_scheduler_info() == info

    # --- settings ---------------------------------------------------------------------------------------------------

    def test_settings_have_help(self, info: SchedulerInfo) -> None:
        """Every field has ``metadata={"help": ...}``: the docs and ``hpcgate plugin show`` print it."""
        assert is_dataclass(info.settings)
        assert [each.name for each in fields(info.settings) if not each.metadata.get("help")] == []

    def test_settings_survive_a_round_trip(self, info: SchedulerInfo, site: Site) -> None:
        """They can be written as TOML tables are and read again."""
        assert isinstance(site.settings, info.settings)
        assert decode(info.settings, encode(site.settings)) == site.settings

    def test_settings_cannot_be_changed(self, info: SchedulerInfo) -> None:
        """The dataclass is frozen: sites are shared between threads."""
        assert info.settings.__dataclass_params__.frozen

    def test_unknown_setting_is_refused(self, info: SchedulerInfo, site: Site) -> None:
        """A misspelt key is named, not dropped."""
        with pytest.raises(InvalidSpec, match="no_such_setting"):
            decode(info.settings, {**encode(site.settings), "no_such_setting": 1})

    # --- fields of the spec -----------------------------------------------------------------------------------------

    def test_declared_fields_exist(self, info: SchedulerInfo) -> None:
        """Every name in ``SchedulerInfo.fields`` is a field of the spec."""
        assert [name for name in info.fields if not _is_field(JobSpec, name)] == []

    def test_declared_support_is_said_in_full(self, info: SchedulerInfo) -> None:
        """Each field is ``HONOURED``, or ``Approximated`` with words about how."""
        for name, support in info.fields.items():
            good = bool(support.how) if isinstance(support, Approximated) else support == HONOURED
            assert good, f"{name}: {support!r} is neither HONOURED nor Approximated('how')"

    @pytest.mark.parametrize("name", CORE_FIELDS)
    def test_core_field_is_honoured(self, info: SchedulerInfo, name: str) -> None:
        """No scheduler is without these."""
        assert name in info.fields

    def test_capabilities_have_their_fields(self, info: SchedulerInfo) -> None:
        """Who claims ``walltime`` honours ``resources.walltime_s``, and so on."""
        for capability, name in FIELDS_OF.items():
            if capability in info.capabilities:
                assert _is_declared(info.fields, name), f"{capability.value} is claimed, but {name} is not honoured"
        if Capability.ARRAY_LIMIT in info.capabilities:
            assert Capability.ARRAYS in info.capabilities

    # --- rendering --------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("name", AWKWARD_NAMES, ids=range(len(AWKWARD_NAMES)))
    def test_script_with_an_awkward_name(self, dry: Bench, name: str) -> None:
        """Any name of one line can be rendered."""
        self._rendered(dry, JobSpec(name=name, script="#!/bin/sh\ntrue\n"))

    @pytest.mark.parametrize("text", AWKWARD, ids=range(len(AWKWARD)))
    def test_script_with_awkward_args_and_environment(self, dry: Bench, text: str) -> None:
        """Any text without NUL can be an argument and a value."""
        rendered = self._rendered(dry, JobSpec(command="printf", args=("%s", text), environment={"AWKWARD": text}))
        assert "printf" in rendered.text + " ".join(rendered.argv)

    def test_script_is_part_of_what_is_shown(self, dry: Bench) -> None:
        """A dry run shows the user's own lines, unchanged."""
        line = "echo \"$1\" '$2' \\ `x` $(y)\t;"
        assert line in self._rendered(dry, JobSpec(script=f"#!/bin/sh\n{line}\n")).text

    def test_rendering_has_no_memory(self, dry: Bench) -> None:
        """The same job gives the same script."""
        job = dry.job(command="true", environment={"B": "2", "A": "1"})
        assert dry.life.render_script(dry.site, job) == dry.life.render_script(dry.site, job)

    def test_rendering_shows_no_secret(self, dry: Bench, info: SchedulerInfo) -> None:
        """Secret values are neither in the script nor on the command line."""
        if not _is_declared(info.fields, "secret_environment"):
            pytest.skip(f"{info.name} does not honour secret_environment")
        rendered = self._rendered(dry, JobSpec(command="true", secret_environment={"TOKEN": _SECRET}))
        assert _SECRET not in rendered.text
        assert not any(_SECRET in word for word in rendered.argv)

    def test_rendering_leaves_the_environment_alone(self, dry: Bench) -> None:
        """The gateway's own environment is not for sale."""
        before = dict(os.environ)
        self._rendered(dry, JobSpec(command="true", environment={"HPCGATE_KIT": "1", "PATH": "/nowhere"}))
        assert dict(os.environ) == before

    def _rendered(self, dry: Bench, spec: JobSpec) -> RenderedScript:
        rendered = dry.life.render_script(dry.site, dry.job(spec))
        assert isinstance(rendered.text, str)
        assert type(rendered.argv) is tuple, f"{rendered.argv!r} is no tuple"
        assert {type(word) for word in rendered.argv} <= {str}, f"{rendered.argv!r} must hold text alone"
        assert not any("\0" in word for word in rendered.argv)
        return rendered


def _is_field(kind: Any, name: str) -> bool:
    """Whether a dotted name is a field of a dataclass, or of a dataclass inside it."""
    first, _, rest = name.partition(".")
    if first not in {each.name for each in fields(kind)}:
        return False
    if not rest:
        return True
    hint = get_type_hints(kind)[first]
    inner = [each for each in (hint, *get_args(hint)) if is_dataclass(each)]
    return any(_is_field(each, rest) for each in inner)


def _is_declared(declared: Mapping[str, Any], name: str) -> bool:
    """Whether a field or one that it is part of is declared."""
    while name:
        if name in declared:
            return True
        name = name.rpartition(".")[0]
    return False
