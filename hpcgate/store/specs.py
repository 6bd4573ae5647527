"""Specs as they are stored: what may be large stands apart from what lists read, and secrets are left out."""

from __future__ import annotations

import json
from typing import Final

from hpcgate.model.codec import decode_spec, encode
from hpcgate.model.spec import JobSpec

#: What stands for a secret wherever a spec is shown.
HIDDEN: Final = "***"
#: What stands for the script in lists, which do not read it.
UNREAD_SCRIPT: Final = "#! not read: lists leave the script out\n"


def dump_spec(spec: JobSpec) -> tuple[str, str | None, str | None, str | None]:
    """A spec as ``(spec, secret_names, script, inputs)``."""
    data = encode(spec)
    script = inputs = None
    if spec.script is not None:
        script, data["script"] = spec.script, ""
    if spec.staging.inputs:
        inputs = json.dumps([item["content"] for item in data["staging"]["inputs"]])
        for item in data["staging"]["inputs"]:
            item["content"] = ""
    return (
        json.dumps(data),
        json.dumps(list(spec.secret_environment)) if spec.secret_environment else None,
        script,
        inputs,
    )


def load_spec(text: str, secret_names: str | None, script: str | None, inputs: str | None) -> JobSpec:
    """Undoes ``dump_spec``. Secrets have their names, not their values.

    Without ``script`` and ``inputs`` (lists do not read them) there is ``UNREAD_SCRIPT``, and input files are empty.
    """
    data = json.loads(text)
    if "script" in data:
        data["script"] = script or UNREAD_SCRIPT
    if secret_names is not None:
        data["secret_environment"] = dict.fromkeys(json.loads(secret_names), HIDDEN)
    if inputs is not None:
        for item, content in zip(data["staging"]["inputs"], json.loads(inputs), strict=True):
            item["content"] = content
    return decode_spec(data)
