"""The conformance kit for dialects: what every one must keep, over HTTP, through the server's real front.

In a dialect's own suite::

    from hpcgate.testing.dialects.facts import Call, DialectFacts
    from hpcgate.testing.dialects.suite import DialectConformance

    class TestRimrock(DialectConformance):
        facts = DialectFacts(name="rimrock", protected=Call("GET", "/api/jobs"), ...)

        @pytest.fixture(scope="class")
        @classmethod
        def plugin(cls):
            return hpcgate_dialect_rimrock.plugin
"""
