import random
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hpcgate.errors import InvalidSpec
from hpcgate.model.move import Move
from hpcgate.model.query import JobFilter
from hpcgate.model.spec import InputFile, JobSpec, Staging
from hpcgate.model.state import ACTIVE, FINAL, JobState
from hpcgate.store import adding, filters, sqlite
from hpcgate.store.specs import UNREAD_SCRIPT

S = JobState


@pytest.fixture
def filled(store, draft, monkeypatch):
    """300 jobs of all kinds, created one second apart; the jobs, newest first."""
    rng = random.Random(7)
    clock = [1000.0]
    monkeypatch.setattr(adding.time, "time", lambda: clock[0])
    for _ in range(60):
        drafts = [
            draft(
                owner=rng.choice(["ann", "bob"]),
                site=rng.choice(["ares", "helios", None]),
                name=rng.choice(["x", "y"]),
                project=rng.choice(["p", "q", None]),
                labels={"kind": rng.choice("ab"), **({"rare": "old"} if rng.random() < 0.03 else {})},
                tags=rng.choice([(), ("t",), ("t", "u")]),
                workflow_id=rng.choice([None, None, 5]),
            )
            for _ in range(5)
        ]
        jobs = store.jobs.add(drafts, actor="ann").jobs
        states = [rng.choice(list(S)) for _ in jobs]
        store.jobs.move(
            [
                Move(job_id=job.id, old=S.CREATED, attempt=1, new=state)
                for job, state in zip(jobs, states, strict=True)
                if state is not S.CREATED
            ]
        )
        clock[0] += 1
    return list(reversed(store.jobs.get_many(range(1, 301))))


def expected(jobs, wanted: JobFilter):
    def fits(job):
        return (
            (not wanted.states or job.state in wanted.states)
            and (wanted.active is None or (job.state in ACTIVE) is wanted.active)
            and (wanted.owner is None or job.owner == wanted.owner)
            and (not wanted.sites or job.site in wanted.sites)
            and (wanted.name is None or job.spec.name == wanted.name)
            and wanted.labels.items() <= job.spec.labels.items()
            and set(wanted.tags) <= set(job.spec.tags)
            and (wanted.project is None or job.spec.project == wanted.project)
            and (wanted.since is None or job.created_at >= wanted.since)
            and (wanted.until is None or job.created_at <= wanted.until)
            and (wanted.ids is None or job.id in wanted.ids)
            and (wanted.workflow_id is None or job.workflow_id == wanted.workflow_id)
        )

    return [job.id for job in jobs if fits(job)]


def walk(store, wanted, limit):
    cursor, pages = None, []
    while True:
        page = store.jobs.page(wanted, cursor=cursor, limit=limit)
        pages.append([job.id for job in page.items])
        cursor = page.next_cursor
        if cursor is None:
            return pages


ONE_BY_ONE = [
    JobFilter(),
    JobFilter(states=frozenset({S.RUNNING})),
    JobFilter(states=frozenset({S.RUNNING, S.FAILED, S.COMPLETED})),
    JobFilter(active=True),
    JobFilter(active=False),
    JobFilter(owner="bob"),
    JobFilter(sites=("ares",)),
    JobFilter(sites=("ares", "helios")),
    JobFilter(name="x"),
    JobFilter(project="p"),
    JobFilter(labels={"kind": "a"}),
    JobFilter(labels={"rare": "old"}),
    JobFilter(tags=("u",)),
    JobFilter(since=1010.0),
    JobFilter(until=1010.0),
    JobFilter(since=1010.0, until=1020.0),
    JobFilter(workflow_id=5),
]
WITH = [{"owner": "ann"}, {"states": frozenset({S.FAILED})}, {"owner": "ann", "states": frozenset({S.FAILED})}]
LISTED = ONE_BY_ONE + [replace(each, **more) for each in ONE_BY_ONE for more in WITH]


def test_every_filter_alone_and_with_owner_and_with_state(store, filled):
    for wanted in LISTED:
        ids = expected(filled, wanted)
        assert store.jobs.count(wanted) == len(ids), wanted
        pages = walk(store, wanted, 7)
        assert [id_ for page in pages for id_ in page] == ids, wanted
        assert all(len(page) == 7 for page in pages[:-1]), wanted
    assert all(len(expected(filled, wanted)) for wanted in ONE_BY_ONE), "a filter that nothing passes tests nothing"


