"""The ``[sites.NAME.settings]`` table of a PBS site."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Final

from hpcgate.errors import FieldError, InvalidSpec
from hpcgate.model.site import Site

_OPTION = re.compile(r"(?:[a-zA-Z]|[lW] [A-Za-z_][A-Za-z0-9_]*)\Z")
MAX_NAME_CHARS: Final = 230


def _help(text: str, default: Any) -> Any:
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True, slots=True, kw_only=True)
class PbsSettings:
    """``[sites.NAME.settings]``"""

    bin_dir: str | None = _help(
        "folder of qsub, qstat and the others at the site. Default: on the account's PATH", None
    )
    shell: str | None = _help(
        "what qsub is given as -S. Default: a launcher in the job's folder, which makes the wrapper the first process "
        "of the job, so that a signal reaches the script and does not end the shell above it",
        None,
    )
    check_nodes: bool = _help("whether a job that fits no node is refused, where PBS would let it wait for ever", True)
    refuse_options: tuple[str, ...] = _help(
        "options that a script's #PBS lines may not use here, e.g. `p`, `l place`, `W depend`", ()
    )
    name_chars: int = _help("longest job name that PBS takes; 15 before PBS Pro 13", MAX_NAME_CHARS)

    def __post_init__(self) -> None:
        errors = []
        for name in ("bin_dir", "shell"):
            value = getattr(self, name)
            if value is not None and not value.startswith("/"):
                errors.append(FieldError(f"settings.{name}", f"{value!r} is not absolute"))
        if not 1 <= self.name_chars <= MAX_NAME_CHARS:
            errors.append(
                FieldError("settings.name_chars", f"{self.name_chars} is out of range; 1 to {MAX_NAME_CHARS} are taken")
            )
        errors += [
            FieldError("settings.refuse_options", f"{option!r} is no option; it must look like `p` or `l place`")
            for option in self.refuse_options
            if not _OPTION.match(option)
        ]
        if errors:
            raise InvalidSpec(errors)

    @classmethod
    def of(cls, site: Site) -> PbsSettings:
        """The settings of a site."""
        assert isinstance(site.settings, cls), f"site {site.name} has settings of another plugin"
        return site.settings
