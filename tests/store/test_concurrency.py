"""Many threads and processes on one file: each promise of the store, while they race."""

import threading

from hpcgate.model.move import Move
from hpcgate.model.state import JobState

S = JobState


def test_of_racing_threads_one_wins_each_job(store, add):
    jobs = [add() for _ in range(20)]
    barrier = threading.Barrier(8)
    won: list[list[bool]] = []

    def race(me):
        barrier.wait(10)
        won.append(
            [
                store.jobs.move([Move(job_id=job.id, old=S.CREATED, attempt=1, new=S.SUBMITTING, actor=me)])[0]
                for job in jobs
            ]
        )
        store.release()

    threads = [threading.Thread(target=race, args=(f"t{n}",)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [sum(column) for column in zip(*won, strict=True)] == [1] * 20
    moved = [event.job_id for event in store.events.after(20, limit=100)]
    assert sorted(moved) == [job.id for job in jobs]


def test_of_racing_processes_one_wins_each_job(store, add, in_processes):
    jobs = [add() for _ in range(30)]
    said = in_processes(
        """
store = open_store(url)
meet(4)
won = [
    store.jobs.move([Move(job_id=id, old=JobState.CREATED, attempt=1, new=JobState.SUBMITTING, actor=str(me))])[0]
    for id in range(1, 31)
]
print(" ".join(str(int(each)) for each in won))
store.close()
""",
        4,
    )
    won = [[int(each) for each in line.split()] for line in said]
    assert [sum(column) for column in zip(*won, strict=True)] == [1] * len(jobs)
    told = {event.job_id: event.actor for event in store.events.after(30, limit=100)}
    assert told == {id_ + 1: str([each[id_] for each in won].index(1)) for id_ in range(30)}


def test_writing_processes_wait_for_each_other_and_events_have_no_gap(store, in_processes):
    """Each writer reads first and writes then, in one transaction; a reader follows the events all the while."""
    seen: list[int] = []
    stop = threading.Event()

    def follow():
        while True:
            last = stop.is_set()
            found = store.events.after(seen[-1] if seen else 0, limit=50)
            seen.extend(event.seq for event in found)
            if last and not found:
                break
        store.release()

    reader = threading.Thread(target=follow)
    reader.start()
    try:
        said = in_processes(
            """
store = open_store(url, topics=("hooks",))
meet(4)
for number in range(40):
    with store.transaction():
        before = store.events.last()
        drafts = [
            JobDraft(key=f"{me}-{number}-{n}", owner=f"u{me}", site="ares", folder="/x", spec=JobSpec(command="true"))
            for n in range(3)
        ]
        jobs = store.jobs.add(drafts, actor=str(me)).jobs
        moves = [Move(job_id=job.id, old=JobState.CREATED, attempt=1, new=JobState.SUBMITTING) for job in jobs]
        assert store.jobs.move(moves) == [True] * 3
        assert store.events.last() == before
    store.sites.polled("ares", 1.0, commands=1)
print(store.sites.health("ares").commands >= 40)
store.close()
""",
            4,
        )
    finally:
        stop.set()
        reader.join()
    assert said == ["True"] * 4
    assert store.events.last() == 4 * 40 * 6
    assert seen == list(range(1, 4 * 40 * 6 + 1)), "whoever has seen a number has seen all below it"
    assert store.sites.health("ares").commands == 160
    assert store.outbox.depth() == 4 * 40 * 6
    assert store.jobs.counts() == {S.SUBMITTING: 480}
    written = store.events.after(0, limit=1000)
    assert all(a.owner == b.owner for a, b in zip(written[::6], written[5::6], strict=True)), "transactions do not mix"


def test_the_same_request_from_many_processes_is_stored_once(store, in_processes):
    said = in_processes(
        """
from hpcgate.store.jobs import Idempotency
store = open_store(url)
meet(4)
draft = JobDraft(key=f"k{me}", owner="ann", site="ares", folder="/x", spec=JobSpec(command="true"))
added = store.jobs.add([draft], actor="ann", idempotency=Idempotency("ann", "k", "digest"))
print(added.jobs[0].key, added.replayed)
store.close()
""",
        4,
    )
    (key,) = {line.split()[0] for line in said}
    assert sorted(line.split()[1] for line in said) == ["False", "True", "True", "True"]
    assert [job.key for job in store.jobs.get_many([1, 2])] == [key]


def test_one_of_many_processes_gets_the_lease(store, in_processes):
    said = in_processes(
        """
store = open_store(url)
meet(4)
lease = store.leases.acquire("site:ares", f"w{me}", 60.0, now=1000.0)
print(lease and lease.holder)
store.close()
""",
        4,
    )
    assert sorted(said)[:3] == ["None"] * 3
    assert store.leases.get("site:ares").holder == sorted(said)[3]


def test_a_process_that_is_killed_in_a_transaction_leaves_nothing(store, in_processes, draft):
    in_processes(
        """
import os, signal, subprocess
pid = os.fork()
if pid == 0:
    store = open_store(url)
    with store.transaction():
        store.jobs.add(
            [JobDraft(key="k", owner="ann", site="ares", folder="/x", spec=JobSpec(command="true"))], actor="ann"
        )
        store._session._write(store._session._pending.events)
        os.kill(os.getpid(), signal.SIGKILL)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
""",
        1,
    )
    assert store.jobs.counts() == {}
    assert store.events.last() == 0
    assert store.jobs.add([draft()], actor="ann").jobs[0].id == 1


def test_tries_to_log_in_are_counted_whoever_counts(store, in_processes):
    """Each count drops all windows that are over, in the transaction in which it counts its own name."""
    over = [(f"over {number}", 100.0) for number in range(1000)]
    with store.transaction():
        store._session.execute_many("INSERT INTO login_try (name, tries, since) VALUES (?, 1, ?)", over)
    said = in_processes(
        """
store = open_store(url)
meet(4)
names = ["ann", "bob"] if me % 2 else ["bob", "ann"]
print(*[store.logins.count(name, 1000.0, 5000.0)[0] for _ in range(25) for name in names])
store.close()
""",
        4,
    )
    counted = sorted(int(word) for line in said for word in line.split())
    assert counted == sorted([*range(1, 101), *range(1, 101)]), "none was lost, and no two were told the same"
    assert store._session.rows("SELECT count(*) FROM login_try") == [(2,)]
