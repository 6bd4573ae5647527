"""Time series of jobs. There are none here; what asks for them is told so in the shape that it knows."""

from __future__ import annotations

from typing import Any, Final

from flask import Response, request

from hpcgate.errors import NotFound
from hpcgate.model.principal import Principal
from hpcgate.server.dialect_api import DialectBlueprint
from hpcgate.server.smorest import reply
from hpcgate_dialect_clustercockpit.errors import bad
from hpcgate_dialect_clustercockpit.jobs import Jobs
from hpcgate_dialect_clustercockpit.query import integer

SCOPES: Final = ("node", "socket", "memoryDomain", "core", "hwthread", "accelerator")
_SCHEMA: Final = {"type": "object", "properties": {"data": {"type": "object"}, "error": {"type": "object"}}}


def metric_routes(jobs: Jobs, name: str, at: str) -> DialectBlueprint:
    """Metrics of jobs below a path.

    Args:
        jobs: knows who may see which.
        name: of the blueprint.
        at: ``/api/jobs`` or ``/userapi/jobs``.
    """
    blp = DialectBlueprint(name, __name__, description="Time series, of which there are none.")
    words = {"type": "array", "items": {"type": "string"}}

    @blp.route(f"{at}/metrics/<id:record>")
    @blp.login
    @blp.response(200, _SCHEMA)
    @blp.problems(400)
    @blp.doc(
        parameters=[
            {"in": "query", "name": "metric", "description": "names; may be repeated", "schema": words},
            {"in": "query", "name": "scope", "description": f"any of {', '.join(SCOPES)}", "schema": words},
        ]
    )
    def get_metrics(principal: Principal, record: str) -> Response:
        """Look for the metrics of a job. Also of one that is not there the answer is 200, and says so inside."""
        for scope in request.args.getlist("scope"):
            if scope not in SCOPES:
                bad(f"invalid scope: {scope[:64]!r}; one of {', '.join(SCOPES)}")
        return reply(_metrics(jobs, principal, integer(record, "id")))

    return blp


def _metrics(jobs: Jobs, principal: Principal, record_id: int) -> dict[str, Any]:
    try:
        jobs.see(principal, record_id)
    except NotFound as error:
        return {"data": None, "error": {"message": error.message}}
    return {"data": {"jobMetrics": []}, "error": None}
