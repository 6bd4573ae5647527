"""Calls about jobs: submit, look, change."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hpcgate.client.problem import error_from_wire
from hpcgate.errors import HpcgateError
from hpcgate.model.codec import encode
from hpcgate.model.spec import JobSpec

if TYPE_CHECKING:
    from hpcgate.client.http import Http

Wire = dict[str, Any]
Wires = list[Wire]  # `list` is a method below


def new_key() -> str:
    """A fresh Idempotency-Key."""
    from ulid import ULID

    return str(ULID())


def request_body(spec: JobSpec | Mapping[str, Any], site: str | None) -> Wire:
    """What POST /jobs takes: the fields of the spec and the name of the site."""
    if isinstance(spec, JobSpec):
        body: Wire = encode(spec)
        if spec.secret_environment:
            body["secret_environment"] = dict(spec.secret_environment)
    else:
        body = dict(spec)
    if site is not None:
        body["site"] = site
    return body


class JobCalls:
    """The job routes of ``Client``."""

    http: Http

    def submit(
        self, spec: JobSpec | Mapping[str, Any], site: str | None = None, *, idempotency_key: str | None = None
    ) -> Wire:
        """Submits a job, exactly once however often the answer is lost on the way.

        Args:
            spec: what to run, as a ``JobSpec`` or as its JSON form.
            site: name or alias; the server's only site when not given.
            idempotency_key: for callers that repeat the call themselves; a fresh one by default.

        Returns:
            The job. Its ``native_id`` is ``None`` while the site has not yet taken it.

        Raises:
            InvalidSpec: a field is wrong, or the site cannot honour it.
            JobRejected: a plugin or the scheduler refused it.
        """
        key = idempotency_key or new_key()
        job: Wire = self.http.json("POST", "/jobs", body=request_body(spec, site), idempotency_key=key)
        return job

    def submit_many(
        self,
        specs: Iterable[JobSpec | Mapping[str, Any]],
        site: str | None = None,
        *,
        idempotency_key: str | None = None,
    ) -> list[Wire | HpcgateError]:
        """Submits many jobs in one request; one answer per job, in order. A bad one does not spoil the others."""
        body = {"jobs": [request_body(spec, site) for spec in specs]}
        answer = self.http.json("POST", "/jobs/bulk", body=body, idempotency_key=idempotency_key or new_key())
        return [
            error_from_wire(item["error"]) if item.get("error") else item.get("job", item) for item in answer["items"]
        ]

    def validate(self, spec: JobSpec | Mapping[str, Any], site: str | None = None) -> Wire:
        """What would become of a spec: ``valid``, ``errors``, a verdict per field, the script. Nothing is stored."""
        verdict: Wire = self.http.json("POST", "/jobs/validate", body=request_body(spec, site))
        return verdict

    def get(self, job_id: int) -> Wire:
        """A job."""
        job: Wire = self.http.json("GET", f"/jobs/{job_id}")
        return job

    def page(
        self, *, cursor: str | None = None, limit: int | None = None, **filters: Any
    ) -> tuple[list[Wire], str | None]:
        """One page of jobs, newest first, and the cursor of the next one.

        Args:
            cursor: from the page before.
            limit: most jobs in the page.
            **filters: state, active, site, owner, name, label (``key=value``), tag, project, since, until.
        """
        answer = self.http.json("GET", "/jobs", params={**filters, "cursor": cursor, "limit": limit})
        return answer["items"], answer.get("next_cursor")

    def list(self, **filters: Any) -> Iterator[Wire]:
        """All jobs that match, newest first, page by page as they are consumed; see ``page`` for filters."""
        return self.http.every("/jobs", limit=filters.pop("limit", 200), **filters)

    def cancel(self, job_id: int, indices: Sequence[int] = ()) -> Wire:
        """Asks for a job, or for some tasks of an array, to be canceled; what has ended already stays as it is."""
        return self._verb(job_id, "cancel", {"indices": [*indices]} if indices else None)

    def retry(self, job_id: int, indices: Sequence[int] = (), *, idempotency_key: str | None = None) -> Wires:
        """Runs tasks of an array that has ended again: those that did not complete, or those that are named."""
        body = {"indices": [*indices]} if indices else {}
        key = idempotency_key or new_key()
        items: Wires = self.http.json("POST", f"/jobs/{job_id}/retry", body=body, idempotency_key=key)["items"]
        return items

    def cancel_many(self, job_ids: Sequence[int]) -> Wires:
        """Asks for many jobs to be canceled in one request; the answer has them without their specs.

        Raises:
            NotFound: one of them is not there; nothing was done.
        """
        items: Wires = self.http.json("POST", "/jobs/cancel", body={"ids": list(job_ids)})["items"]
        return items

    def cancel_where(self, *, cursor: str | None = None, **which: Any) -> tuple[int, str | None]:
        """Asks for active jobs that match to be canceled, at most 1,000 in one call.

        Args:
            cursor: what the call before gave.
            **which: state, site (lists), owner, name, labels, tags, project, since, until, active.

        Returns:
            How many were asked for, and the cursor for the next call; ``None`` = there are no more.
        """
        body: Wire = {"filter": which} if cursor is None else {"filter": which, "cursor": cursor}
        answer = self.http.json("POST", "/jobs/cancel", body=body)
        return answer["count"], answer.get("next_cursor")

    def count_cancelable(self, **which: Any) -> int:
        """How many jobs ``cancel_where`` would ask for in all; nothing is canceled."""
        answer = self.http.json("POST", "/jobs/cancel", body={"filter": which, "dry_run": True})
        return int(answer["count"])

    def hold(self, job_id: int) -> Wire:
        """Keeps a queued job from starting."""
        return self._verb(job_id, "hold")

    def release(self, job_id: int) -> Wire:
        """Lets a held job start."""
        return self._verb(job_id, "release")

    def requeue(self, job_id: int) -> Wire:
        """Stops a running job and puts it back into the queue."""
        return self._verb(job_id, "requeue")

    def clone(self, job_id: int, *, idempotency_key: str | None = None) -> Wire:
        """Submits the same job again, as a new one."""
        key = idempotency_key or new_key()
        job: Wire = self.http.json("POST", f"/jobs/{job_id}/clone", idempotency_key=key)
        return job

    def signal(self, job_id: int, name: str) -> Wire:
        """Sends a signal (``"USR1"``, ...) to a running job."""
        return self._verb(job_id, "signal", {"signal": name})

    def delete(self, job_id: int) -> None:
        """Forgets a job that has ended."""
        self.http.send("DELETE", f"/jobs/{job_id}")

    def _verb(self, job_id: int, verb: str, body: Wire | None = None) -> Wire:
        job: Wire = self.http.json("POST", f"/jobs/{job_id}/{verb}", body=body)
        return job

    def script(self, job_id: int) -> str:
        """The script that was submitted."""
        return self.http.send("GET", f"/jobs/{job_id}/script", headers={"Accept": "*/*"}).text

    def explain(self, job_id: int) -> Wire:
        """Why a job waits, or why it failed, with the last lines that it wrote."""
        found: Wire = self.http.json("GET", f"/jobs/{job_id}/explanation")
        return found

    def job_events(self, job_id: int, *, after: int = 0, limit: int | None = None) -> Wires:
        """What happened to a job after an event number, oldest first."""
        params = {"after": after, "limit": limit}
        items: Wires = self.http.json("GET", f"/jobs/{job_id}/events", params=params)["items"]
        return items

    def tasks(self, job_id: int, *, attempt: int | None = None) -> Iterator[Wire]:
        """The tasks of a job, or the indices of an array."""
        return self.http.every(f"/jobs/{job_id}/tasks", limit=1000, attempt=attempt)

    def attempts(self, job_id: int) -> Wires:
        """The runs of a job, first one first."""
        items: Wires = self.http.json("GET", f"/jobs/{job_id}/attempts")["items"]
        return items
