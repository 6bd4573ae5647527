"""What a job may ask to be told: its ``callback`` and its ``notifications``."""

from __future__ import annotations

from collections.abc import Callable

from hpcgate.errors import FieldError, nearest
from hpcgate.model.principal import Principal
from hpcgate.model.spec import JobSpec
from hpcgate.model.webhook import CHANNELS, NOTICES


class NoticeRules:
    """Judges what jobs ask for.

    Args:
        url_error: why a URL cannot be called, as the end of a sentence.
        sends_mail: whether there is a mail server.
        acting: a user's rights; ``None`` = it is none that the gateway does anything for.
        address: where a user's mail goes.
    """

    def __init__(
        self,
        url_error: Callable[[str], str | None],
        *,
        sends_mail: bool,
        acting: Callable[[str], Principal | None],
        address: Callable[[str], str | None],
    ) -> None:
        self._url_error = url_error
        self._acting = acting
        self._sends_mail = sends_mail
        self._address = address

    def refusals(self, owner: str, spec: JobSpec) -> list[FieldError]:
        """An error for each thing that would not be done."""
        errors = []
        if spec.callback is not None:
            if (wrong := self._url_error(spec.callback)) is not None:
                errors.append(FieldError("callback", wrong))
            elif self._acting(owner) is None:
                errors.append(FieldError("callback", f"cannot be honoured: {owner!r} is no user of this gateway"))
        for number, notice in enumerate(spec.notifications):
            at = f"notifications.{number}"
            if notice.channel not in CHANNELS:
                errors.append(FieldError(f"{at}.channel", f"{notice.channel!r} is unknown; it must be email"))
            if notice.event not in NOTICES:
                hint = nearest(notice.event, list(NOTICES))
                errors.append(FieldError(f"{at}.event", f"{notice.event!r} is none that mail is sent for{hint}"))
        if spec.notifications and not self._sends_mail:
            errors.append(FieldError("notifications", "cannot be honoured: this gateway sends no mail"))
        elif spec.notifications and self._address(owner) is None:
            errors.append(FieldError("notifications", f"cannot be honoured: {owner!r} has no e-mail address here"))
        return errors
