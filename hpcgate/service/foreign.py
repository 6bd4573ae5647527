"""The ids by which dialects know jobs. Whose job it is decides here as everywhere who may see it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from hpcgate.errors import Conflict, NotFound
from hpcgate.model.job import Job
from hpcgate.model.principal import Principal
from hpcgate.service.access import Verb, allows

if TYPE_CHECKING:
    from hpcgate.store.database import Store


class ForeignService:
    """Gives foreign ids to jobs, and finds jobs by them. Ids that come with the job stand in its ``Origin``.

    Args:
        store: where they are kept.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def job(self, principal: Principal, dialect: str, foreign_id: str, *, scope: str = "") -> Job:
        """The job that a dialect knows by an id.

        Raises:
            NotFound: there is none, or none that the principal may see.
        """
        found = self._store.foreign.find(dialect, scope, foreign_id)
        if found is not None and found[0] == "job":
            try:
                job = self._store.jobs.get(found[1])
            except NotFound:  # it was deleted at this very moment
                job = None
            if job is not None and allows(principal, Verb.READ, job.owner):
                return job
        raise NotFound(f"there is no job {foreign_id[:200]!r}")

    def give(self, principal: Principal, job_id: int, dialect: str, foreign_id: str, *, scope: str = "") -> None:
        """Gives a job a foreign id that was not known before it was submitted. Twice is once.

        Raises:
            NotFound: there is no such job, or none that the principal may see.
            Conflict: the id is another job's.
        """
        job = self._store.jobs.get(job_id)
        if not allows(principal, Verb.READ, job.owner):
            raise NotFound(f"there is no job {job_id}")
        try:
            self._store.foreign.put(dialect, scope, foreign_id, "job", job_id)
        except Conflict:
            if self._store.foreign.find(dialect, scope, foreign_id) != ("job", job_id):
                raise

    def names(self, dialect: str, jobs: Sequence[Job]) -> Mapping[int, str]:
        """The foreign ids of many jobs, by our ids; one query, however many they are."""
        found = self._store.foreign.names(dialect, "job", [job.id for job in jobs])
        return {id_: foreign_id for id_, (_, foreign_id) in found.items()}

    def jobs(
        self, principal: Principal, dialect: str, *, scope: str, among: Collection[str] | None = None
    ) -> Mapping[str, Job]:
        """The jobs that a dialect knows within a scope, as lists show them, by their foreign ids; newest first.

        Args:
            principal: who asks; jobs that it may not see are left out.
            dialect: its name.
            scope: within which the ids are unique.
            among: only these ids; ``None`` = all.
        """
        named = self._store.foreign.within(dialect, scope, "job")
        if among is not None:
            wanted = set(among)
            named = {foreign_id: id_ for foreign_id, id_ in named.items() if foreign_id in wanted}
        found = {job.id: job for job in self._store.jobs.get_listed(dict.fromkeys(named.values()))}
        seen = ((foreign_id, found[id_]) for foreign_id, id_ in named.items() if id_ in found)
        return {foreign_id: job for foreign_id, job in seen if allows(principal, Verb.READ, job.owner)}

    def forget(self, principal: Principal, dialect: str, foreign_id: str, *, scope: str = "") -> None:
        """Takes a foreign id away, for dialects whose clients delete the name and not what the job left.

        Raises:
            NotFound: there is no such job, or none that the principal may delete.
        """
        job = self.job(principal, dialect, foreign_id, scope=scope)
        if not allows(principal, Verb.DELETE, job.owner):
            raise NotFound(f"there is no job {foreign_id[:200]!r}")
        self._store.foreign.remove(dialect, scope, foreign_id)
