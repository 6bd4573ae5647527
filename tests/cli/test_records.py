"""``hpcgate records``, on a gateway in this process and through a server."""

from __future__ import annotations

from cli.clitools import Cli
from support import eventually


def test_a_job_leaves_a_record_that_is_listed_shown_and_deleted(cli: Cli) -> None:
    job = cli.ok("submit", "--wait", "--name", "recorded", "--", "true").out.split()[0]
    found = eventually(lambda: cli.ok("records", "list", "--job", job, "--state", "completed", "--json").json)
    (record,) = found
    assert (record["job_id"], record["name"], record["cluster"]) == (int(job), "recorded", "local")
    assert record["state"] in cli.ok("records", "list", "--name", "recor", "--since", "1h", "--all").out
    assert cli.ok("records", "list", "--job", job, "--count").out == "1\n"
    assert cli.ok("records", "list", "--job", job, "--min-duration", "1h", "--count").out == "0\n"
    id_ = record["id"]
    assert cli.ok("records", "show", id_, "--json").json["metadata"] == {"jobName": "recorded"}
    assert "cluster" in cli.ok("records", "show", id_).out
    assert "0 records would be deleted" in cli.ok("records", "delete", "--before", "1d", "--yes").out
    assert cli.ok("records", "delete", "--before", "2999-01-01", "--keep-tagged", "user", "--dry-run").out[0] != "0"
    cli.ok("records", "delete", id_)
    gone = cli("records", "show", id_)
    assert (gone.code, f"there is no record {id_}" in gone.err) == (3, True)
    for wrong in ((), (id_, "--before", "1d")):
        assert cli("records", "delete", *wrong).code == 2


def test_old_records_go_after_a_question(embedded: Cli) -> None:
    embedded.ok("submit", "--wait", "--", "true")
    assert embedded.ok("records", "list", "--count").out != "0\n"
    asked = embedded("records", "delete", "--before", "2999-01-01", stdin=b"n\n")
    assert (asked.code, "for good?" in asked.err) == (130, True)
    assert embedded.ok("records", "list", "--count").out != "0\n"
    assert "records deleted" in embedded.ok("records", "delete", "--before", "2999-01-01", stdin=b"y\n").out
    assert embedded.ok("records", "list", "--count").out == "0\n"
