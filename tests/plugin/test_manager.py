"""What is found, what is refused, and that the one does not disturb the other."""

import logging

import pytest

from hpcgate.errors import ConfigError, PluginError
from hpcgate.hookspecs import hookimpl
from hpcgate.plugin.manager import PluginHost
from hpcgate.testing.fakes import FakeScheduler

GOOD = """
    from hpcgate.testing.fakes import FakeScheduler
    plugin = FakeScheduler("{name}", version="from the plugin")
"""


def good(name):
    return GOOD.format(name=name)


def load(**environ):
    return PluginHost.load(environ={"HPCGATE_LOAD_PLUGINS": "good,bad,other,dialect-x", **environ})


def record(host, name, distribution=None):
    found = [r for r in host.records if r.name == name and (distribution is None or r.distribution == distribution)]
    assert len(found) == 1, host.records
    return found[0]


def test_installed_distribution_is_found(distribution):
    distribution("good", good("good"), version="3.4")
    host = load()
    assert host.schedulers["good"].name == "good"
    assert host.scheduler("good") is host.schedulers["good"]
    found = record(host, "good")
    assert (found.version, found.distribution, found.kind, found.status) == ("3.4", "fakedist-good", "scheduler", "ok")
    assert found.summary == "A batch system in memory, for tests"


