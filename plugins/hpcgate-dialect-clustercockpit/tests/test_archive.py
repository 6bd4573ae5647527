"""What clients see of the archive: `monitoringStatus`."""

from __future__ import annotations

import json

from cctools import T0, Service

from hpcgate.service.archivist import Archivist
from hpcgate.service.record_archive import RecordArchive


def test_a_job_that_has_ended_is_1_until_it_is_archived_and_then_3(tmp_path):
    archive = tmp_path / "archive"
    with Service(tmp_path / "home", archive) as service:
        api = service.login("sync", "api")
        archivist = Archivist(service.gateway.store, RecordArchive(archive), service.gateway.clusters)
        sent = api.start(jobId=12_345, statistics={"load": {"unit": "l", "avg": 1, "min": 1, "max": 1}})
        ended = api.ask("POST", f"/api/jobs/stop_job/{sent['id']}", {"stopTime": T0 + 5})
        assert (ended["monitoringStatus"], "statistics" in ended) == (1, False)
        archivist.step()
        (job,) = api.listed()
        assert (job["monitoringStatus"], job["statistics"]["load"]["avg"]) == (3, 1)

        meta = archive / "fritz" / "12" / "345" / str(T0) / "meta.json"
        assert json.loads(meta.read_text())["jobState"] == "completed"
        api.ask("POST", f"/api/jobs/tag_job/{sent['id']}", [{"type": "a", "name": "b"}])
        archivist.step()
        assert [tag["name"] for tag in json.loads(meta.read_text())["tags"]] == ["b"]
        api.ask("DELETE", f"/api/jobs/delete_job/{sent['id']}")
        archivist.step()
        assert meta.exists(), "only the record goes"
