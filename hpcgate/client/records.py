"""Calls about accounting records."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hpcgate.client.http import Http

Wire = dict[str, Any]


class RecordCalls:
    """The routes of records."""

    http: Http

    def records(self, **filters: Any) -> Iterator[Wire]:
        """All records that match, those of jobs that began last first, page by page as they are consumed.

        Args:
            filters: ``state cluster subcluster user project partition number array_number job_id name tag node
                started_from started_to ended_from ended_to min_duration_s max_duration_s min_nodes max_nodes source``,
                and ``details=True`` for metadata and statistics.
        """
        return self.http.every("/records", limit=filters.pop("limit", 200), **filters)

    def records_page(self, **filters: Any) -> Wire:
        """One page of them: ``items``, ``next_cursor``, and ``total`` with ``count=True``."""
        page: Wire = self.http.json("GET", "/records", params=filters)
        return page

    def record(self, record_id: int) -> Wire:
        """A record with its metadata and statistics."""
        found: Wire = self.http.json("GET", f"/records/{record_id}")
        return found

    def tag_record(self, record_id: int, tags: Sequence[Mapping[str, str]]) -> Wire:
        """Gives tags to a record.

        Args:
            record_id: the record.
            tags: each with ``type``, ``name`` and maybe ``scope``: ``global``, ``admin`` or ``private``.
        """
        changed: Wire = self.http.json("POST", f"/records/{record_id}/tags", body={"tags": [*map(dict, tags)]})
        return changed

    def untag_record(self, record_id: int, tags: Sequence[Mapping[str, str]]) -> Wire:
        """Takes tags away from a record; see ``tag_record``."""
        changed: Wire = self.http.json("DELETE", f"/records/{record_id}/tags", body={"tags": [*map(dict, tags)]})
        return changed

    def delete_record(self, record_id: int) -> None:
        """Deletes a record."""
        self.http.send("DELETE", f"/records/{record_id}")

    def delete_records_before(self, before: float | str, *, keep: str = "none", dry_run: bool = False) -> int:
        """Deletes the records of jobs that began before a moment; how many.

        Args:
            before: epoch seconds, or RFC 3339 text.
            keep: tagged ones that stay: ``none``, ``all`` or ``user``.
            dry_run: only tell how many would go.
        """
        params = {"before": before, "keep": keep, "dry_run": dry_run}
        return int(self.http.json("DELETE", "/records", params=params)["count"])
