"""New jobs: everything that is stored of them, in one transaction."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from peewee import IntegrityError
from ulid import ULID

from hpcgate.errors import Conflict, IdempotencyMismatch
from hpcgate.model.job import Job, TaskObservation
from hpcgate.model.move import JobDraft
from hpcgate.model.state import JobState
from hpcgate.model.webhook import Webhook
from hpcgate.store import quota, rows, shares
from hpcgate.store.cipher import Cipher, seal
from hpcgate.store.events import state_data
from hpcgate.store.filters import TAG_KEY
from hpcgate.store.session import EventDraft, Session
from hpcgate.store.specs import HIDDEN, dump_spec
from hpcgate.store.tables import ForeignIdRow, MarkRow, SpecRow, TaskRow, WebhookRow
from hpcgate.store.webhooks import webhook_row

#: How long an Idempotency-Key is remembered, seconds.
KEPT_S: Final = 86_400.0
#: A clock that is behind the newest job by less than this is taken for the same moment.
_CLOCK_SLACK_S: Final = 300.0

_NEW_JOB: Final = (
    "INSERT INTO job (id, key, owner, site, state, attempt, revision, name, project, workflow_id, is_array, canceling, "
    "folder, account, created_at, updated_at, claim_holder, claim_until, absences, submitting_since, dialect, "
    "dialect_data, expires_at, retry_of) "
    "VALUES (?, ?, ?, ?, ?, 1, 1, ?, ?, ?, ?, FALSE, ?, ?, ?, ?, ?, ?, 0, ?, ?, ?, ?, ?)"
)


@dataclass(frozen=True, slots=True)
class Idempotency:
    """The Idempotency-Key of a request.

    Args:
        principal: who sent it; keys of different principals have nothing to do with each other.
        fingerprint: digest of the request's body.
    """

    principal: str
    key: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Added:
    """Stored jobs.

    Args:
        jobs: in the order of the drafts; of a replay those that have not been deleted since.
        replayed: whether they were stored by an earlier request with the same Idempotency-Key.
        places: where each of the jobs stands in its request.
    """

    jobs: tuple[Job, ...]
    replayed: bool
    places: tuple[int, ...]


def stored_before(session: Session, key: Idempotency | None, now: float) -> dict[int, int] | None:
    """The jobs that an Idempotency-Key stood for; ``None`` = there is no key, or it is new or forgotten.

    Returns:
        Their ids -> their places in the request.

    Raises:
        IdempotencyMismatch: it stood for another request.
    """
    if key is None:
        return None
    row = session.one(
        "SELECT fingerprint, job_ids FROM idempotency WHERE principal = ? AND key = ? AND created_at > ?",
        (key.principal, key.key, now - KEPT_S),
    )
    if row is None:
        return None
    if row[0] != key.fingerprint:
        raise IdempotencyMismatch(
            f"Idempotency-Key {key.key!r} was used for another request less than a day ago; send a fresh key"
        )
    return {id_: place for place, id_ in json.loads(row[1])}


def remember(session: Session, key: Idempotency, places: Mapping[int, int], now: float) -> None:
    """Notes what an Idempotency-Key stands for: ids of jobs -> their places in the request."""
    session.execute("DELETE FROM idempotency WHERE principal = ? AND key = ?", (key.principal, key.key))
    session.execute(
        "INSERT INTO idempotency (principal, key, fingerprint, job_ids, created_at) VALUES (?, ?, ?, ?, ?)",
        (key.principal, key.key, key.fingerprint, json.dumps([(place, id_) for id_, place in places.items()]), now),
    )


def insert(session: Session, cipher: Cipher | None, drafts: Sequence[JobDraft], actor: str) -> list[Job]:
    """Stores drafts, within a transaction.

    Raises:
        Conflict: a key or a foreign id is taken.
        ConfigError: there are secrets and no cipher.
    """
    ids = session.take("id", len(drafts))
    at = _moment(session)
    new = list(zip(ids, drafts, strict=True))
    try:
        session.execute_many(_NEW_JOB, (_job_row(id_, draft, at) for id_, draft in new))
        session.execute_many(rows.insert(SpecRow), (_spec_row(id_, draft, cipher) for id_, draft in new))
        session.execute_many(rows.insert(MarkRow), (row for id_, draft in new for row in _mark_rows(id_, draft)))
        session.execute_many(rows.insert(TaskRow), (row for id_, draft in new for row in _task_rows(id_, draft)))
        session.execute_many(
            rows.insert(WebhookRow), (row for id_, draft in new for row in _callback_rows(id_, draft, at))
        )
        session.execute_many(
            rows.insert(ForeignIdRow), ((*draft.foreign, "job", id_) for id_, draft in new if draft.foreign is not None)
        )
        quota.reserve(session, ((id_, draft.charge) for id_, draft in new if draft.charge is not None))
        shares.enter(session, ((id_, draft.load) for id_, draft in new if draft.load is not None))
    except IntegrityError as error:
        raise Conflict(f"a job with the same key or foreign id is stored already ({error})") from error
    for id_, draft in new:
        _tell(session, id_, draft, actor, at)
    return [_job(id_, draft, at) for id_, draft in new]


def _moment(session: Session) -> float:
    """The time at which the jobs of this transaction are created.

    Lists turn a time window into a window of ids, so ``created_at`` must not fall while ids grow. A clock that is a
    little behind is bent; one that was far off is not believed for ever, but noted, and lists are then on their guard.
    """
    now = time.time()
    row = session.one("SELECT created_at FROM job ORDER BY id DESC LIMIT 1")
    if row is None or row[0] <= now:
        return now
    if row[0] - now <= _CLOCK_SLACK_S:
        return float(row[0])
    session.take("clock_steps", 1)
    return now


def _job_row(id_: int, draft: JobDraft, at: float) -> Sequence[Any]:
    spec, claim = draft.spec, draft.claim
    return (
        id_,
        draft.key,
        draft.owner,
        draft.site,
        draft.state.value,
        spec.name,
        spec.project,
        draft.workflow_id,
        spec.array is not None,
        draft.folder,
        draft.account,
        at,
        at,
        claim.holder if claim else None,
        claim.until if claim else 0.0,
        at if draft.state is JobState.SUBMITTING else None,
        draft.dialect,
        rows.dump_map(draft.dialect_data),
        draft.expires_at,
        draft.retry_of,
    )


def _job(id_: int, draft: JobDraft, at: float) -> Job:
    """What ``JobStore.get`` would read."""
    spec = draft.spec
    if spec.secret_environment:
        spec = replace(spec, secret_environment=dict.fromkeys(spec.secret_environment, HIDDEN))
    return Job(
        id=id_,
        key=draft.key,
        owner=draft.owner,
        site=draft.site,
        spec=spec,
        state=draft.state,
        folder=draft.folder,
        account=draft.account,
        created_at=at,
        updated_at=at,
        dialect=draft.dialect,
        dialect_data=draft.dialect_data,
        workflow_id=draft.workflow_id,
        expires_at=draft.expires_at,
        retry_of=draft.retry_of,
    )


def _spec_row(id_: int, draft: JobDraft, cipher: Cipher | None) -> Sequence[Any]:
    return (id_, *dump_spec(draft.spec), seal(cipher, draft.spec.secret_environment))


def _mark_rows(id_: int, draft: JobDraft) -> list[Sequence[Any]]:
    marks = [*draft.spec.labels.items(), *((TAG_KEY, tag) for tag in dict.fromkeys(draft.spec.tags))]
    return [(id_, key, value, draft.owner, draft.state.value) for key, value in marks]


def _callback_rows(id_: int, draft: JobDraft, at: float) -> list[Sequence[Any]]:
    """A job's ``callback`` is a webhook for this job alone, made with it so that it misses nothing."""
    if draft.spec.callback is None:
        return []
    hook = Webhook(
        id=f"whk_{ULID()}", owner=draft.owner, url=draft.spec.callback, created_at=at, job_id=id_, callback=True
    )
    return [webhook_row(hook, None)]


def _task_rows(id_: int, draft: JobDraft) -> list[Sequence[Any]]:
    waiting = [TaskObservation(index=index, state=JobState.QUEUED) for index in range(len(draft.spec.tasks))]
    return [rows.task_row(id_, 1, task) for task in waiting]


def _tell(session: Session, id_: int, draft: JobDraft, actor: str, at: float) -> None:
    created: dict[str, Any] = {
        "key": draft.key,
        "name": draft.spec.name,
        "site": draft.site,
        "state": JobState.CREATED.value,
    }
    if draft.charge is not None:
        created |= {"project": draft.charge.project, "reserved_s": draft.charge.time_s}
    session.emit(EventDraft("job.created", id_, draft.owner, actor, created, at))
    if draft.state is not JobState.CREATED:
        moved = state_data(JobState.CREATED, draft.state, attempt=1, site=draft.site)
        session.emit(EventDraft("job.state", id_, draft.owner, actor, moved, at))
