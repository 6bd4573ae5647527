"""The API page at ``/docs``: static files of ours that need nothing from the internet."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from flask import Blueprint, Response, send_from_directory

import hpcgate.web

_FOLDER: Final = Path(next(iter(hpcgate.web.__path__)))
#: Everything comes from here; nothing inline runs, nobody may frame it.
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

blp = Blueprint("page", __name__)


@blp.route("/docs")
def docs() -> Response:
    """The page."""
    return _file(_FOLDER, "docs.html")


@blp.route("/docs/static/<name>")
def static(name: str) -> Response:
    """What the page is made of."""
    return _file(_FOLDER / "static", name)


def _file(folder: Path, name: str) -> Response:
    response = send_from_directory(folder, name, conditional=True, max_age=0)
    response.headers["Content-Security-Policy"] = _POLICY
    response.headers["Cache-Control"] = "no-cache"
    return response
