"""The route of statistics."""

from __future__ import annotations

from typing import Any, Final

from flask import Response, request

from hpcgate.model.principal import Principal
from hpcgate.server.context import gateway
from hpcgate.server.resources.statistics.schemas import CSV, StatisticsArgsSchema, StatisticsSchema, query_from_args
from hpcgate.server.smorest import Blueprint, reply
from hpcgate.service.statistics_wire import answer_to_csv, answer_to_wire

blp = Blueprint("statistics", __name__, description="What jobs have used.")

_CSV: Final = "text/csv"


@blp.route("/stats")
@blp.login
@blp.arguments(StatisticsArgsSchema, location="query")
@blp.response(200, StatisticsSchema)
@blp.alt_response(200, schema={"type": "string"}, content_type=_CSV, success=True)
def get(principal: Principal, args: dict[str, Any]) -> Response:
    """Add up what jobs used, by user, project, cluster, sub-cluster, state or day of the start.

    Whose jobs are counted is as with records: one's own; for managers those of their projects too; for operators and
    programs that report jobs everybody's. As CSV (`format=csv`, or `Accept: text/csv`) there are the groups alone.
    """
    query = query_from_args(args)
    answer = gateway().statistics.get(principal, query, order=args["sort"], limit=args["limit"], quota=args["quota"])
    if _wants_csv(args["format"]):
        name = f"hpcgate-stats-by-{query.group_by}.csv"
        headers = {"Content-Disposition": f'attachment; filename="{name}"', "Vary": "Accept"}
        return Response(answer_to_csv(answer), headers=headers, content_type=f"{_CSV}; charset=utf-8; header=present")
    return reply(answer_to_wire(answer), headers={"Vary": "Accept"})


def _wants_csv(asked: str | None) -> bool:
    if asked is not None:
        return asked == CSV
    accepted = request.accept_mimetypes
    return accepted[_CSV] > accepted["application/json"]
