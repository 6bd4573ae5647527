"""What pluggy sees of a subclass of ``Scheduler``."""

import pluggy
import pytest

from hpcgate import hookspecs
from hpcgate.errors import CommandTimeout, InvalidSpec, JobRejected, SchedulerError
from hpcgate.hookspecs import hookimpl
from hpcgate.model.scheduler import Submitted
from hpcgate.plugin.manager import PluginHost
from hpcgate.scheduler.base import Scheduler


class Mixin:
    def hpcgate_hold_job(self, site, job, transport):
        return True


class Unmarked(Mixin, Scheduler):
    """Overrides everything that is abstract, without a single marker."""

    def hpcgate_scheduler_info(self): ...

    def hpcgate_render_script(self, site, job): ...

    def hpcgate_submit_job(self, site, job, transport):
        return job()

    def hpcgate_poll_jobs(self, site, jobs, transport): ...

    @staticmethod
    def hpcgate_find_by_key(site, job, transport): ...

    @classmethod
    def hpcgate_cancel_jobs(cls, site, jobs, transport): ...

    @hookimpl(tryfirst=True)
    def hpcgate_signal_job(self, site, job, signal, transport): ...

    hpcgate_is_no_method = 3


def manager_with(plugin):
    manager = pluggy.PluginManager("hpcgate")
    manager.add_hookspecs(hookspecs)
    manager.register(plugin)
    manager.check_pending()
    return manager


def test_pluggy_does_not_find_an_unmarked_override():
    """The reason why ``Scheduler`` marks them: if this fails one day, it need not any more."""

    class Base:
        @hookimpl
        def hpcgate_gateway_stopping(self): ...

    class Sub(Base):
        def hpcgate_gateway_stopping(self): ...

    assert manager_with(Base()).hook.hpcgate_gateway_stopping.get_hookimpls()
    assert not manager_with(Sub()).hook.hpcgate_gateway_stopping.get_hookimpls()


@pytest.mark.parametrize("hook", [name for name in dir(Scheduler) if name.startswith("hpcgate_")])
def test_overriding_methods_are_found_without_marker(hook):
    plugin = Unmarked()
    (impl,) = getattr(manager_with(plugin).hook, hook).get_hookimpls()
    assert impl.function == getattr(plugin, hook)


def test_a_marker_with_options_is_kept():
    (impl,) = manager_with(Unmarked()).hook.hpcgate_signal_job.get_hookimpls()
    assert impl.tryfirst


def test_subclass_that_lacks_a_core_method_cannot_be_made():
    class Half(Scheduler):
        def hpcgate_scheduler_info(self): ...

    with pytest.raises(TypeError, match="hpcgate_poll_jobs"):
        Half()


def test_misspelt_method_is_refused_at_load():
    class Misspelt(Unmarked):
        def hpcgate_relase_job(self, site, job, transport): ...

    host = PluginHost.load(extra=[("misspelt", Misspelt())], environ={"HPCGATE_LOAD_PLUGINS": ""})
    assert "hpcgate_relase_job" in next(record.error for record in host.records if record.name == "misspelt")


@pytest.mark.parametrize(
    ("error", "permanent", "ambiguous"),
    [
        (InvalidSpec.of("name", "bad"), True, False),
        (JobRejected("no"), True, False),
        (CommandTimeout("slow"), False, True),
        (SchedulerError("busy"), False, False),
        (SchedulerError("never", transient=False), True, False),
    ],
)
def test_bulk_submit_goes_on_after_one_failure(error, permanent, ambiguous):
    class Job:
        def __init__(self, key, outcome):
            self.key, self.outcome = key, outcome

        def __call__(self):
            if isinstance(self.outcome, Exception):
                raise self.outcome
            return Submitted(key=self.key, native_id=self.outcome)

    failed, submitted = Unmarked().hpcgate_submit_jobs(None, [Job("A", error), Job("B", "7")], None)
    assert (failed.key, failed.permanent, failed.ambiguous) == ("A", permanent, ambiguous)
    assert submitted.native_id == "7"
