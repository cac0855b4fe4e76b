"""The machines of a running Ray cluster, asked for what they have. Nothing is started there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from search.cluster_fit import Node
from search.ray_session import connected

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MIB = 1 << 20


def cluster_nodes(address: str) -> Sequence[Node]:
    """What each living machine of a cluster has in all, whether it is in use or not.

    Raises:
        ClusterError: the cluster cannot be reached, its Ray is of another version, or a token is missing.
    """
    with connected(address):
        import ray

        resources = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return [node_of(has) for has in resources]


def node_of(has: Mapping[str, float]) -> Node:
    """A machine by Ray's names of what it has; Ray leaves out what there is none of."""
    memory = has.get("memory", 0.0) / MIB
    return Node(num_cpus=has.get("CPU", 0.0), num_gpus=has.get("GPU", 0.0), memory_mib=memory or None)
