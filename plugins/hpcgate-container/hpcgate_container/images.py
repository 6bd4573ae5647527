"""What an image may be called."""

from __future__ import annotations

import re
from typing import Final

_PART: Final = r"[a-z0-9]+(?:(?:\.|_{1,2}|-+)[a-z0-9]+)*"
_HOST: Final = r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252}[A-Za-z0-9])?(?::[0-9]{1,5})?/)?"
_TAG: Final = r"(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?:@sha256:[0-9a-f]{64})?"
#: ``[HOST[:PORT]/]NAME[:TAG][@sha256:DIGEST]``. Neither options nor podman's ``dir:/path`` and the like look so.
_REFERENCE: Final = re.compile(rf"{_HOST}{_PART}(?:/{_PART})*{_TAG}\Z")
_MAX_CHARS: Final = 512


def is_reference(text: str) -> bool:
    """Whether a text is the name of an image."""
    return len(text) <= _MAX_CHARS and _REFERENCE.match(text) is not None
