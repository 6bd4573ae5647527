"""Commands on a gateway inside this process, for machines without a server."""

# ruff: noqa: D102 - ``Backend`` says what the methods do

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from hpcgate.cli.backend import JobVerb, Stream, Wire
from hpcgate.cli.follow import follow_output
from hpcgate.config import Config
from hpcgate.errors import HpcgateError, InvalidSpec
from hpcgate.model.codec import attempt_to_wire, decode_spec, event_to_wire, job_to_wire, task_to_wire
from hpcgate.model.files import FileChunk
from hpcgate.model.principal import Role
from hpcgate.model.query import JobFilter
from hpcgate.model.record import KeepTagged, RecordFilter
from hpcgate.model.spec import JobSpec
from hpcgate.service import wire
from hpcgate.service.record_wire import record_to_wire

if TYPE_CHECKING:
    from hpcgate.gateway import Gateway
    from hpcgate.service.admission import JobRequest

_log = logging.getLogger(__name__)

#: Between two looks whether something was committed; a look costs microseconds.
LOOK_S: Final = 0.05
CHUNK_BYTES: Final = 1 << 20
EVENTS: Final = 500


class EmbeddedBackend:
    """A ``Backend`` on a gateway in this process, as the operating system's user.

    There may be no worker that looks after the jobs, so the first question about them makes one round of it.

    Args:
        gateway: an open gateway; closed with the backend.
    """

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._principal = gateway.os_principal()
        self._fresh = False
        self._live = False

    @classmethod
    def open(cls, config: Config) -> EmbeddedBackend:
        """Opens the gateway of a configuration.

        Raises:
            ConfigError: the configuration is wrong.
        """
        from hpcgate.gateway import open_gateway

        return cls(open_gateway(config))

    def close(self) -> None:
        self._gateway.close()

    # --- jobs

    def submit(self, request: Mapping[str, Any], *, idempotency_key: str | None) -> Wire:
        result = self._gateway.jobs.submit(self._principal, _job_request(request), idempotency_key=idempotency_key)
        return job_to_wire(result.job)

    def validate(self, request: Mapping[str, Any]) -> Wire:
        try:
            decoded = _job_request(request)
        except InvalidSpec as error:
            return wire.invalid_to_wire(error.errors)
        return wire.validation_to_wire(self._gateway.jobs.validate(self._principal, decoded))

    def get(self, job_id: int) -> Wire:
        self._refresh()
        return job_to_wire(self._gateway.jobs.get(self._principal, job_id))

    def page(self, wanted: JobFilter, *, cursor: str | None, limit: int) -> tuple[list[Wire], str | None]:
        self._refresh()
        page = self._gateway.jobs.list(self._principal, wanted, cursor=cursor, limit=limit)
        return [job_to_wire(job, detail=False) for job in page.items], page.next_cursor

    def cancel(self, job_ids: Sequence[int]) -> list[Wire]:
        self._refresh()
        return [job_to_wire(job, detail=False) for job in self._gateway.jobs.cancel(self._principal, job_ids)]

    def cancel_where(self, wanted: JobFilter, *, cursor: str | None) -> tuple[int, str | None]:
        self._refresh()
        part = self._gateway.jobs.cancel_matching(self._principal, wanted, cursor=cursor)
        return part.count, part.next_cursor

    def count_cancelable(self, wanted: JobFilter) -> int:
        self._refresh()
        return self._gateway.jobs.count_cancelable(self._principal, wanted)

    def cancel_tasks(self, job_id: int, indices: Sequence[int]) -> Wire:
        self._refresh()
        return job_to_wire(self._gateway.jobs.cancel_tasks(self._principal, job_id, indices))

    def retry(self, job_id: int, indices: Sequence[int]) -> list[Wire]:
        self._refresh()
        made = self._gateway.jobs.retry(self._principal, job_id, indices)
        return [job_to_wire(job, detail=False) for job in made]

    def change(self, verb: JobVerb, job_id: int) -> Wire:
        self._refresh()
        jobs = self._gateway.jobs
        if verb == "clone":
            return job_to_wire(jobs.clone(self._principal, job_id).job)
        do = {"hold": jobs.hold, "release": jobs.release, "requeue": jobs.requeue}[verb]
        return job_to_wire(do(self._principal, job_id))

    def signal(self, job_id: int, name: str) -> Wire:
        self._refresh()
        return job_to_wire(self._gateway.jobs.signal(self._principal, job_id, name))

    def delete(self, job_id: int) -> None:
        self._refresh()
        self._gateway.jobs.delete(self._principal, job_id)

    def tasks(self, job_id: int) -> list[Wire]:
        self._refresh()
        found: list[Wire] = []
        cursor: str | None = None
        while True:
            page = self._gateway.jobs.tasks(self._principal, job_id, cursor=cursor, limit=1000)
            found += [task_to_wire(task) for task in page.items]
            cursor = page.next_cursor
            if cursor is None:
                return found

    def attempts(self, job_id: int) -> list[Wire]:
        self._refresh()
        return [attempt_to_wire(attempt) for attempt in self._gateway.jobs.attempts(self._principal, job_id)]

    def explain(self, job_id: int) -> Wire:
        return wire.explanation_to_wire(self._gateway.explainer.explain(self._principal, job_id))

    def script(self, job_id: int) -> str:
        return self._gateway.jobs.script(self._principal, job_id)

    # --- what happens to them

    def events(self, after: int, *, wait_s: float = 0.0, job_id: int | None = None) -> list[Wire]:
        self._refresh()
        end = time.monotonic() + wait_s
        while True:
            seen = self._gateway.events.version()
            found = self._gateway.events.after(self._principal, after, limit=EVENTS, job_id=job_id)
            if found or not self._changed(seen, end):
                return [event_to_wire(event) for event in found]

    def last_event(self) -> int:
        return self._gateway.events.last()

    def _changed(self, seen: tuple[int, ...], end: float) -> bool:
        """Waits until something was committed after ``seen``; False when the time is over first."""
        while self._gateway.events.version() == seen:
            left = end - time.monotonic()
            if left <= 0:
                return False
            time.sleep(min(LOOK_S, left))
        return True

    @contextmanager
    def live(self) -> Iterator[None]:
        """Runs a worker in a thread; sites that another worker looks after are left to that one."""
        if self._live:
            yield
            return
        stop = threading.Event()
        self._live = True
        self._fresh = True
        thread = threading.Thread(target=self._gateway.worker().run, args=(stop,), name="hpcgate-worker")
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
            self._live = False

    def _refresh(self) -> None:
        if self._fresh:
            return
        self._fresh = True
        worker = self._gateway.worker()
        try:
            worker.step()
        except HpcgateError as error:
            # What is stored can be shown all the same; `hpcgate site check` tells what is wrong with a site.
            _log.warning("what is shown may be old: %s", error.message)
        finally:
            worker.close()

    # --- output and files

    def output(self, job_id: int, stream: Stream, *, offset: int = 0, task: int | None = None) -> FileChunk:
        self._refresh()
        return self._gateway.jobs.output(self._principal, job_id, stream, offset=offset, length=CHUNK_BYTES, task=task)

    def follow(
        self, job_id: int, streams: tuple[Stream, ...], *, task: int | None = None
    ) -> Iterator[tuple[Stream, bytes]]:
        return follow_output(self, job_id, streams, task=task)

    def files(self, job_id: int, path: str) -> list[Wire]:
        return [wire.file_to_wire(item) for item in self._gateway.files.list(self._principal, job_id, path)]

    def read_file(self, job_id: int, path: str) -> Iterator[bytes]:
        offset = 0
        while True:
            chunk = self._gateway.files.read(self._principal, job_id, path, offset=offset, length=CHUNK_BYTES)
            if not chunk.data:
                return
            yield chunk.data
            offset += len(chunk.data)

    def put_file(self, job_id: int, path: str, data: bytes, *, executable: bool) -> Wire:
        made, _ = self._gateway.files.write(self._principal, job_id, path, data, executable=executable)
        return wire.file_to_wire(made)

    def remove_file(self, job_id: int, path: str) -> None:
        self._gateway.files.remove(self._principal, job_id, path)

    def archive(self, job_id: int, path: str) -> Iterator[bytes]:
        return self._gateway.files.archive(self._principal, job_id, path)

    # --- sites and users

    def sites(self) -> list[Wire]:
        self._refresh()
        return [wire.site_to_wire(status) for status in self._gateway.site_service.list(self._principal)]

    def check_site(self, name: str) -> Wire:
        return wire.probe_to_wire(name, self._gateway.site_service.check(self._principal, name))

    def drain_site(self, name: str, reason: str) -> Wire:
        return wire.site_to_wire(self._gateway.site_service.drain(self._principal, name, reason))

    def resume_site(self, name: str) -> Wire:
        return wire.site_to_wire(self._gateway.site_service.resume(self._principal, name))

    def users(self) -> list[Wire]:
        return [wire.user_to_wire(user) for user in self._gateway.identities.users(self._principal)]

    def add_user(self, name: str, *, roles: Sequence[str], password: str | None, email: str | None) -> Wire:
        user = self._gateway.identities.add_user(
            self._principal, name, roles=_roles(roles), password=password, email=email
        )
        return wire.user_to_wire(user)

    def update_user(self, name: str, changes: Mapping[str, Any]) -> Wire:
        return wire.user_to_wire(self._gateway.identities.update_user(self._principal, name, **changes))

    def remove_user(self, name: str) -> None:
        self._gateway.identities.remove_user(self._principal, name)

    def tokens(self, user: str | None) -> list[Wire]:
        return [wire.token_to_wire(info) for info in self._gateway.identities.tokens(self._principal, user)]

    def create_token(
        self, user: str, *, ttl_s: int | None, roles: Sequence[str], comment: str | None, dialect: str | None
    ) -> Wire:
        token, info = self._gateway.identities.create_token(
            self._principal, user, ttl_s=ttl_s, roles=_roles(roles), comment=comment, dialect=dialect
        )
        return {"token": token, **wire.token_to_wire(info)}

    def revoke_token(self, token_id: str) -> None:
        self._gateway.identities.revoke_token(self._principal, token_id)

    # --- records

    def records(
        self, wanted: RecordFilter, *, cursor: str | None, limit: int, count: bool
    ) -> tuple[list[Wire], str | None, int | None]:
        self._record()
        records, now = self._gateway.records, time.time()
        page = records.list(self._principal, wanted, cursor=cursor, limit=limit)
        total = records.count(self._principal, wanted) if count else None
        return [record_to_wire(item, now) for item in page.items], page.next_cursor, total

    def record(self, record_id: int) -> Wire:
        self._record()
        return record_to_wire(self._gateway.records.get(self._principal, record_id), time.time(), details=True)

    def delete_record(self, record_id: int) -> None:
        self._gateway.records.delete(self._principal, record_id)

    def delete_records(self, before: float, *, keep: KeepTagged, dry_run: bool) -> int:
        self._record()
        return self._gateway.records.delete_before(self._principal, int(before), keep=keep, dry_run=dry_run)

    def _record(self) -> None:
        """Writes the records of what has happened so far: there may be no worker that does so."""
        self._refresh()
        self._gateway.recorder.catch_up()


def _job_request(request: Mapping[str, Any]) -> JobRequest:
    from hpcgate.service.admission import JobRequest

    spec: JobSpec = decode_spec({name: value for name, value in request.items() if name != "site"})
    return JobRequest(spec=spec, site=request.get("site"))


def _roles(names: Sequence[str]) -> tuple[Role, ...]:
    return tuple(Role(name) for name in names)
