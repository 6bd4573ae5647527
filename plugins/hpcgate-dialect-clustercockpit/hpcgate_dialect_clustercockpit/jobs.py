"""What the routes ask of the gateway: records of jobs, under the rules that clients know."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from werkzeug.exceptions import BadRequest

from hpcgate.errors import Conflict, DuplicateRecord, Forbidden, InvalidSpec, NotFound
from hpcgate.model.principal import Principal
from hpcgate.model.record import KeepTagged, Record, RecordState, TagScope
from hpcgate_dialect_clustercockpit import mapping
from hpcgate_dialect_clustercockpit.errors import bad, unprocessable
from hpcgate_dialect_clustercockpit.mapping import Wire
from hpcgate_dialect_clustercockpit.query import ALL, Query, state_of
from hpcgate_dialect_clustercockpit.settings import Settings

if TYPE_CHECKING:
    from hpcgate.gateway import Gateway

#: How many records are read at once for a page that has no end.
BATCH: Final = 1000
#: More records than there ever are.
_MOST: Final = 2**53
#: Whose tags ``DELETE`` takes away; those that somebody has for himself stay.
_COMMON: Final = (TagScope.GLOBAL, TagScope.ADMIN)


class Jobs:
    """The use cases of this API.

    Args:
        gateway: the services.
        settings: how some of its rules are meant.
        clock: epoch seconds.
    """

    def __init__(self, gateway: Gateway, settings: Settings, clock: Callable[[], float] = time.time) -> None:
        self._records = gateway.records
        self._clusters = gateway.clusters
        self._first_level = settings.level == "0.2.0"
        self._clock = clock

    # --- start and stop

    def start(self, principal: Principal, body: Mapping[str, Any]) -> int:
        """Takes down that a job has started; the id of its record."""
        draft = self._draft(body)
        try:
            return self._records.start(principal, draft).id
        except DuplicateRecord as error:
            unprocessable(f"a job with that jobId, cluster and startTime already exists: dbid: {error.record_id}")

    def _draft(self, body: Mapping[str, Any]) -> Record:
        """The record, checked in the order in which clients are told of what is wrong."""
        cluster = self._clusters.get(body["cluster"])
        if cluster is None:
            known = ", ".join(self._clusters) or "none is configured"
            bad(f"no such cluster: {body['cluster']!r}; known are: {known}")
        hosts = [each["hostname"] for each in body["resources"]]
        try:
            subcluster = cluster.place(hosts, body["subcluster"]).name
        except InvalidSpec as error:
            bad(error.message)
        if body["state"]:
            state_of(body["state"])
        if not hosts or not body["user"]:
            bad("the fields 'user' and 'resources' are required")
        if len(hosts) != body["num_nodes"]:
            bad(f"numNodes: {body['num_nodes']}, but there are resources of {len(hosts)} nodes")
        return replace(mapping.started(body), subcluster=subcluster)

    def stop(self, principal: Principal, record_id: int, body: Mapping[str, Any]) -> Wire:
        """Takes down that a job has ended, by the id of its record."""
        try:
            return self._ended(principal, record_id, body)
        except (BadRequest, Conflict, Forbidden, InvalidSpec, NotFound):
            # Why it is refused is looked at only now: few reports are.
            return self._stop(principal, self._one(principal, record_id, details=False), body)

    def stop_which(self, principal: Principal, body: Mapping[str, Any]) -> Wire:
        """The same by what its batch system calls it."""
        return self._stop(principal, self._which(principal, body), body)

    def _stop(self, principal: Principal, record: Record, body: Mapping[str, Any]) -> Wire:
        if record.state.final:
            self._refuse_ended(record)
        if body["stopped_at"] < record.started_at:
            bad(f"stopTime {body['stopped_at']} must be at or after startTime {record.started_at}")
        if not (state := _final_state(body)).final:
            bad(f'invalid job state: "{state}" is no state of a job that has ended')
        try:
            return self._ended(principal, record.id, body)
        except Conflict:
            self._refuse_ended(record)

    def _ended(self, principal: Principal, record_id: int, body: Mapping[str, Any]) -> Wire:
        ended = self._records.stop(principal, record_id, ended_at=body["stopped_at"], state=_final_state(body))
        return self._wire(ended, with_metadata=False)

    def _refuse_ended(self, record: Record) -> None:
        message = f"job {record.number} on {record.cluster} is already stopped (dbid {record.id})"
        (bad if self._first_level else unprocessable)(message)

    # --- reading

    def page(self, principal: Principal, query: Query) -> Iterator[list[Wire]]:
        """The jobs of a page, in parts."""
        for records in self._page(principal, query):
            now = self._clock()
            yield [self._wire(each, with_metadata=query.with_metadata, now=now) for each in records]

    def _page(self, principal: Principal, query: Query) -> Iterator[Sequence[Record]]:
        wanted = {"details": query.with_metadata, "statistics": True}
        if query.items == ALL or (query.page == 1 and query.items > BATCH):
            yield from self._many(principal, query, wanted)
        elif (query.page - 1) * query.items < _MOST:
            yield self._records.numbered(principal, query.filter, page=query.page, size=query.items, **wanted)
        else:
            yield ()

    def _many(self, principal: Principal, query: Query, wanted: Mapping[str, bool]) -> Iterator[Sequence[Record]]:
        """The first of all records, as many as are wanted: clients ask for ten million and mean what there is."""
        cursor: str | None = None
        left = query.items
        while left == ALL or left > 0:
            limit = BATCH if left == ALL else min(BATCH, left)
            page = self._records.list(principal, query.filter, cursor=cursor, limit=limit, **wanted)
            yield page.items
            cursor = page.next_cursor
            if cursor is None:
                return
            left = left if left == ALL else left - limit

    def get(self, principal: Principal, record_id: int) -> Wire:
        """One job, with its metadata."""
        return self._wire(self._one(principal, record_id))

    def see(self, principal: Principal, record_id: int) -> None:
        """Whether there is such a job.

        Raises:
            NotFound: there is none, or none that the principal may see.
        """
        self._records.get(principal, record_id, details=False)

    # --- tags and metadata

    def tag(self, principal: Principal, record_id: int, bodies: Callable[[], Sequence[Mapping[str, Any]]]) -> Wire:
        """Gives tags to a job. The body is read only once there is one."""
        self._records.get(principal, record_id, details=False)
        return self._wire(self._records.tag(principal, record_id, mapping.tags(bodies())))

    def untag(self, principal: Principal, record_id: int, bodies: Callable[[], Sequence[Mapping[str, Any]]]) -> Wire:
        """Takes tags from a job; those that only one person sees stay."""
        self._records.get(principal, record_id, details=False)
        common = [each for each in mapping.tags(bodies()) if each.scope in _COMMON]
        return self._wire(self._records.untag(principal, record_id, common))

    def remove_tags(self, principal: Principal, bodies: Sequence[Mapping[str, Any]]) -> tuple[int, int]:
        """Removes tags from all jobs: how many there were, and how many were asked for."""
        common = [each for each in mapping.tags(bodies) if each.scope in _COMMON]
        return self._records.remove_tags(principal, common), len(bodies)

    def edit(self, principal: Principal, record_id: int, pair: Mapping[str, str]) -> Wire:
        """Sets a metadatum of a job."""
        if not pair["key"]:
            bad("the field 'key' is required")
        return self._wire(self._records.edit_metadata(principal, record_id, {pair["key"]: pair["value"]}))

    def edit_which(self, principal: Principal, body: Mapping[str, Any]) -> Wire:
        """The same by what its batch system calls it."""
        return self.edit(principal, self._which(principal, body).id, body["payload"])

    # --- removal

    def delete(self, principal: Principal, record_id: int) -> str:
        """Removes a record; one that is not there is as good as removed."""
        with suppress(NotFound):
            self._records.delete(principal, record_id)
        return f"Successfully deleted job {record_id}"

    def delete_which(self, principal: Principal, body: Mapping[str, Any]) -> str:
        """The same by what its batch system calls it; that has to be there."""
        return self.delete(principal, self._which(principal, body).id)

    def delete_before(self, principal: Principal, before: int, omit: str) -> str:
        """Removes the records of jobs that started before a moment."""
        try:
            keep = KeepTagged(omit)
        except ValueError:
            bad(f"omit-tagged: {omit[:64]!r} is none of {', '.join(KeepTagged)}")
        return f"Successfully deleted {self._records.delete_before(principal, before, keep=keep)} jobs"

    # --- parts

    def _one(self, principal: Principal, record_id: int, *, details: bool = True) -> Record:
        try:
            return self._records.get(principal, record_id, details=details)
        except NotFound:
            unprocessable(f"finding job failed: there is no job with the id {record_id}")

    def _which(self, principal: Principal, body: Mapping[str, Any]) -> Record:
        if body["number"] is None:
            bad("the field 'jobId' is required")
        try:
            return self._records.find(
                principal, body["number"], cluster=body["cluster"] or None, started_at=body["started_at"]
            )
        except NotFound as error:
            unprocessable(f"finding job failed: {error.message}")

    def _wire(self, record: Record, *, with_metadata: bool = True, now: float | None = None) -> Wire:
        if not with_metadata and record.metadata is not None:
            record = replace(record, metadata=None)
        return mapping.job_wire(record, self._clock() if now is None else now)


def _final_state(body: Mapping[str, Any]) -> RecordState:
    """How a job has ended: as it is said, else well."""
    return state_of(body["state"]) if body["state"] else RecordState.COMPLETED
