"""Events, for those who may see them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hpcgate.errors import EventsGone, InvalidSpec
from hpcgate.model.job import Event
from hpcgate.model.principal import Principal
from hpcgate.service.access import Verb, only_owner, require_on_job

if TYPE_CHECKING:
    from hpcgate.store.database import Store

MAX_EVENTS: Final = 1000


class EventService:
    """Reads the event log.

    Args:
        store: where it is.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def after(self, principal: Principal, seq: int, *, limit: int = 500, job_id: int | None = None) -> list[Event]:
        """Events with a number above ``seq`` that the principal may see, in order.

        Raises:
            NotFound: ``job_id`` is a job that it may not see.
            InvalidSpec: ``seq`` or ``limit`` is out of range.
            EventsGone: some of them are not kept any more.
        """
        if not 0 <= seq < 2**63:
            raise InvalidSpec.of("after", f"{seq} is no event number")
        self.require_kept(seq)
        if not 1 <= limit <= MAX_EVENTS:
            raise InvalidSpec.of("limit", f"{limit} is out of range; it must be from 1 to {MAX_EVENTS}")
        if job_id is not None:
            require_on_job(principal, Verb.READ, job_id, self._store.jobs.get(job_id).owner)
        return list(self._store.events.after(seq, limit=limit, owner=only_owner(principal), job_id=job_id))

    def require_kept(self, seq: int) -> None:
        """Refuses a cursor behind which events are missing. 0 asks for what there is, and is always good.

        Raises:
            EventsGone: with the number of the last event that was dropped.
        """
        pruned = self._store.events.pruned()
        if 0 < seq < pruned:
            raise EventsGone(
                f"events up to {pruned} are not kept any more, so that some after {seq} are missing; look at the jobs "
                f"anew, and go on after {pruned}"
            )

    def raw_after(self, seq: int, limit: int = 500) -> list[Event]:
        """Events of everybody, for a dispatcher that asks ``visible`` for each of its listeners."""
        return list(self._store.events.after(seq, limit=limit))

    def visible(self, principal: Principal, event: Event) -> bool:
        """Whether the principal may see an event."""
        owner = only_owner(principal)
        return owner is None or event.owner == owner

    def last(self) -> int:
        """The number of the newest event; 0 before the first."""
        return self._store.events.last()

    def version(self) -> tuple[int, ...]:
        """Something cheap to ask that differs whenever anything was committed. To be asked by one thread."""
        return self._store.version()
