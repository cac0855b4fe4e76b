"""The machines of a running Ray cluster, asked for what they have. Nothing is started there."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

from search.cluster_fit import Node
from search.ray_run import SETTINGS
from spvit.errors import ClusterError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MIB = 1 << 20


def cluster_nodes(address: str) -> Sequence[Node]:
    """What each living machine of a cluster has in all, whether it is in use or not.

    Raises:
        ClusterError: the cluster cannot be reached, or its Ray is of another version.
    """
    os.environ.update({name: value for name, value in SETTINGS.items() if name not in os.environ})
    import ray

    try:
        ray.init(address=address, logging_level=logging.CRITICAL, log_to_driver=False)
        resources = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    except Exception as error:
        first_line = (str(error) or type(error).__name__).splitlines()[0]
        raise ClusterError(
            f"the Ray cluster at {address} cannot be reached: {first_line}. Check --address and that its version of "
            f"Ray is the same"
        ) from error
    finally:
        ray.shutdown()
    return [_node(has) for has in resources]


def _node(has: Mapping[str, float]) -> Node:
    memory = has.get("memory", 0.0) / MIB
    return Node(num_cpus=has.get("CPU", 0.0), num_gpus=has.get("GPU", 0.0), memory_mib=memory or None)
