"""What was said last about nodes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from hpcgate.model.record import NodeReport, NodeState
from hpcgate.store import rows
from hpcgate.store.session import Session
from hpcgate.store.tables import NodeStateRow

_COLUMNS: Final = rows.columns(NodeStateRow)
_PUT: Final = f"{rows.insert(NodeStateRow)} ON CONFLICT (cluster, hostname) DO UPDATE SET " + ", ".join(
    f"{name} = excluded.{name}" for name in _COLUMNS[2:]
)


class NodeStateStore:
    """One row a node."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def put(self, reports: Sequence[NodeReport]) -> None:
        """Takes down what is said of nodes, in place of what was said before."""
        with self._session.transaction():
            self._session.execute_many(
                _PUT,
                [
                    tuple(each.state.value if name == "state" else getattr(each, name) for name in _COLUMNS)
                    for each in reports
                ],
            )

    def all(self, cluster: str | None = None) -> list[NodeReport]:
        """What is known, by cluster and name."""
        sql = f"SELECT {', '.join(_COLUMNS)} FROM node_state"  # noqa: S608
        where, params = ("", ()) if cluster is None else (" WHERE cluster = ?", (cluster,))
        found = [
            dict(zip(_COLUMNS, row, strict=True))
            for row in self._session.rows(f"{sql}{where} ORDER BY cluster, hostname", params)
        ]
        return [NodeReport(**{**row, "state": NodeState(row["state"])}) for row in found]
