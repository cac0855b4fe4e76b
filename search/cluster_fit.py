"""How many trials run at once on a machine or a cluster, and what of a search does not fit there. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from search.trial_bundles import num_bundles, shown
from search.trial_resources import MIB, TrialResources

BIG = 1e6


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
    resources: TrialResources,
    *,
    num_concurrent: int,
    num_threads: int,
    worker_mib: float | None = None,
    is_local: bool = True,
) -> ClusterFit:
    """What fits.

    Args:
        nodes: the machines.
        resources: what one trial needs.
        num_concurrent: trials wanted at once.
        num_threads: CPU threads that a worker really uses.
        worker_mib: memory of one worker's process; not looked at if None.
        is_local: a Ray of our own gives out as many CPUs as the trials ask for, so that they share the real ones.
    """
    num_at_once = min(num_concurrent, _room(nodes, resources, is_local=is_local, wanted=num_concurrent))
    num_cpus = sum(node.num_cpus for node in nodes)
    at_speed = max(1.0, num_cpus / (num_threads * resources.workers))
    full_speed = num_at_once if resources.gpus else min(num_at_once, at_speed)
    wanted = _Wanted(resources=resources, num_concurrent=num_concurrent, num_threads=num_threads, worker_mib=worker_mib)
    problems = _problems(nodes, wanted, num_at_once)
    return ClusterFit(num_at_once=num_at_once, num_at_full_speed=float(full_speed), problems=tuple(problems))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Wanted:
    resources: TrialResources
    num_concurrent: int
    num_threads: int
    worker_mib: float | None


def _room(nodes: Sequence[Node], resources: TrialResources, *, is_local: bool, wanted: int) -> int:
    """Trials that fit, their workers wherever there is room."""
    bundle = {name: amount for name, amount in resources.bundle().items() if not (is_local and name == "CPU")}
    if not bundle:
        return wanted
    return sum(num_bundles(_by_rays_names(node, bundle), bundle) for node in nodes) // resources.workers


def _by_rays_names(node: Node, bundle: Mapping[str, float]) -> dict[str, float]:
    """What is not known to be short counts as enough."""
    memory = bundle.get("memory", 0.0) * BIG if node.memory_mib is None else node.memory_mib * MIB
    return {"CPU": node.num_cpus, "GPU": node.num_gpus, "memory": memory}


def _problems(nodes: Sequence[Node], wanted: _Wanted, num_at_once: int) -> Iterator[str]:
    resources, num_concurrent = wanted.resources, wanted.num_concurrent
    num_cpus, num_gpus = sum(node.num_cpus for node in nodes), sum(node.num_gpus for node in nodes)
    there = f"there are {num_cpus:g} CPUs and {num_gpus:g} GPUs"
    if not num_at_once:
        yield (
            f"no trial fits: each of its {resources.workers} workers needs {shown(resources.bundle())} on one machine "
            f"(trial.workers, trial.resources_per_worker), but {there} on {len(nodes)}"
        )
        return
    if num_at_once < num_concurrent:
        yield f"{num_at_once} trials run at once instead of search.num_concurrent = {num_concurrent}: {there}"
    num_processes = num_at_once * resources.workers
    if not resources.gpus and num_processes * wanted.num_threads > num_cpus:
        yield (
            f"{_trials(num_at_once, resources)} of {wanted.num_threads} threads share {num_cpus:g} CPUs, so each is "
            f"slower: lower search.num_concurrent{', trial.workers' * (resources.workers > 1)} or training.num_threads"
        )
    free = [node.memory_mib for node in nodes if node.memory_mib is not None]
    mib = wanted.worker_mib
    if mib is not None and len(free) == len(nodes) and num_processes * mib > sum(free):
        yield (
            f"{_trials(num_at_once, resources)} of about {mib:.0f} MiB need more memory than the {sum(free):.0f} MiB "
            f"that are free: lower search.num_concurrent or training.batch_size"
        )


def _trials(num_at_once: int, resources: TrialResources) -> str:
    """`3 trials`, or `6 workers of 3 trials`."""
    workers = f"{num_at_once * resources.workers} workers of " if resources.workers > 1 else ""
    return f"{workers}{num_at_once} trials"
