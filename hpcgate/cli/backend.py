"""What commands ask of a gateway, wherever it is. Everything goes in and out in the wire form of the REST API."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Literal, Protocol

from hpcgate.model.files import FileChunk
from hpcgate.model.query import JobFilter
from hpcgate.model.record import KeepTagged, RecordFilter

Wire = dict[str, Any]
Stream = Literal["stdout", "stderr"]
JobVerb = Literal["hold", "release", "requeue", "clone"]


class JobBackend(Protocol):
    """Jobs, their output and their events."""

    def submit(self, request: Mapping[str, Any], *, idempotency_key: str | None) -> Wire:
        """Submits a job; ``request`` is what POST /jobs takes."""

    def validate(self, request: Mapping[str, Any]) -> Wire:
        """What would become of a request."""

    def get(self, job_id: int) -> Wire:
        """A job."""

    def page(self, wanted: JobFilter, *, cursor: str | None, limit: int) -> tuple[list[Wire], str | None]:
        """A page of jobs, newest first, and the cursor of the next."""

    def cancel(self, job_ids: Sequence[int]) -> list[Wire]:
        """Asks for jobs to be canceled; the answer has them without their specs."""

    def cancel_where(self, wanted: JobFilter, *, cursor: str | None) -> tuple[int, str | None]:
        """Asks for a part of the active jobs that match to be canceled; how many, and the cursor of the next part."""

    def count_cancelable(self, wanted: JobFilter) -> int:
        """How many jobs ``cancel_where`` would ask for, over all parts."""

    def cancel_tasks(self, job_id: int, indices: Sequence[int]) -> Wire:
        """Asks for some tasks of an array to be canceled."""

    def retry(self, job_id: int, indices: Sequence[int]) -> list[Wire]:
        """Runs tasks of an array again: those that did not complete where none are named."""

    def change(self, verb: JobVerb, job_id: int) -> Wire:
        """Holds, releases, requeues or clones a job."""

    def signal(self, job_id: int, name: str) -> Wire:
        """Sends a signal to a job."""

    def delete(self, job_id: int) -> None:
        """Forgets a job."""

    def tasks(self, job_id: int) -> list[Wire]:
        """The tasks of a job's current attempt."""

    def attempts(self, job_id: int) -> list[Wire]:
        """The runs of a job."""

    def explain(self, job_id: int) -> Wire:
        """Why a job waits, or why it failed."""

    def script(self, job_id: int) -> str:
        """The script of a job."""

    def events(self, after: int, *, wait_s: float = 0.0, job_id: int | None = None) -> list[Wire]:
        """Events after a number, oldest first; waits up to ``wait_s`` for the first one."""

    def last_event(self) -> int:
        """The number of the newest event."""

    def output(self, job_id: int, stream: Stream, *, offset: int = 0, task: int | None = None) -> FileChunk:
        """A part of an output stream from ``offset`` on; empty when there is no more yet."""

    def follow(
        self, job_id: int, streams: tuple[Stream, ...], *, task: int | None = None
    ) -> Iterator[tuple[Stream, bytes]]:
        """What a job writes while it writes it, until it has ended."""

    def files(self, job_id: int, path: str) -> list[Wire]:
        """The files in a folder of a job."""

    def read_file(self, job_id: int, path: str) -> Iterator[bytes]:
        """A file of a job, in parts."""

    def put_file(self, job_id: int, path: str, data: bytes, *, executable: bool) -> Wire:
        """Puts a file into the folder of a job."""

    def remove_file(self, job_id: int, path: str) -> None:
        """Removes a file or folder of a job."""

    def archive(self, job_id: int, path: str) -> Iterator[bytes]:
        """A folder of a job as a ZIP archive, in parts."""

    def live(self) -> AbstractContextManager[None]:
        """While it is open, somebody looks after the jobs, so that waiting for them makes sense."""


class Backend(JobBackend, Protocol):
    """Everything: jobs, sites, users and tokens."""

    def sites(self) -> list[Wire]:
        """The sites and what is known of them."""

    def check_site(self, name: str) -> Wire:
        """Looks whether a site works."""

    def drain_site(self, name: str, reason: str) -> Wire:
        """Lets a site take no new jobs."""

    def resume_site(self, name: str) -> Wire:
        """Lets a site take new jobs again."""

    def users(self) -> list[Wire]:
        """All users."""

    def add_user(self, name: str, *, roles: Sequence[str], password: str | None, email: str | None) -> Wire:
        """Adds a user."""

    def update_user(self, name: str, changes: Mapping[str, Any]) -> Wire:
        """Changes a user; ``changes`` is what PATCH /users/NAME takes."""

    def remove_user(self, name: str) -> None:
        """Removes a user."""

    def tokens(self, user: str | None) -> list[Wire]:
        """Tokens, of one user or of all."""

    def create_token(
        self, user: str, *, ttl_s: int | None, roles: Sequence[str], comment: str | None, dialect: str | None
    ) -> Wire:
        """A new token; the answer has it under ``token``."""

    def revoke_token(self, token_id: str) -> None:
        """Makes a token worthless."""

    def records(
        self, wanted: RecordFilter, *, cursor: str | None, limit: int, count: bool
    ) -> tuple[list[Wire], str | None, int | None]:
        """A part of the list of records, what gets the next one, and how many there are where that is asked."""

    def record(self, record_id: int) -> Wire:
        """A record with its metadata and statistics."""

    def delete_record(self, record_id: int) -> None:
        """Deletes a record."""

    def delete_records(self, before: float, *, keep: KeepTagged, dry_run: bool) -> int:
        """Deletes the records of jobs that began before a moment; how many."""

    def close(self) -> None:
        """Gives back what it holds."""