def test_filters_that_nothing_passes(store, filled):
    for wanted in (
        JobFilter(owner="nobody"),
        JobFilter(states=frozenset({S.RUNNING}), active=False),
        JobFilter(since=5000.0),
        JobFilter(until=1.0),
        JobFilter(ids=frozenset()),
        JobFilter(tags=("nope",)),
        JobFilter(tags=("kind",)),
        JobFilter(labels={"kind": "t"}),
    ):
        assert walk(store, wanted, 5) == [[]], wanted
        assert store.jobs.count(wanted) == 0


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    wanted=st.builds(
        JobFilter,
        states=st.frozensets(st.sampled_from(list(S)), max_size=4),
        active=st.sampled_from([None, None, True, False]),
        owner=st.sampled_from([None, "ann", "bob"]),
        sites=st.sampled_from([(), ("ares",), ("ares", "helios"), (*map("s{}".format, range(60)), "ares")]),
        name=st.sampled_from([None, None, "x"]),
        labels=st.sampled_from([{}, {}, {"kind": "a"}, {"rare": "old"}, {"kind": "b", "rare": "old"}]),
        tags=st.sampled_from([(), (), ("t",), ("u", "t")]),
        project=st.sampled_from([None, None, "q"]),
        since=st.sampled_from([None, None, 1020.0, 1020.5]),
        until=st.sampled_from([None, None, 1040.0, 1039.5]),
        ids=st.none() | st.frozensets(st.integers(1, 310), min_size=20),
        workflow_id=st.sampled_from([None, None, None, 5]),
    ),
    limit=st.integers(9, 40),
)
def test_filters_in_any_combination(store, filled, wanted, limit):
    ids = expected(filled, wanted)
    assert [id_ for page in walk(store, wanted, limit) for id_ in page] == ids
    assert store.jobs.count(wanted) == len(ids)


def test_counts_by_state(store, filled):
    for site, owner in ((None, None), ("ares", None), (None, "bob"), ("helios", "ann")):
        wanted = JobFilter(sites=(site,) if site else (), owner=owner)
        counts = store.jobs.counts(site=site, owner=owner)
        assert counts == {
            state: number
            for state in S
            if (number := len(expected(filled, replace(wanted, states=frozenset({state})))))
        }
        assert store.jobs.counts(site, owner, FINAL) == {s: n for s, n in counts.items() if s in FINAL}


def test_pages_stay_complete_while_jobs_come_and_go(store, draft, goto):
    jobs = store.jobs.add([draft() for _ in range(40)], actor="ann").jobs
    first = store.jobs.page(JobFilter(), cursor=None, limit=10)
    store.jobs.add([draft() for _ in range(5)], actor="ann")
    for gone in (first.items[-1], jobs[20]):
        goto(gone.id, S.CANCELED)
        assert store.jobs.delete([gone.id], actor="ann") == 1
    seen, cursor = [], first.next_cursor
    while cursor is not None:
        page = store.jobs.page(JobFilter(), cursor=cursor, limit=10)
        seen += [job.id for job in page.items]
        cursor = page.next_cursor
    assert seen == [job.id for job in reversed(jobs[:30]) if job.id != jobs[20].id]


def test_a_last_page_that_is_full_has_no_next_one(store, draft):
    store.jobs.add([draft() for _ in range(10)], actor="ann")
    assert store.jobs.page(JobFilter(), cursor=None, limit=10).next_cursor is None
    assert store.jobs.page(JobFilter(), cursor=None, limit=9).next_cursor is not None


@pytest.mark.parametrize(
    "cursor", ["", "x", "zzzz", "am9i", "äöü", "am9iOi0x", "am9iOjk5OTk5OTk5OTk5OTk5OTk5OTk5", "\0"]
)
def test_a_bad_cursor_is_refused(store, cursor):
    with pytest.raises(InvalidSpec, match="is no cursor; give next_cursor of the part before") as caught:
        store.jobs.page(JobFilter(), cursor=cursor, limit=5)
    assert caught.value.errors[0].field == "cursor"


def test_lists_do_not_read_scripts_and_inputs(store, add):
    inputs = (InputFile(path="a", content=b"x" * 1000), InputFile(path="b", content=b"y"))
    job = add(spec=JobSpec(name="big", script="#!/bin/sh\n" + "#" * 100_000, staging=Staging(inputs=inputs)))
    (listed,) = store.jobs.page(JobFilter(), cursor=None, limit=5).items
    assert listed.spec.script == UNREAD_SCRIPT
    assert [(item.path, item.content) for item in listed.spec.staging.inputs] == [("a", b""), ("b", b"")]
    unread = replace(job.spec, script=UNREAD_SCRIPT, staging=listed.spec.staging)
    assert listed == replace(job, spec=unread)
    assert store.jobs.get(job.id).spec == job.spec


@pytest.mark.parametrize("wanted", [{"name": "\udcff"}, {"labels": {"a": "\ud800"}}])
def test_text_that_is_no_unicode_is_refused(store, wanted):
    for read in (store.jobs.count, lambda filter_: store.jobs.page(filter_, cursor=None, limit=9)):
        with pytest.raises(InvalidSpec, match="not valid Unicode"):
            read(JobFilter(**wanted))


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_list_that_takes_too_long_says_so(store, filled, monkeypatch):
    monkeypatch.setattr(filters, "TIME_LIMIT_S", -1.0)
    monkeypatch.setattr(sqlite, "_STEPS_BETWEEN_LOOKS", 10)
    for read in (store.jobs.count, lambda wanted: store.jobs.page(wanted, cursor=None, limit=9)):
        with pytest.raises(InvalidSpec, match="narrow them by owner, state or a time window") as caught:
            read(JobFilter(labels={"kind": "a"}, name="x"))
        assert caught.value.errors[0].field == "filter"
    monkeypatch.undo()
    assert store.jobs.count(JobFilter()) == 300


