"""How many trials run at once on a machine or a cluster, and what of a search does not fit there. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from search.search_config import SearchConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class Node:
    """One machine: what trials can have of it. `memory_mib` is what is free, None where that is not known."""

    num_cpus: float
    num_gpus: float
    memory_mib: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ClusterFit:
    """`num_at_once` trials run side by side, at the pace of `num_at_full_speed`; `problems` say what does not fit."""

    num_at_once: int
    num_at_full_speed: float
    problems: tuple[str, ...]


def cluster_fit(
    nodes: Sequence[Node],
    search: SearchConfig,
    *,
    num_threads: int,
    trial_mib: float | None = None,
    is_local: bool = True,
) -> ClusterFit:
    """What fits.

    Args:
        nodes: the machines.
        search: what one trial needs and how many are wanted at once.
        num_threads: CPU threads that a trial really uses.
        trial_mib: memory of one trial's process; not looked at if None.
        is_local: a Ray of our own gives out as many CPUs as the trials ask for, so that they share the real ones.
    """
    rooms = [_room(node, search, is_local=is_local) for node in nodes]
    num_at_once = min(search.num_concurrent, sum(rooms))
    num_cpus = sum(node.num_cpus for node in nodes)
    on_gpu = search.gpus_per_trial > 0
    full_speed = num_at_once if on_gpu else min(num_at_once, max(1.0, num_cpus / num_threads))
    problems = _problems(nodes, search, num_at_once, num_threads=num_threads, trial_mib=trial_mib)
    return ClusterFit(num_at_once=num_at_once, num_at_full_speed=float(full_speed), problems=tuple(problems))


def _room(node: Node, search: SearchConfig, *, is_local: bool) -> int:
    by_cpu = search.num_concurrent if is_local else math.floor(node.num_cpus / search.cpus_per_trial)
    if not search.gpus_per_trial:
        return by_cpu
    if search.gpus_per_trial < 1:  # a trial's part of a GPU lies on one of them
        return min(by_cpu, math.floor(node.num_gpus) * math.floor(1.0 / search.gpus_per_trial + 1e-9))
    return min(by_cpu, math.floor(node.num_gpus / search.gpus_per_trial))


def _problems(
    nodes: Sequence[Node], search: SearchConfig, num_at_once: int, *, num_threads: int, trial_mib: float | None
) -> Iterator[str]:
    num_cpus, num_gpus = sum(node.num_cpus for node in nodes), sum(node.num_gpus for node in nodes)
    if not num_at_once:
        yield (
            f"no trial fits: one needs search.cpus_per_trial = {search.cpus_per_trial:g} CPUs and "
            f"search.gpus_per_trial = {search.gpus_per_trial:g} GPUs on one machine, but there are {num_cpus:g} CPUs "
            f"and {num_gpus:g} GPUs on {len(nodes)}"
        )
        return
    if num_at_once < search.num_concurrent:
        yield (
            f"{num_at_once} trials run at once instead of search.num_concurrent = {search.num_concurrent}: there are "
            f"{num_cpus:g} CPUs and {num_gpus:g} GPUs"
        )
    if not search.gpus_per_trial and num_at_once * num_threads > num_cpus:
        yield (
            f"{num_at_once} trials of {num_threads} threads share {num_cpus:g} CPUs, so each is slower: lower "
            f"search.num_concurrent or training.num_threads"
        )
    free = [node.memory_mib for node in nodes if node.memory_mib is not None]
    if trial_mib is not None and len(free) == len(nodes) and num_at_once * trial_mib > sum(free):
        yield (
            f"{num_at_once} trials of about {trial_mib:.0f} MiB need more memory than the {sum(free):.0f} MiB that are "
            f"free: lower search.num_concurrent or training.batch_size"
        )
