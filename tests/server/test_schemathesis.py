"""What the OpenAPI document says is what the server does, also for requests that nobody has thought of."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

# Schemathesis is imported where it is used: it takes a second, in every process that collects this.

pytestmark = pytest.mark.live

#: Their answer is what is wrong with each job, not an error.
VERDICTS = ("/jobs/bulk", "/jobs/validate")
#: Rules between fields do not fit into a schema (422); a site may not be able to, or say no.
ACCEPTED = ["2xx", "3xx", "401", "403", "404", "409", "422", "429", "501", "502", "504"]
EXPECTED = ["2xx", "3xx", "4xx", "501", "502", "504"]
#: Without a good token; told first are a body that cannot be read, one of a login, and a path that is no route's, as
#: one with a line break in it.
REFUSED = {400, 401, 404, 415, 422}
#: Streams, which go on until the client leaves.
STREAMS = r"/(events|stdout|stderr)$"


@pytest.fixture
def gateway(make_gateway):
    """More made-up tokens come from here in a minute than are borne otherwise."""
    return make_gateway(limits={"anonymous_requests_per_minute": 1_000_000})


@pytest.fixture
def schema(front):
    import schemathesis

    def from_this_machine(environ, start_response):
        return front({**environ, "REMOTE_ADDR": "127.0.0.1"}, start_response)

    schema = schemathesis.openapi.from_wsgi("/api/v1/openapi.json", from_this_machine)
    schema.config.checks.not_a_server_error.expected_statuses = EXPECTED
    schema.config.checks.positive_data_acceptance.expected_statuses = ACCEPTED
    return schema


@pytest.fixture
def ask(root, ann):
    """Sends a made-up request about a job that is there, and holds the answer against the document."""
    from schemathesis.checks import ignored_auth, load_all_checks, negative_data_rejection

    load_all_checks()
    made = ann.submit()["id"]

    def send(case):
        # A request that was wrong in what is put right here is none that must be refused.
        righted = "job_id" in case.path_parameters or "Authorization" not in (case.headers or {})
        if "job_id" in case.path_parameters and case.path_parameters["job_id"] != 0:
            case.path_parameters["job_id"] = made
        if "Authorization" in (case.headers or {}):
            assert case.call().status_code in REFUSED
        response = case.call(headers=root.headers)
        assert response.status_code not in (500, 503), response.text
        verdict = [negative_data_rejection] if righted or case.path.endswith(VERDICTS) else []
        # That made-up tokens are refused is looked at above: the check takes the good one, which goes in their place,
        # for one of them.
        case.validate_response(response, excluded_checks=[ignored_auth, *verdict])
        return response.status_code

    return send


@pytest.mark.parametrize("examples", [5, pytest.param(200, marks=[pytest.mark.full, pytest.mark.timeout(1800)])])
def test_no_request_gets_an_answer_that_is_not_documented(schema, ask, examples):
    from schemathesis import GenerationMode

    statuses = set()
    for result in schema.exclude(path_regex=STREAMS, method="GET").get_all_operations():
        operation = result.ok()
        cases = st.one_of(
            operation.as_strategy(generation_mode=mode) for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
        )

        @settings(
            max_examples=examples,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(cases)
        def attempt(case):
            statuses.add(ask(case))

        attempt()
    # It has come past the door.
    assert {200, 201, 204, 404, 409, 422} <= statuses
