"""Jobs on Slurm over ssh, as Rimrock's users start them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from live.rimrock import serving
from live.slurm_gateway import OFTEN
from support import eventually

from hpcgate.config import config_from

pytestmark = [pytest.mark.live, pytest.mark.timeout(240)]
HOST = "ares.cyfronet.pl"
KEYS = {"job_id", "stdout_path", "stderr_path", "status", "tag"}
RUNTIME = {"nodes", "cores", "start_time", "end_time", "wall_time", "queue_time"}


@pytest.fixture(scope="module")
def client(cluster, account, sshd, tmp_path_factory):
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
    with serving(config) as client:
        yield client


def start(client, script, **more):
    answer = client.post("/api/jobs", json={"host": HOST, "script": f"#!/bin/bash\n{script}", **more})
    assert answer.status_code == 201, answer.text
    return answer.json()


def ended(client, job_id, status="FINISHED"):
    """The job with all that is known of its run, which comes some moments after its end."""

    def there():
        job = client.get(f"/api/jobs/{job_id}").json()
        return job if job["status"] not in ("QUEUED", "RUNNING") else None

    job = eventually(there, 90)
    assert job["status"] == status
    return job


def test_a_whole_life(client, cluster, account):
    script = "#SBATCH -N 2\n#SBATCH -n 3\n#SBATCH -o marked-%j.out\necho my marker; pwd; echo bad >&2\n"
    started = start(client, script, tag="vapor", working_directory="~/by need/below")
    native_id = started["job_id"].partition(".")[0]
    assert started == {
        "job_id": f"{native_id}.{HOST}",
        "stdout_path": f"{account.home}/by need/below/marked-{native_id}.out",
        "stderr_path": f"{account.home}/by need/below/marked-{native_id}.out",
        "status": "QUEUED",
        "tag": "vapor",
    }
    job = ended(client, started["job_id"])
    assert set(job) == KEYS | RUNTIME
    assert (job["nodes"], job["cores"]) == ("2", "3")
    written = Path(started["stdout_path"]).read_text()
    assert written.splitlines() == ["my marker", f"{account.home}/by need/below", "bad"]
    assert client.get(f"/api/jobs/{job['job_id']}/stdout").text == written
    assert client.get("/api/jobs", params={"tag": "vapor"}).json() == [job]
    failed = ended(client, start(client, "exit 3\n")["job_id"], "ERROR")
    assert set(failed) == KEYS | RUNTIME

    lasting = start(client, "sleep 300\n")["job_id"]
    assert client.put(f"/api/jobs/{lasting}", json={"action": "abort"}).status_code == 204
    assert set(ended(client, lasting, "ABORTED")) >= KEYS
    for job_id in (lasting, job["job_id"]):
        assert client.delete(f"/api/jobs/{job_id}").status_code == 204
        assert client.get(f"/api/jobs/{job_id}").status_code == 404
    assert Path(started["stdout_path"]).read_text() == written, "no files are removed"


def test_twenty_at_once_do_not_mix(client):
    with ThreadPoolExecutor(20) as pool:
        marked = dict(enumerate(pool.map(lambda number: start(client, f"echo marker {number}\n"), range(20))))
    assert len({job["job_id"] for job in marked.values()}) == 20
    for number, job in marked.items():
        ended(client, job["job_id"])
        assert client.get(f"/api/jobs/{job['job_id']}/stdout").text == f"marker {number}\n"
        assert Path(job["stdout_path"]).read_text() == f"marker {number}\n"


def test_what_sbatch_refuses(client):
    body = {"host": HOST, "script": "#!/bin/bash\n#SBATCH -p nowhere\ntrue\n"}
    answer = client.post("/api/jobs", json=body)
    assert answer.status_code == 500, answer.text
    assert answer.json()["exit_code"] == 1
    assert "invalid partition" in answer.json()["error_output"]