# --- time -----------------------------------------------------------------------------------------------------------


def test_a_clock_that_goes_back_a_little_is_bent(store, add, monkeypatch):
    clock = [2000.0]
    monkeypatch.setattr(adding.time, "time", lambda: clock[0])
    first = add()
    clock[0] = 1800.0
    assert add().created_at == first.created_at == 2000.0


def test_a_clock_that_was_far_off_hides_no_job(store, add, monkeypatch):
    clock = [1e6]
    monkeypatch.setattr(adding.time, "time", lambda: clock[0])
    times = [1e6, 9e9, 2e6, 10.0, 3e6]
    jobs = []
    for clock[0] in times:
        jobs.append(add(labels={"a": "b"}))
    assert [job.created_at for job in jobs] == times
    for since in (None, 5.0, 1.5e6, 1e9):
        for until in (None, 20.0, 2.5e6, 1e10):
            for extra in ({}, {"labels": {"a": "b"}}, {"owner": "ann"}):
                wanted = JobFilter(since=since, until=until, **extra)
                assert walk(store, wanted, 2)[0] == expected(reversed(jobs), wanted)[:2], wanted
                assert store.jobs.count(wanted) == len(expected(jobs, wanted))


# --- plans ----------------------------------------------------------------------------------------------------------


def plans(store, monkeypatch, read):
    """What SQLite does for the statements that ``read`` runs."""
    session, ran = store._session, []
    plain = session.rows
    with monkeypatch.context() as patch:
        patch.setattr(session, "rows", lambda sql, params=(): ran.append((sql, params)) or plain(sql, params))
        read()
    return [row[3] for sql, params in ran for row in plain(f"EXPLAIN QUERY PLAN {sql}", params)]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_lists_are_answered_by_indices(store, filled, monkeypatch):
    for wanted in LISTED:
        steps = plans(store, monkeypatch, lambda: store.jobs.page(wanted, cursor=None, limit=25))  # noqa: B023
        assert not [step for step in steps if "TEMP B-TREE" in step], (wanted, steps)
        # The list of everything is the table itself, newest first.
        allowed = ["SCAN t"] if wanted == JobFilter() else []
        assert [step for step in steps if step.startswith("SCAN")] == allowed, (wanted, steps)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_what_workers_ask_all_the_time_is_answered_by_indices(store, monkeypatch):
    for read in (
        lambda: store.jobs.snapshots("ares", ACTIVE),
        lambda: store.jobs.lost("ares"),
        lambda: store.jobs.counts("ares", None, ACTIVE),
        lambda: store.jobs.counts(None, "ann", ACTIVE),
        lambda: store.events.after(5, limit=10, owner="ann"),
        lambda: store.events.after(5, limit=10, job_id=4),
        lambda: store.outbox.due("hooks", now=1.0, limit=10),
        lambda: store.jobs.tasks(1, limit=5),
    ):
        steps = plans(store, monkeypatch, read)
        assert steps
        assert not [s for s in steps if "TEMP B-TREE" in s], steps
        assert not [s for s in steps if s.startswith("SCAN") and s != "SCAN o"], steps  # the outbox is walked in order


# --- plans of PostgreSQL, which depend on how many rows there are ---------------------------------------------------


@pytest.fixture
def many(store, filled):
    """The same jobs 25 times over, with nothing that would distinguish a copy but its id and key."""
    session = store._session

    def copied(table, changed):
        columns = [name for (name,) in session.rows(_COLUMNS, (table,))]
        values = ", ".join(changed.get(name, name) for name in columns)
        sql = f"INSERT INTO {table} ({', '.join(columns)}) SELECT {values} FROM {table}, generate_series(1, 24) AS copy"
        session.execute(sql)

    with store.transaction():
        copied("job", {"id": "id + 1000 * copy", "key": "key || '-' || copy"})
        copied("job_mark", {"job_id": "job_id + 1000 * copy"})
    session.execute("ANALYZE")
    assert store.jobs.count(JobFilter()) == 25 * len(filled)


_COLUMNS = "SELECT column_name FROM information_schema.columns WHERE table_schema = 'public' AND table_name = ?"


def nodes(plan):
    """The nodes of a plan of PostgreSQL, from the top."""
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)


@pytest.mark.live
@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
def test_postgresql_reads_and_sorts_no_whole_table_for_a_list(store, many, monkeypatch):
    session, ran = store._session, []
    plain = session.rows
    for wanted in LISTED:
        with monkeypatch.context() as patch:
            patch.setattr(session, "rows", lambda sql, params=(): ran.append((sql, params)) or plain(sql, params))
            store.jobs.page(wanted, cursor=None, limit=25)
        while ran:
            sql, params = ran.pop()
            ((((explained,),),),) = (plain(f"EXPLAIN (FORMAT JSON) {sql}", params),)
            for node in nodes(explained["Plan"]):
                scans = node["Node Type"] == "Seq Scan" and node["Relation Name"] in ("job", "job_mark")
                assert not scans, (wanted, node)
                sorts = node["Node Type"] == "Sort" and node["Plan Rows"] > 400
                assert not sorts, (wanted, node)
