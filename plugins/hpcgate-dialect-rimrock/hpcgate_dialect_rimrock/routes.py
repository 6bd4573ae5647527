"""Rimrock's routes: each reads the request, calls services and answers in its words."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo

from flask import Response

from hpcgate.errors import CommandTimeout, NotFound
from hpcgate.model.job import Attempt, Job
from hpcgate.model.principal import Principal
from hpcgate.server.dialect_api import DialectBlueprint
from hpcgate.server.smorest import empty, reply
from hpcgate.service.deadline import within
from hpcgate_dialect_rimrock import commands, mapping
from hpcgate_dialect_rimrock.schemas import ActionSchema, JobSchema, ListArgsSchema, OutputArgsSchema, StartSchema
from hpcgate_dialect_rimrock.settings import Settings
from hpcgate_dialect_rimrock.start import NAME, start

if TYPE_CHECKING:
    from hpcgate.gateway import Gateway

#: How long a request waits until a host has heard of a cancel, seconds. The worker repeats it until it has.
CANCEL_S: Final = 5.0
_JOB: Final = "/api/jobs/<job_id>"
_TEXT: Final = "text/plain; charset=utf-8"


def job_routes(gateway: Gateway, settings: Settings) -> DialectBlueprint:
    """The routes; whoever uses them says who asks (``authenticate``)."""
    blp = DialectBlueprint("jobs", __name__, description="Jobs.")
    jobs = _Jobs(gateway, settings)

    @blp.route("/api/jobs", methods=["POST"])
    @blp.login
    @blp.arguments(StartSchema)
    @blp.response(201, JobSchema)
    @blp.problems(408, 422, 500)
    def submit(principal: Principal, wanted: dict[str, Any]) -> Response:
        """Start a job."""
        job_id, job = start(gateway, settings, principal, wanted)
        return reply(mapping.brief(job, job_id), 201)

    @blp.route("/api/jobs", methods=["GET"])
    @blp.login
    @blp.arguments(ListArgsSchema, location="query")
    @blp.response(200, JobSchema(many=True))
    @blp.problems(404, 408, 500)
    def list_jobs(principal: Principal, args: dict[str, Any]) -> Response:
        """List one's jobs, newest first, as far as they are known: no host is asked."""
        return reply(jobs.listed(principal, args))

    @blp.route(_JOB, methods=["GET"])
    @blp.login
    @blp.response(200, JobSchema)
    @blp.problems(404, 408, 500)
    def get(principal: Principal, job_id: str) -> Response:
        """Show a job."""
        return reply(jobs.shown(jobs.find(principal, job_id), job_id))

    @blp.route(_JOB, methods=["PUT"])
    @blp.login
    @blp.arguments(ActionSchema)
    @blp.response(204)
    @blp.problems(404, 408, 422, 500)
    def change(principal: Principal, _wanted: dict[str, Any], job_id: str) -> Response:
        """Abort a job, and keep it in the list. One that has ended stays as it is."""
        jobs.abort(principal, jobs.find(principal, job_id))
        return empty()

    @blp.route(_JOB, methods=["DELETE"])
    @blp.login
    @blp.response(204)
    @blp.problems(404, 408, 500)
    def delete(principal: Principal, job_id: str) -> Response:
        """Abort a job that has not ended, and forget it. Its files stay."""
        jobs.abort(principal, jobs.find(principal, job_id))
        gateway.foreign.forget(principal, NAME, job_id, scope=principal.name)
        return empty()

    def output(stream: str, principal: Principal, args: dict[str, Any], job_id: str) -> Response:
        job = jobs.find(principal, job_id)
        read = partial(gateway.jobs.output, principal, job.id, stream, offset=args["offset"])
        chunk = within(settings.timeout_s, read, gateway.release_thread)
        size = {"X-Offset": str(chunk.offset), "X-Size": str(chunk.size)}
        return Response(chunk.data, headers=size, content_type=_TEXT)

    for stream in ("stdout", "stderr"):
        view = partial(output, stream)
        view.__doc__ = f"Read a job's {stream}, as far as it is written."  # type: ignore[misc]
        view.__name__ = stream  # type: ignore[attr-defined]
        view.__module__ = __name__
        for decorate in (
            blp.problems(404, 408, 500),
            blp.response(200, {"type": "string"}, content_type="text/plain"),
            blp.arguments(OutputArgsSchema, location="query"),
            blp.login,
            blp.route(f"{_JOB}/{stream}", methods=["GET"]),
        ):
            view = decorate(view)

    if settings.process:
        commands.add_route(blp, gateway, settings)
    return blp


class _Jobs:
    """One user's jobs, as this dialect knows them."""

    def __init__(self, gateway: Gateway, settings: Settings) -> None:
        self._gateway = gateway
        self._zone = ZoneInfo(settings.timezone)

    def find(self, principal: Principal, job_id: str) -> Job:
        """A job of one's own.

        Raises:
            NotFound: there is none; in the words that clients look for.
        """
        try:
            return self._gateway.foreign.job(principal, NAME, job_id, scope=principal.name)
        except NotFound:
            raise _unknown(job_id) from None

    def listed(self, principal: Principal, args: dict[str, Any]) -> list[dict[str, str | None]]:
        """Those that the arguments of a list ask for."""
        asked = args.get("job_id")
        found = self._gateway.foreign.jobs(principal, NAME, scope=principal.name, among=asked)
        if asked and not found:
            raise _unknown(", ".join(dict.fromkeys(asked)))
        if args.get("tag"):
            found = {job_id: job for job_id, job in found.items() if job.dialect_data.get("tag") == args["tag"]}
        show = mapping.brief if args.get("format") == "short" else self.shown
        return [show(job, job_id) for job_id, job in found.items()]

    def shown(self, job: Job, job_id: str) -> dict[str, str | None]:
        """A job with all that is known of it."""
        return mapping.from_job(job, job_id, self._zone, self._earlier(job))

    def _earlier(self, job: Job) -> Attempt | None:
        """The last attempt that started, of a job that was put back into the queue."""
        if job.attempt == 1 or job.started_at is not None:
            return None
        owner = Principal(name=job.owner)
        started = [each for each in self._gateway.jobs.attempts(owner, job.id) if each.started_at is not None]
        return started[-1] if started else None

    def abort(self, principal: Principal, job: Job) -> None:
        """Has a job canceled, unless it has ended. The wish is kept, also where the host does not hear of it yet.

        Raises:
            CommandTimeout: it could not be noted in time.
        """
        if job.state.final:
            return
        cancel = partial(self._gateway.jobs.cancel, principal, [job.id])
        with suppress(CommandTimeout):
            within(CANCEL_S, cancel, self._gateway.release_thread)
            return
        now = self._gateway.jobs.get(principal, job.id)
        if not (now.canceling or now.state.final):
            raise CommandTimeout("timeout: the job could not be canceled in time")


def _unknown(job_id: str) -> NotFound:
    return NotFound(f"Job with {job_id[:200]} id does not exist (not found)")
