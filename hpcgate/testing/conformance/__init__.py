"""The conformance kit: what every scheduler plugin must be able to, as tests.

In a plugin's own suite::

    from hpcgate.testing.conformance.suite import SchedulerConformance

    class TestSlurm(SchedulerConformance):
        @pytest.fixture(scope="class")
        @classmethod
        def plugin(cls):
            return hpcgate_slurm.plugin

        @pytest.fixture(scope="class")
        @classmethod
        def site(cls, plugin, tmp_path_factory):
            return default_site("slurm", plugin, tmp_path_factory.mktemp("site"))    # or any other `Site`

        @pytest.fixture(scope="class")
        @classmethod
        def transport(cls, site):
            with LocalTransport() as transport:    # or a way to a cluster, true or fake
                yield transport

Against what is installed::

    pytest --pyargs hpcgate.testing.conformance --hpcgate-scheduler=NAME [--hpcgate-site=FILE]

There are two tiers. The **core** is for every scheduler: ``static.StaticConformance`` needs no site that answers,
``live.LiveConformance`` runs jobs. The **capability** tier (``capabilities.CapabilityConformance``) has a section for
each ``Capability``; it is skipped where ``SchedulerInfo`` does not claim it. To claim a capability and to fail its
section is a failure. The kit speaks through ``plugin.lifecycle``, as the gateway does, so an exception or an answer
that the contract does not allow fails too.
"""
