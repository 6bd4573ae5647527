"""What the active jobs of shares take."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from hpcgate.model.quota import Load
from hpcgate.model.state import JobState
from hpcgate.store import rows
from hpcgate.store.session import Session, chunks, placeholders
from hpcgate.store.tables import LoadRow


class ShareLoadStore:
    """The loads of shares. A job has one from its submit to its end."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def by_state(self, share: str) -> Mapping[JobState, tuple[int, Load]]:
        """How many active jobs of a share are in each state, and what they take together."""
        sql = (
            "SELECT j.state, count(*), sum(l.cpus), sum(l.memory_mib), sum(l.gpus) FROM share_load l "
            "JOIN job j ON j.id = l.job_id WHERE l.share = ? GROUP BY j.state"
        )
        return {
            JobState(state): (number, Load(share=share, cpus=int(cpus), memory_mib=int(memory_mib), gpus=int(gpus)))
            for state, number, cpus, memory_mib, gpus in self._session.rows(sql, (share,))
        }

    def pass_in(self, ids: Sequence[int], most: Mapping[str, int]) -> set[int]:
        """Lets jobs through to their schedulers as long as their shares have room; who was let through once stays so.

        Args:
            ids: of jobs, first come first served.
            most: cores that the jobs of a share may have together; shares that are not named have no limit.

        Returns:
            Those that may go.
        """
        with self._session.transaction():
            loads = self.of_jobs(ids)
            taken = {share: self._passed(share) for share in {load.share for load in loads.values()}}
            passed = {job_id for job_id in ids if job_id not in loads}
            for job_id, load in loads.items():
                if load.passed or load.share not in most or taken[load.share] + load.cpus <= most[load.share]:
                    taken[load.share] += 0 if load.passed else load.cpus
                    passed.add(job_id)
            new = [(job_id,) for job_id in passed if job_id in loads and not loads[job_id].passed]
            self._session.execute_many("UPDATE share_load SET passed = TRUE WHERE job_id = ?", new)
        return passed

    def _passed(self, share: str) -> int:
        row = self._session.one("SELECT sum(cpus) FROM share_load WHERE share = ? AND passed", (share,))
        return int(row[0] or 0) if row is not None else 0

    def of_jobs(self, ids: Sequence[int]) -> Mapping[int, Load]:
        """The cores of some jobs, oldest first; those that have no share, or have ended, are left out."""
        found: dict[int, Load] = {}
        for chunk in chunks(ids):
            sql = f"SELECT job_id, share, cpus, passed FROM share_load WHERE job_id IN ({placeholders(chunk)}) ORDER BY job_id"  # noqa: S608, E501
            for job_id, share, cpus, passed in self._session.rows(sql, chunk):
                found[job_id] = Load(share=share, cpus=cpus, passed=bool(passed))
        return found


def enter(session: Session, loads: Iterable[tuple[int, Load]]) -> None:
    """Notes what new jobs take, within the transaction that stores them."""
    entered = [(job_id, load.share, load.cpus, load.memory_mib, load.gpus, load.passed) for job_id, load in loads]
    if entered:
        session.execute_many(rows.insert(LoadRow), entered)


def leave(session: Session, ids: Sequence[int]) -> None:
    """Forgets what jobs took that have ended, within the transaction that ends them."""
    for chunk in chunks(ids):
        session.execute(f"DELETE FROM share_load WHERE job_id IN ({placeholders(chunk)})", chunk)  # noqa: S608
