"""Keys of webhooks, and what is signed with them, as the Standard Webhooks specification has it.

Keys of one receiver are kept as a mapping: ``current``, and after a rotation for a while also ``previous`` with
``previous_until`` (epoch seconds).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Mapping
from typing import Final

_PREFIX: Final = "whsec_"
_KEY_BYTES: Final = 32
#: How long messages are signed with the key before as well, seconds.
OVERLAP_S: Final = 86_400


def new_keys() -> dict[str, str]:
    """The keys of a new webhook."""
    return {"current": _PREFIX + base64.b64encode(secrets.token_bytes(_KEY_BYTES)).decode()}


def rotated(keys: Mapping[str, str], now: float) -> dict[str, str]:
    """Keys with a new current one; the one before is good for a while, so that receivers can follow."""
    if "current" not in keys:
        return new_keys()
    return {**new_keys(), "previous": keys["current"], "previous_until": str(now + OVERLAP_S)}


def signed_headers(keys: Mapping[str, str], message_id: str, body: bytes, now: float) -> dict[str, str]:
    """The headers that tell a message's id, time and, where there are keys, its signatures."""
    at = int(now)
    headers = {"webhook-id": message_id, "webhook-timestamp": str(at)}
    live = [keys["current"]] if "current" in keys else []
    if "previous" in keys and now < float(keys["previous_until"]):
        live.append(keys["previous"])
    if live:
        signed = f"{message_id}.{at}.".encode() + body
        headers["webhook-signature"] = " ".join(f"v1,{_signature(key, signed)}" for key in live)
    return headers


def _signature(key: str, signed: bytes) -> str:
    material = base64.b64decode(key.removeprefix(_PREFIX))
    return base64.b64encode(hmac.new(material, signed, hashlib.sha256).digest()).decode()
