"""Calls about what jobs have used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hpcgate.client.http import Http

Wire = dict[str, Any]


class StatisticsCalls:
    """The route of statistics, for ``Client``."""

    http: Http

    def statistics(self, group_by: str, **params: Any) -> Wire:
        """What jobs add up to, under ``items`` and ``total``.

        Args:
            group_by: user, project, cluster, subcluster, state or day.
            **params: cluster, subcluster, user, project, state and histogram (each one or a list), since, until (RFC
                3339 or epoch seconds), sort, limit, quota.
        """
        answer: Wire = self.http.json("GET", "/stats", params={**params, "group_by": group_by, "format": "json"})
        return answer

    def statistics_csv(self, group_by: str, **params: Any) -> str:
        """The same groups as CSV, with a line of names; see ``statistics``."""
        return self.http.send("GET", "/stats", params={**params, "group_by": group_by, "format": "csv"}).text
