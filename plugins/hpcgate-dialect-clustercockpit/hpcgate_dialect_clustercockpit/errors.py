"""What goes wrong, in the shape of the API: ``{"status": ..., "error": ...}``, whatever it is."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Final, NoReturn

from flask import Response
from werkzeug.exceptions import BadRequest, UnprocessableEntity

from hpcgate.server.errors import Problem

#: Our names of fields -> theirs.
FIELDS: Final = {
    "number": "jobId",
    "array_number": "arrayJobId",
    "subcluster": "subCluster",
    "num_nodes": "numNodes",
    "num_hwthreads": "numHwthreads",
    "num_accelerators": "numAcc",
    "started_at": "startTime",
    "submitted_at": "submitTime",
    "ended_at": "stopTime",
    "walltime_s": "walltime",
    "monitoring": "monitoringStatus",
    "state": "jobState",
}
#: Statuses that the API does not have.
BY_STATUS: Final = {409: 422, 410: 422, 501: 422}


def render(problem: Problem) -> Response:
    """The answer to everything that goes wrong."""
    status = problem.status
    # Ours are 422 where a field is wrong, which is 400 here; its own 422 come without fields.
    status = 400 if problem.errors else BY_STATUS.get(status, status)
    wrong = [f"{FIELDS.get(each.field, each.field)}: {each.message}" for each in problem.errors]
    body = json.dumps(
        {"status": HTTPStatus(status).phrase, "error": "; ".join(wrong) or problem.detail}, ensure_ascii=False
    )
    return Response(body, status, dict(problem.headers), content_type="application/json")


def bad(message: str) -> NoReturn:
    """Ends the request with 400."""
    raise BadRequest(message)


def unprocessable(message: str) -> NoReturn:
    """Ends the request with 422."""
    raise UnprocessableEntity(message)
