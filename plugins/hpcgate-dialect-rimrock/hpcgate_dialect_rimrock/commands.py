"""``POST /api/process``: a command on a login node. Only where the operator has said so."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

from flask import Response

from hpcgate.model.principal import Principal
from hpcgate.server.dialect_api import DialectBlueprint
from hpcgate.server.smorest import reply
from hpcgate.service.deadline import within
from hpcgate.service.shell import Ran
from hpcgate_dialect_rimrock import errors, mapping
from hpcgate_dialect_rimrock.schemas import CommandSchema, ResultSchema
from hpcgate_dialect_rimrock.settings import Settings

if TYPE_CHECKING:
    from hpcgate.gateway import Gateway

#: How much longer than the command its answer may take, seconds.
_WAY_S: Final = 2.0


def add_route(blp: DialectBlueprint, gateway: Gateway, settings: Settings) -> None:
    """Adds it to the routes."""

    @blp.route("/api/process", methods=["POST"])
    @blp.login
    @blp.arguments(CommandSchema)
    @blp.response(200, ResultSchema)
    @blp.problems(408, 422, 500)
    def process(principal: Principal, wanted: dict[str, Any]) -> Response:
        """Run a command at a host, and wait for it."""
        work = partial(_run, gateway, principal, wanted, settings.process_timeout_s)
        return _answer(within(settings.process_timeout_s + _WAY_S, work, gateway.release_thread), settings)


def _run(gateway: Gateway, principal: Principal, wanted: dict[str, Any], timeout_s: float) -> Ran:
    host = wanted["host"]
    folder = mapping.folder_of(wanted["working_directory"], gateway.shell.home(principal, host))
    return gateway.shell.run(principal, host, wanted["command"], folder=folder, timeout_s=timeout_s)


def _answer(ran: Ran, settings: Settings) -> Response:
    """A command that fails is no error here: its exit code says so."""
    out, err = _text(ran.result.out), _text(ran.result.err)
    if ran.late:
        message = f"timeout occurred: the command was ended after {settings.process_timeout_s:g} s"
        return errors.answer(408, message, standard_output=out, error_output=err)
    told = {"status": "OK", "exit_code": ran.result.exit_status, "standard_output": out, "error_output": err}
    return reply({**told, "error_message": None})


def _text(printed: str) -> str:
    return printed.replace("\r\n", "\n").strip()
