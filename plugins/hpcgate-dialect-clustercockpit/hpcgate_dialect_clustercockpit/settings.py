"""``[dialects.clustercockpit.settings]``"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from hpcgate.errors import FieldError, InvalidSpec

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

#: What its clients were written for, where versions differ: the first that there was, or any later one.
LEVELS: Final = ("0.2.0", "1.5")


def _help(text: str, default: Any) -> Any:
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """``[dialects.clustercockpit.settings]``"""

    level: str = _help("`1.5`, or `0.2.0`: to stop a job that has ended is then 400 instead of 422", "1.5")
    allowed_networks: tuple[str, ...] = _help(
        "addresses and networks such as `10.1.0.0/16` from which `/api` may be called; from everywhere when empty", ()
    )

    def __post_init__(self) -> None:
        errors = list(self._errors())
        if errors:
            raise InvalidSpec(errors)

    def _errors(self) -> Iterator[FieldError]:
        if self.level not in LEVELS:
            yield FieldError("level", f"must be {' or '.join(map(repr, LEVELS))}, not {self.level!r}")
        for entry in self.allowed_networks:
            try:
                ipaddress.ip_network(entry, strict=False)
            except ValueError:
                message = f"{entry!r} is no address or network such as 10.0.0.7 or 10.0.0.0/24"
                yield FieldError("allowed_networks", message)

    def networks(self) -> tuple[Network, ...]:
        """``allowed_networks``, parsed."""
        return tuple(ipaddress.ip_network(entry, strict=False) for entry in self.allowed_networks)
