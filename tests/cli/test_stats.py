"""``hpcgate stats``, and counting roll-ups anew."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli.clitools import Cli
from cli.test_terminal import on_terminal

from hpcgate.model.record import Record, RecordState, Resource
from hpcgate.store.database import open_store

#: 2026-01-31T12:00:00Z; nothing else of these tests began on that day.
NOON = 1_769_860_800
DAY = ("--since", "2026-01-31", "--until", "2026-02-01")


@pytest.fixture(scope="module", autouse=True)
def records(home: Path, server: dict[str, str]) -> Iterator[None]:
    """Records beside whatever else is in the database of these tests."""
    store = open_store(f"sqlite:///{home / 'hpcgate.db'}")
    new = [
        Record(
            number=number,
            user=user,
            cluster="fritz",
            subcluster="main",
            project=project,
            state=RecordState.COMPLETED,
            started_at=NOON,
            duration_s=hours * 3600,
            resources=(Resource(hostname="f1"),),
        )
        for number, (user, project, hours) in enumerate([("ann", "p", 1), ("ann", "", 2), ("bo\x1b[31mb", "p", 12)])
    ]
    stored = store.records.insert(new)
    yield
    store.records.delete([record.id for record in stored])
    store.close()


def test_a_table_of_what_users_used(cli: Cli) -> None:
    lines = cli.ok("stats", *DAY).out.splitlines()
    assert lines[0].split()[:6] == ["USER", "JOBS", "RUNNING", "SHORT", "RUN", "H"]
    assert [line.split()[:2] for line in lines[1:]] == [["bo?[31mb", "1"], ["ann", "2"], ["total", "3"]]
    assert lines[-1].split()[4] == "15.0"


def test_json_and_csv_are_those_of_the_api(cli: Cli) -> None:
    answer = cli.ok("stats", *DAY, "--by", "project", "--histogram", "duration", "--json").json
    assert {item["project"]: (item["jobs"], item["node_hours"]) for item in answer["items"]} == {
        "p": (2, 13.0),
        "": (1, 2.0),
    }
    assert sum(answer["total"]["histograms"]["duration"]) == 3
    rows = list(csv.DictReader(io.StringIO(cli.ok("stats", *DAY, "--by", "subcluster", "--csv").out)))
    assert [(row["cluster"], row["subcluster"], row["jobs"]) for row in rows] == [("fritz", "main", "3")]


def test_filters_reach_the_gateway(cli: Cli) -> None:
    narrow = ("--user", "ann", "--project", "p", "--cluster", "fritz", "--subcluster", "main", "--state", "completed")
    (item,) = cli.ok("stats", *DAY, *narrow, "--by", "day", "--json").json["items"]
    assert (item["day"], item["jobs"], item["node_hours"]) == ("2026-01-31", 1, 1.0)
    assert cli.ok("stats", *DAY, *narrow, "--state", "failed", "--by", "state", "--json").json["total"]["jobs"] == 1


def test_histograms_stand_below_the_table(cli: Cli) -> None:
    out = cli.ok("stats", *DAY, "--histogram", "duration", "--histogram", "nodes").out
    below = out.split("\n\n")[1:]
    assert "1 h to 4 h" in below[0]
    assert next(line for line in below[0].splitlines() if line.startswith("1 h to 4 h")).split()[-1] == "2"
    assert next(line for line in below[1].splitlines() if line.startswith("1 ")).split() == ["1", "3"]
    assert "257 or more" in below[1]


def test_what_is_left_out_is_told(cli: Cli) -> None:
    result = cli.ok("stats", *DAY, "--limit", "1")
    assert "1 of 2" in result.err


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("--quota",), "group by project"),
        (("--json", "--csv"), "exclude each other"),
        (("--by", "colour"), "colour"),
        (("--since", "2026-02-01", "--until", "2026-01-01"), "before since"),
    ],
)
def test_mistakes_are_one_line(cli: Cli, argv: tuple[str, ...], said: str) -> None:
    result = cli("stats", *argv)
    assert (result.code, result.err.count("\n")) == (2, 1)
    assert said in result.err


def test_a_terminal_has_bars_and_no_escapes_of_others(embedded: Cli) -> None:
    code, terminal = on_terminal(embedded, "stats", *DAY, "--histogram", "duration")
    assert code == 0, terminal.text
    lines = {line.split()[0]: line.count("█") for line in terminal.text.splitlines() if line.strip()}
    assert lines["bo?[31mb"] > 2 * lines["ann"] > 0
    assert lines["total"] == 0
    assert "\x1b[31m" not in terminal.raw


def test_roll_ups_are_counted_anew(embedded: Cli, home: Path) -> None:
    assert embedded.ok("db", "recount", "--dry-run").out.startswith("0 sums of ")
    store = open_store(f"sqlite:///{home / 'hpcgate.db'}")
    try:
        store._session.execute("UPDATE record_count SET jobs = jobs + 1 WHERE period = 20260131 AND owner = 'ann'")
        looked = embedded("db", "recount", "--dry-run", "--json")
        assert (looked.code, json.loads(looked.out)["wrong"] > 0) == (1, True)
        assert embedded.ok("stats", *DAY, "--user", "ann", "--json").json["total"]["jobs"] == 3
        assert "counted anew" in embedded.ok("db", "recount").out
    finally:
        store.close()
    assert embedded.ok("stats", *DAY, "--user", "ann", "--json").json["total"]["jobs"] == 2
    assert embedded.ok("db", "recount", "--dry-run", "--json").json["wrong"] == 0


def test_a_recount_is_done_where_the_database_is(remote: Cli) -> None:
    assert "HPCGATE_URL" in remote("db", "recount").err
