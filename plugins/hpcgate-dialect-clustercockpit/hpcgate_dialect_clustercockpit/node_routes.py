"""Clusters, and what their nodes do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from flask import Response, request

from hpcgate.model.principal import Principal
from hpcgate.server.dialect_api import DialectBlueprint
from hpcgate.server.smorest import reply
from hpcgate_dialect_clustercockpit import mapping
from hpcgate_dialect_clustercockpit.bodies import NodesBody
from hpcgate_dialect_clustercockpit.decoding import read
from hpcgate_dialect_clustercockpit.errors import bad
from hpcgate_dialect_clustercockpit.query import integer
from hpcgate_dialect_clustercockpit.schemas import ClustersSchema, UsedNodesSchema

if TYPE_CHECKING:
    from hpcgate.gateway import Gateway

_NODES: Final = NodesBody()


def node_routes(gateway: Gateway) -> DialectBlueprint:
    """Clusters and nodes, for programs."""
    blp = DialectBlueprint("nodes", __name__, description="Clusters and their nodes.")

    @blp.route("/api/clusters")
    @blp.login
    @blp.response(200, ClustersSchema)
    @blp.problems(400)
    @blp.doc(parameters=[{"in": "query", "name": "cluster", "description": "only this", "schema": {"type": "string"}}])
    def list_clusters(_: Principal) -> Response:
        """List the clusters of the configuration."""
        found = gateway.clusters
        asked = request.args.get("cluster")
        if asked is not None:
            if asked not in found:
                bad(f"unknown cluster: {asked}")
            found = {asked: found[asked]}
        return reply({"clusters": [mapping.cluster_wire(each) for each in found.values()]})

    @blp.route("/api/jobs/used_nodes")
    @blp.login
    @blp.response(200, UsedNodesSchema)
    @blp.problems(400)
    @blp.doc(
        parameters=[
            {
                "in": "query",
                "name": "ts",
                "required": True,
                "description": "epoch seconds",
                "schema": {"type": "integer"},
            }
        ]
    )
    def used_nodes(principal: Principal) -> Response:
        """List the nodes of running jobs that started before a moment."""
        before = integer(request.args.get("ts", ""), "ts")
        return reply({"usedNodes": gateway.records.used_nodes(principal, before)})

    @blp.route("/api/nodestate", methods=["POST", "PUT"])
    @blp.login
    @blp.response(200)
    @blp.problems(400)
    @blp.doc(requestBody={"required": True, "content": {"application/json": {"schema": NodesBody}}})
    def report_nodes(principal: Principal) -> Response:
        """Report what the nodes of a cluster do."""
        body = read(request, _NODES)
        nodes = [mapping.node_report(body["cluster"], each) for each in (*body["nodes"], *body["node"])]
        gateway.records.report_nodes(principal, nodes)
        return Response(status=200)

    return blp
