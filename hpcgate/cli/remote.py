"""Commands on a server, through the REST API."""

# ruff: noqa: D102 - ``Backend`` says what the methods do

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from typing import Any

from hpcgate.cli.backend import JobVerb, Stream, Wire
from hpcgate.client.client import Client
from hpcgate.model.codec import time_to_wire
from hpcgate.model.files import FileChunk
from hpcgate.model.query import JobFilter
from hpcgate.model.record import KeepTagged, RecordFilter


class RemoteBackend:
    """A ``Backend`` on a server.

    Args:
        client: an open client; closed with the backend.
    """

    def __init__(self, client: Client) -> None:
        self._client = client

    @classmethod
    def open(cls, url: str, token: str | None) -> RemoteBackend:
        """Connects to a server (at the first call).

        Raises:
            ConfigError: the URL is wrong, or would show the token to others.
        """
        return cls(Client(url, token))

    def close(self) -> None:
        self._client.close()

    def live(self) -> AbstractContextManager[None]:
        return nullcontext()  # the server's worker looks after the jobs

    def submit(self, request: Mapping[str, Any], *, idempotency_key: str | None) -> Wire:
        return self._client.submit(request, idempotency_key=idempotency_key)

    def validate(self, request: Mapping[str, Any]) -> Wire:
        return self._client.validate(request)

    def get(self, job_id: int) -> Wire:
        return self._client.get(job_id)

    def page(self, wanted: JobFilter, *, cursor: str | None, limit: int) -> tuple[list[Wire], str | None]:
        return self._client.page(cursor=cursor, limit=limit, **query_of(wanted))

    def cancel(self, job_ids: Sequence[int]) -> list[Wire]:
        return self._client.cancel_many(job_ids)

    def cancel_where(self, wanted: JobFilter, *, cursor: str | None) -> tuple[int, str | None]:
        return self._client.cancel_where(cursor=cursor, **filter_of(wanted))

    def count_cancelable(self, wanted: JobFilter) -> int:
        return self._client.count_cancelable(**filter_of(wanted))

    def cancel_tasks(self, job_id: int, indices: Sequence[int]) -> Wire:
        return self._client.cancel(job_id, indices)

    def retry(self, job_id: int, indices: Sequence[int]) -> list[Wire]:
        return self._client.retry(job_id, indices)

    def change(self, verb: JobVerb, job_id: int) -> Wire:
        job: Wire = getattr(self._client, verb)(job_id)
        return job

    def signal(self, job_id: int, name: str) -> Wire:
        return self._client.signal(job_id, name)

    def delete(self, job_id: int) -> None:
        self._client.delete(job_id)

    def tasks(self, job_id: int) -> list[Wire]:
        return list(self._client.tasks(job_id))

    def attempts(self, job_id: int) -> list[Wire]:
        return self._client.attempts(job_id)

    def explain(self, job_id: int) -> Wire:
        return self._client.explain(job_id)

    def script(self, job_id: int) -> str:
        return self._client.script(job_id)

    def events(self, after: int, *, wait_s: float = 0.0, job_id: int | None = None) -> list[Wire]:
        return self._client.poll_events(after, wait_s=wait_s, job_id=job_id)

    def last_event(self) -> int:
        return self._client.last_event()

    def output(self, job_id: int, stream: Stream, *, offset: int = 0, task: int | None = None) -> FileChunk:
        return self._client.logs(job_id, stream, offset=offset, task=task)

    def follow(
        self, job_id: int, streams: tuple[Stream, ...], *, task: int | None = None
    ) -> Iterator[tuple[Stream, bytes]]:
        return self._client.follow(job_id, streams, task=task)

    def files(self, job_id: int, path: str) -> list[Wire]:
        return self._client.files(job_id, path)

    def read_file(self, job_id: int, path: str) -> Iterator[bytes]:
        return self._client.read_file(job_id, path)

    def put_file(self, job_id: int, path: str, data: bytes, *, executable: bool) -> Wire:
        return self._client.put_file(job_id, path, data, executable=executable)

    def remove_file(self, job_id: int, path: str) -> None:
        self._client.remove_file(job_id, path)

    def archive(self, job_id: int, path: str) -> Iterator[bytes]:
        return self._client.archive(job_id, path)

    def sites(self) -> list[Wire]:
        return self._client.sites()

    def check_site(self, name: str) -> Wire:
        return self._client.check_site(name)

    def drain_site(self, name: str, reason: str) -> Wire:
        return self._client.drain_site(name, reason)

    def resume_site(self, name: str) -> Wire:
        return self._client.resume_site(name)

    def users(self) -> list[Wire]:
        return self._client.users()

    def add_user(self, name: str, *, roles: Sequence[str], password: str | None, email: str | None) -> Wire:
        return self._client.add_user(name, roles=roles, password=password, email=email)

    def update_user(self, name: str, changes: Mapping[str, Any]) -> Wire:
        return self._client.update_user(name, **changes)

    def remove_user(self, name: str) -> None:
        self._client.remove_user(name)

    def tokens(self, user: str | None) -> list[Wire]:
        return self._client.tokens(user)

    def create_token(
        self, user: str, *, ttl_s: int | None, roles: Sequence[str], comment: str | None, dialect: str | None
    ) -> Wire:
        return self._client.create_token(user, ttl_s=ttl_s, roles=roles, comment=comment, dialect=dialect)

    def revoke_token(self, token_id: str) -> None:
        self._client.revoke_token(token_id)

    def records(
        self, wanted: RecordFilter, *, cursor: str | None, limit: int, count: bool
    ) -> tuple[list[Wire], str | None, int | None]:
        found = self._client.records_page(cursor=cursor, limit=limit, count=count, **record_query_of(wanted))
        return found["items"], found["next_cursor"], found.get("total")

    def record(self, record_id: int) -> Wire:
        return self._client.record(record_id)

    def delete_record(self, record_id: int) -> None:
        self._client.delete_record(record_id)

    def delete_records(self, before: float, *, keep: KeepTagged, dry_run: bool) -> int:
        return self._client.delete_records_before(before, keep=keep.value, dry_run=dry_run)


def record_query_of(wanted: RecordFilter) -> dict[str, Any]:
    """A filter as the query of ``GET /records``."""
    query = asdict(wanted)
    for field, parameter in (("states", "state"), ("subclusters", "subcluster"), ("users", "user")):
        query[parameter] = list(query.pop(field))
    return query


def query_of(wanted: JobFilter) -> dict[str, Any]:
    """A filter as the query of ``GET /jobs``."""
    return {
        "state": sorted(wanted.states),
        "active": None if wanted.active is None else str(wanted.active).lower(),
        "owner": wanted.owner,
        "site": list(wanted.sites),
        "name": wanted.name,
        "label": [f"{key}={value}" for key, value in wanted.labels.items()],
        "tag": list(wanted.tags),
        "project": wanted.project,
        "since": time_to_wire(wanted.since),
        "until": time_to_wire(wanted.until),
    }


def filter_of(wanted: JobFilter) -> dict[str, Any]:
    """A filter as ``POST /jobs/cancel`` takes it: what it does not say is left out."""
    said = query_of(wanted)
    body = {**said, "labels": dict(wanted.labels), "tags": list(wanted.tags), "active": True}
    return {name: value for name, value in body.items() if name not in ("label", "tag") and value not in (None, [], {})}
