"""Refuses a cluster whose machines would run other code than the driver: such errors are found late, and look odd."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from search.code_identity import PRODUCT, versions_here
from spvit.errors import ClusterError

ASK_S = 120.0
"""A new process has to be started on each machine."""
MAX_SHOWN = 6


@dataclass(frozen=True, kw_only=True, slots=True)
class NodeVersions:
    """What one machine of a cluster has. `problem` says why it could not be asked."""

    node: str
    versions: Mapping[str, str]
    problem: str | None = None


def check_versions(address: str) -> None:
    """Asks every machine of the cluster that this process is connected to.

    Args:
        address: of the cluster, for messages.

    Raises:
        ClusterError: a machine has other versions, named with ours, or cannot say.
    """
    complain_of_skew(address, versions_here(), _ask_nodes())


def complain_of_skew(address: str, ours: Mapping[str, str], nodes: Sequence[NodeVersions]) -> None:
    """The comparison alone.

    Raises:
        ClusterError: see `check_versions`.
    """
    problems = [line for node in nodes for line in _problems(ours, node)]
    if not problems:
        return
    shown = problems[:MAX_SHOWN]
    if len(problems) > MAX_SHOWN:
        shown.append(f"  and {len(problems) - MAX_SHOWN} more")
    raise ClusterError(
        "\n".join(
            [
                f"the Ray cluster at {address} would run trials with other versions than this driver has:",
                *shown,
                "Install the same on every machine, or let `spvit-search submit` bring the code with it.",
            ]
        )
    )


def _problems(ours: Mapping[str, str], node: NodeVersions) -> list[str]:
    if node.problem is not None:
        return [f"  node {node.node}: cannot say what it has: {node.problem}"]
    return [
        f"  node {node.node}: {name} {node.versions.get(name, 'not installed')} there, {version} here"
        for name, version in ours.items()
        if node.versions.get(name) != version
    ]


def _ask_nodes() -> list[NodeVersions]:
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    ask = ray.remote(num_cpus=0, max_retries=0)(versions_here)
    living = [node for node in ray.nodes() if node["Alive"]]
    asked = [
        ask.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)).remote()
        for node in living
    ]
    return [_answer(_name(node), reference) for node, reference in zip(living, asked, strict=True)]


def _name(node: Mapping[str, str]) -> str:
    return f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']}, {node['NodeID'][:8]})"


def _answer(node: str, reference: object) -> NodeVersions:
    import ray

    try:
        return NodeVersions(node=node, versions=ray.get(reference, timeout=ASK_S))
    except Exception as error:
        return NodeVersions(node=node, versions={}, problem=_why(error))


def _why(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    if any("ModuleNotFoundError" in line for line in lines):
        return f"{PRODUCT} is not installed there"
    return lines[-1].strip() if lines else type(error).__name__
