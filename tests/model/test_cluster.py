"""Which sub-cluster a job is of."""

from __future__ import annotations

import pytest

from hpcgate.errors import InvalidSpec
from hpcgate.model.cluster_tables import ClusterTable, SubClusterTable


def cluster(**nodes: str):
    return ClusterTable(subclusters={name: SubClusterTable(nodes=text) for name, text in nodes.items()}).cluster("c")


TWO = cluster(main="f[001-100],m1", gpu="g[1-2]")
OPEN = cluster(main="", gpu="g[1-2]")


@pytest.mark.parametrize(
    ("where", "hosts", "named", "found"),
    [
        (TWO, ["f001"], "", "main"),
        (TWO, ["f100", "g1"], "", "main"),
        (TWO, ["g1", "f001"], "", "gpu"),
        (TWO, ["m1"], "", "main"),
        (TWO, ["nowhere"], "gpu", "gpu"),
        (TWO, [], "main", "main"),
        (OPEN, ["g2"], "", "gpu"),
        (OPEN, ["nowhere"], "", "main"),
        (OPEN, [], "", "main"),
    ],
)
def test_it_is_the_one_named_else_that_of_the_first_host_else_the_first_without_nodes(where, hosts, named, found):
    assert where.place(hosts, named).name == found


@pytest.mark.parametrize(
    ("where", "hosts", "named", "words"),
    [
        (TWO, ["f001"], "gpus", "cluster 'c' has no sub-cluster 'gpus'; did you mean 'gpu'?"),
        (OPEN, ["g1"], "x", "no sub-cluster 'x'"),
        (TWO, ["f101"], "", "host 'f101' is of no sub-cluster of cluster 'c'"),
        (TWO, ["f1"], "", "host 'f1' is of no"),  # padding counts: f1 is another machine than f001
        (TWO, ["nowhere", "f001"], "", "host 'nowhere'"),
        (TWO, [], "", "without a host"),
        (cluster(gpu="g1", rest=""), ["x"], "", "host 'x'"),  # only the first takes the others
    ],
)
def test_without_one_it_is_said_what_is_missing(where, hosts, named, words):
    with pytest.raises(InvalidSpec) as caught:
        where.place(hosts, named)
    assert words in str(caught.value)
