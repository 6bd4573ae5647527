"""Jobs on Slurm over ssh, as Rimrock's users start them: by curl."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from live.rimrock import serving
from live.served import curl
from live.slurm_gateway import OFTEN
from support import eventually

from hpcgate.config import config_from

pytestmark = [pytest.mark.live, pytest.mark.timeout(240)]
HOST = "ares.cyfronet.pl"
KEYS = {"job_id", "stdout_path", "stderr_path", "status", "tag"}
RUNTIME = {"nodes", "cores", "start_time", "end_time", "wall_time", "queue_time"}


@pytest.fixture(scope="module")
def ask(cluster, account, sshd, tmp_path_factory):
    cluster.add_user(account.name)
    site = {
        "scheduler": "slurm",
        "transport": "ssh",
        "aliases": [HOST],
        "work_root": "~/rimrock-jobs",
        "poll": OFTEN,
        "ssh": sshd.table(account),
        "settings": {"bin": str(cluster.commands(cluster.root / "rimrock").folder)},
    }
    config = config_from({"sites": {"ares": site}, "dialects": {"rimrock": {}}}, home=tmp_path_factory.mktemp("home"))
    with serving(config) as server:

        def ask(method, path, body=None):
            """As the API's page has it."""
            data = () if body is None else ("--data", json.dumps(body), "--header", "Content-Type:application/json")
            credential = ("--header", f"PROXY:{server.headers['PROXY']}")
            return curl("-k", "-X", method, *data, *credential, f"{server.base_url}api/jobs{path}")

        yield ask


def start(ask, script, **more):
    answer = ask("POST", "", {"host": HOST, "script": f"#!/bin/bash\n{script}", **more})
    assert answer.status == 201, answer
    return answer.json


def ended(ask, job_id, status="FINISHED"):
    """The job with all that is known of its run, which comes some moments after its end."""

    def there():
        job = ask("GET", f"/{job_id}").json
        return job if job["status"] not in ("QUEUED", "RUNNING") else None

    job = eventually(there, 90)
    assert job["status"] == status
    return job


def test_a_whole_life(ask, cluster, account):
    script = "#SBATCH -N 2\n#SBATCH -n 3\n#SBATCH -o marked-%j.out\necho my marker; pwd; echo bad >&2\n"
    started = start(ask, script, tag="vapor", working_directory="~/by need/below")
    native_id = started["job_id"].partition(".")[0]
    assert started == {
        "job_id": f"{native_id}.{HOST}",
        "stdout_path": f"{account.home}/by need/below/marked-{native_id}.out",
        "stderr_path": f"{account.home}/by need/below/marked-{native_id}.out",
        "status": "QUEUED",
        "tag": "vapor",
    }
    job = ended(ask, started["job_id"])
    assert set(job) == KEYS | RUNTIME
    assert (job["nodes"], job["cores"]) == ("2", "3")
    written = Path(started["stdout_path"]).read_text()
    assert written.splitlines() == ["my marker", f"{account.home}/by need/below", "bad"]
    assert ask("GET", f"/{job['job_id']}/stdout").body.decode() == written
    assert ask("GET", "?tag=vapor").json == [job]
    failed = ended(ask, start(ask, "exit 3\n")["job_id"], "ERROR")
    assert set(failed) == KEYS | RUNTIME

    lasting = start(ask, "sleep 300\n")["job_id"]
    assert ask("PUT", f"/{lasting}", {"action": "abort"}).status == 204
    assert set(ended(ask, lasting, "ABORTED")) >= KEYS
    for job_id in (lasting, job["job_id"]):
        assert ask("DELETE", f"/{job_id}").status == 204
        assert ask("GET", f"/{job_id}").status == 404
    assert Path(started["stdout_path"]).read_text() == written, "no files are removed"


def test_twenty_at_once_do_not_mix(ask):
    with ThreadPoolExecutor(20) as pool:
        marked = dict(enumerate(pool.map(lambda number: start(ask, f"echo marker {number}\n"), range(20))))
    assert len({job["job_id"] for job in marked.values()}) == 20
    for number, job in marked.items():
        ended(ask, job["job_id"])
        assert ask("GET", f"/{job['job_id']}/stdout").body == f"marker {number}\n".encode()
        assert Path(job["stdout_path"]).read_text() == f"marker {number}\n"


def test_what_sbatch_refuses(ask):
    answer = ask("POST", "", {"host": HOST, "script": "#!/bin/bash\n#SBATCH -p nowhere\ntrue\n"})
    assert answer.status == 500, answer
    assert answer.json["exit_code"] == 1
    assert "invalid partition" in answer.json["error_output"]
