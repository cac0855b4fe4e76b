"""Refuses a cluster whose machines have other code, or another disk: such errors are found late, and look odd."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile

from search.code_identity import PRODUCT, versions_here
from spvit.errors import ClusterError, StorageError
from spvit.wording import first_of

ASK_S = 120.0
"""A new process has to be started on each machine."""
MAX_SHOWN = 6


@dataclass(frozen=True, kw_only=True, slots=True)
class NodeVersions:
    """What one machine of a cluster has. `problem` says why it could not be asked."""

    node: str
    versions: Mapping[str, str]
    sees_folder: bool = True
    problem: str | None = None


def check_nodes(address: str, folder: Path | None = None) -> None:
    """Asks every machine of the cluster that this process is connected to.

    Args:
        address: of the cluster, for messages.
        folder: a folder of this machine that every other one must see too, if any.

    Raises:
        ClusterError: a machine has other versions, named with ours, or another disk, or cannot say.
        StorageError: the folder cannot be written.
    """
    with _marked(folder) as mark:
        nodes = _ask_nodes(mark)
    complain_of_skew(address, versions_here(), nodes)
    if folder is not None:
        complain_of_disks(address, folder, nodes)


def complain_of_disks(address: str, folder: Path, nodes: Sequence[NodeVersions]) -> None:
    """Where trials keep their checkpoints, every machine has to find them.

    Raises:
        ClusterError: naming the machines that do not see the folder.
    """
    blind = [node.node for node in nodes if not node.sees_folder]
    if blind:
        raise ClusterError(
            f"trials keep their checkpoints in {folder}, but of the Ray cluster at {address} "
            f"{', '.join(first_of(blind, MAX_SHOWN))} cannot see that folder: keep studies on a file system that all "
            f"machines share (--runs-dir), or let trials publish their checkpoints (study.checkpoints)"
        )


def complain_of_skew(address: str, ours: Mapping[str, str], nodes: Sequence[NodeVersions]) -> None:
    """The comparison alone.

    Raises:
        ClusterError: see `check_nodes`.
    """
    problems = [line for node in nodes for line in _problems(ours, node)]
    if not problems:
        return
    raise ClusterError(
        "\n".join(
            [
                f"the Ray cluster at {address} would run trials with other versions than this driver has:",
                *(f"  {line}" for line in first_of(problems, MAX_SHOWN)),
                "Install the same on every machine, or let `spvit-search submit` bring the code with it.",
            ]
        )
    )


def _problems(ours: Mapping[str, str], node: NodeVersions) -> list[str]:
    if node.problem is not None:
        return [f"node {node.node}: cannot say what it has: {node.problem}"]
    return [
        f"node {node.node}: {name} {node.versions.get(name, 'not installed')} there, {version} here"
        for name, version in ours.items()
        if node.versions.get(name) != version
    ]


@contextmanager
def _marked(folder: Path | None) -> Iterator[str | None]:
    """A file that can be looked for; a folder of the same path may be another machine's own."""
    if folder is None:
        yield None
        return
    try:
        with NamedTemporaryFile(dir=folder, prefix=".seen-") as mark:
            yield mark.name
    except OSError as error:
        raise StorageError(f"{folder}: {error.strerror}; free space or make the folder writable") from error


def _look(mark: str | None) -> tuple[dict[str, str], bool]:
    """Done on each machine. Listing its folder makes a network file system look anew."""
    return versions_here(), mark is None or Path(mark).name in _names(Path(mark).parent)


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)  # noqa: PTH208 - names are what is asked for
    except OSError:
        return []


def _ask_nodes(mark: str | None) -> list[NodeVersions]:
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    ask = ray.remote(num_cpus=0, max_retries=0)(_look)
    living = [node for node in ray.nodes() if node["Alive"]]
    asked = [
        ask.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)).remote(mark)
        for node in living
    ]
    return [_answer(_name(node), reference) for node, reference in zip(living, asked, strict=True)]


def _name(node: Mapping[str, str]) -> str:
    return f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']}, {node['NodeID'][:8]})"


def _answer(node: str, reference: object) -> NodeVersions:
    import ray

    try:
        versions, sees_folder = ray.get(reference, timeout=ASK_S)
        return NodeVersions(node=node, versions=versions, sees_folder=sees_folder)
    except Exception as error:
        return NodeVersions(node=node, versions={}, problem=_why(error))


def _why(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    if any("ModuleNotFoundError" in line for line in lines):
        return f"{PRODUCT} is not installed there"
    return lines[-1].strip() if lines else type(error).__name__