BROKEN = {
    "import error": ("import no_such_module_of_hpcgate", "ModuleNotFoundError: No module named"),
    "exits at import": ("raise SystemExit(3)", "SystemExit: 3"),
    "no such attribute": ("something_else = 1", "AttributeError"),
    "misspelt argument": (
        """
        from hpcgate.hookspecs import hookimpl
        class P:
            @hookimpl
            def hpcgate_job_state_changed(self, jobb, event): ...
        plugin = P()
        """,
        "jobb",
    ),
    "unknown hook": (
        """
        from hpcgate.testing.fakes import FakeScheduler
        class P(FakeScheduler):
            def hpcgate_canel_jobs(self, site, jobs, transport): ...
        plugin = P("bad")
        """,
        "unknown hook 'hpcgate_canel_jobs'",
    ),
    "wrong contract": (
        """
        from dataclasses import replace
        from hpcgate.testing.fakes import FakeScheduler
        plugin = FakeScheduler("bad")
        plugin.info = replace(plugin.info, contract="2.0")
        """,
        "hook contract 2.0; this hpcgate has 1.0",
    ),
    "another name": (good("good"), "entry point is named 'bad', but it calls itself 'good'"),
    "no scheduler info": (
        """
        from hpcgate.testing.fakes import FakeScheduler
        plugin = FakeScheduler("bad")
        plugin.info = {"name": "bad"}
        """,
        "returned dict, not SchedulerInfo",
    ),
    "info is None": (
        """
        from hpcgate.testing.fakes import FakeScheduler
        plugin = FakeScheduler("bad")
        plugin.info = None
        """,
        "returned NoneType, not SchedulerInfo",
    ),
    "info raises": (
        """
        from hpcgate.testing.fakes import FakeScheduler
        class P(FakeScheduler):
            def hpcgate_scheduler_info(self):
                raise RuntimeError("no luck")
        plugin = P("bad")
        """,
        "RuntimeError: no luck",
    ),
    "settings are no dataclass": (
        """
        from dataclasses import replace
        from hpcgate.testing.fakes import FakeScheduler
        plugin = FakeScheduler("bad")
        plugin.info = replace(plugin.info, settings=dict)
        """,
        "settings must be a dataclass",
    ),
    "class instead of instance": (
        "from hpcgate.testing.fakes import FakeScheduler as plugin",
        "must name an instance",
    ),
    "no hook at all": ("plugin = object()", "implements no hook"),
    "not hashable": ("plugin = {}", "not hashable"),
    "core is incomplete": (
        """
        from hpcgate.hookspecs import hookimpl
        from hpcgate.testing.fakes import FakeScheduler
        class P:
            @hookimpl
            def hpcgate_scheduler_info(self):
                return FakeScheduler("bad").info
        plugin = P()
        """,
        "every scheduler implements hpcgate_render_script",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_plugin_is_reported_and_stops_nothing(case, distribution, caplog):
    source, message = BROKEN[case]
    distribution("bad", source, version="6.6")
    distribution("good", good("good"))
    host = load()
    found = record(host, "bad")
    assert found.status == "broken"
    assert found.version == "6.6"
    assert message in found.error
    assert "plugin 'bad' 6.6 is broken" in caplog.text
    assert list(host.schedulers) == ["good"]
    with pytest.raises(PluginError, match=r"plugin 'bad' 6\.6 is broken: "):
        host.scheduler("bad")


def test_broken_plugin_leaves_no_hook_behind(distribution):
    distribution(
        "bad",
        BROKEN["misspelt argument"][0].replace(
            "class P:", "class P:\n            @hookimpl\n            def hpcgate_gateway_stopping(self): ..."
        ),
    )
    host = load()
    assert record(host, "bad").status == "broken"
    assert not host.has_listeners("gateway_stopping")


def test_unreadable_entry_points_are_reported(distribution):
    distribution("bad", "", entry_points="[hpcgate]\nthis line has no equals sign\n")
    distribution("good", good("good"))
    host = load(HPCGATE_LOAD_PLUGINS="good,fakedist-bad")
    assert "entry_points.txt cannot be read" in record(host, "fakedist-bad").error
    assert list(host.schedulers) == ["good"]


def test_missing_metadata_stops_nothing(distribution):
    distribution("good", good("good"), metadata=False)
    host = load()
    assert record(host, "good").status == "ok"
    assert record(host, "good").version == "unknown"


def test_two_of_the_same_name_are_both_left_out(distribution):
    distribution("other", good("good"), version="1.1", entry="good")
    distribution("good", good("good"), version="1.2")
    distribution("third", good("third"))
    host = load(HPCGATE_LOAD_PLUGINS="good,third")
    assert list(host.schedulers) == ["third"]
    assert "fakedist-other 1.1" in record(host, "good", "fakedist-good").error
    assert "fakedist-good 1.2" in record(host, "good", "fakedist-other").error
    chosen = load(HPCGATE_BLOCK_PLUGINS="fakedist-other")
    assert record(chosen, "good", "fakedist-good").status == "ok"
    assert record(chosen, "good", "fakedist-other").status == "blocked"


def test_same_distribution_twice_on_the_path_counts_once(distribution):
    distribution("good", good("good"), version="1.0")
    distribution("good", good("good"), version="2.0")
    assert record(load(), "good").version == "2.0"


def test_block_list(distribution):
    distribution("good", good("good"))
    distribution("other", good("other"))
    host = load(HPCGATE_BLOCK_PLUGINS=" other , nothing")
    assert list(host.schedulers) == ["good"]
    assert record(host, "other").status == "blocked"
    with pytest.raises(ConfigError, match="HPCGATE_BLOCK_PLUGINS names it"):
        host.scheduler("other")


def test_allow_list(distribution):
    distribution("good", good("good"))
    assert list(PluginHost.load(environ={"HPCGATE_LOAD_PLUGINS": "good"}).schedulers) == ["good"]
    nothing = PluginHost.load(environ={"HPCGATE_LOAD_PLUGINS": ""})
    assert not nothing.schedulers
    assert {each.status for each in nothing.records} == {"blocked"}


def test_blocked_plugin_is_not_imported(distribution):
    distribution("bad", "raise RuntimeError('imported')")
    assert record(load(HPCGATE_BLOCK_PLUGINS="bad"), "bad").status == "blocked"


def test_extra_takes_the_place_of_an_installed_one(distribution):
    distribution("good", good("good"))
    mine = FakeScheduler("good", version="mine")
    host = PluginHost.load(extra=[("good", mine)], environ={"HPCGATE_LOAD_PLUGINS": "good"})
    assert host.scheduler("good").version == "mine"
    assert [(each.status, each.version) for each in host.records if each.name == "good"] == [
        ("ok", "mine"),
        ("blocked", "1.0"),
    ]


def test_unknown_scheduler_names_the_nearest():
    host = PluginHost.load(extra=[("slurm", FakeScheduler("slurm"))], environ={"HPCGATE_LOAD_PLUGINS": ""})
    with pytest.raises(ConfigError, match="'slrum' is not installed; did you mean 'slurm'"):
        host.scheduler("slrum")


def test_plugin_that_is_no_scheduler_cannot_be_used_as_one():
    class Listener:
        @hookimpl
        def hpcgate_gateway_stopping(self):
            """Hears of the end."""

    host = PluginHost.load(extra=[("listener", Listener())], environ={"HPCGATE_LOAD_PLUGINS": ""})
    with pytest.raises(ConfigError, match="plugin 'listener' unknown is no scheduler"):
        host.scheduler("listener")


def test_has_listeners():
    class Listener:
        @hookimpl
        def hpcgate_job_state_changed(self, job, event): ...

    host = PluginHost.load(extra=[("listener", Listener())], environ={"HPCGATE_LOAD_PLUGINS": ""})
    assert host.has_listeners("job_state_changed")
    assert host.has_listeners("hpcgate_job_state_changed")
    assert not host.has_listeners("gateway_started")


def test_hosts_do_not_share_plugins():
    one = PluginHost.load(extra=[("fake", FakeScheduler())], environ={"HPCGATE_LOAD_PLUGINS": ""})
    two = PluginHost.load(environ={"HPCGATE_LOAD_PLUGINS": ""})
    assert list(one.schedulers) == ["fake"]
    assert not two.schedulers


def test_scheduler_that_implements_other_peoples_hooks_is_warned_of(caplog):
    class Hijacker:
        @hookimpl
        def hpcgate_submit_job(self, site, job, transport): ...

    PluginHost.load(extra=[("hijacker", Hijacker())], environ={"HPCGATE_LOAD_PLUGINS": ""})
    assert "is no scheduler, so its hpcgate_submit_job is never called" in caplog.text


class Registers:
    """Brings things."""

    def __init__(self, *items, fail=False):
        self.items, self.fail = items, fail

    @hookimpl
    def hpcgate_register_transports(self, register):
        register(*self.items)
        if self.fail:
            raise RuntimeError("half way")

    @hookimpl
    def hpcgate_register_dialects(self, register):
        register(self.items[0])

    @hookimpl
    def hpcgate_register_commands(self, register):
        register(self.items[0])


def test_hook_register_transports():
    host = PluginHost.load(
        extra=[("dialect-a", Registers("gsissh", "opener")), ("dialect-b", Registers("x", "y", fail=True))],
        environ={"HPCGATE_LOAD_PLUGINS": ""},
    )
    assert host.transports() == {"gsissh": "opener"}
    assert record(host, "dialect-a").status == "ok"
    assert record(host, "dialect-a").kind == "dialect"
    assert record(host, "dialect-a").summary == "Brings things."
    assert record(host, "dialect-b").status == "broken"
    assert "RuntimeError: half way" in record(host, "dialect-b").error


def test_hook_register_dialects():
    host = PluginHost.load(extra=[("a", Registers("x")), ("b", Registers("y"))], environ={"HPCGATE_LOAD_PLUGINS": ""})
    assert sorted(host.dialects()) == ["x", "y"]


def test_hook_register_commands():
    host = PluginHost.load(extra=[("a", Registers("x"))], environ={"HPCGATE_LOAD_PLUGINS": ""})
    assert host.commands() == ("x",)


def test_hook_scheduler_info():
    fake = FakeScheduler()
    host = PluginHost.load(extra=[("fake", fake)], environ={"HPCGATE_LOAD_PLUGINS": ""})
    assert host.schedulers == {"fake": fake.info}


def test_trace_logs_each_call_and_no_secret(caplog, site, make_job):
    from hpcgate.plugin.lifecycle import Lifecycle
    from hpcgate.testing.transports import MemoryTransport

    caplog.set_level(logging.INFO, "hpcgate.hooks")
    host = PluginHost.load(
        extra=[("fake", FakeScheduler())], environ={"HPCGATE_LOAD_PLUGINS": "", "HPCGATE_TRACE_HOOKS": "1"}
    )
    job = make_job(command="true", environment={"A": "open-sesame"}, secret_environment={"B": "open-sesame"})
    Lifecycle(host).submit_job(site, job, MemoryTransport())
    assert "hpcgate_submit_job(site=Site here, job=Job 1, transport=MemoryTransport) -> " in caplog.text
    assert "hpcgate_submit_job: Submitted" in caplog.text
    assert "open-sesame" not in caplog.text
