"""How many bundles of a trial's workers machines hold. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from search.trial_resources import MIB, TrialResources

ROUNDING = 1e-9
KEYS = {"CPU": "cpus", "GPU": "gpus", "memory": "memory_mib"}
"""Ray's names of resources, and the keys of `trial.resources_per_worker` that ask for them."""


def num_bundles(has: Mapping[str, float], bundle: Mapping[str, float]) -> int:
    """Workers that a machine holds at once, by what it has and what one takes, both by Ray's names."""
    return min(_num_by(name, has.get(name, 0.0), amount) for name, amount in bundle.items())


def placement_problem(nodes: Sequence[Mapping[str, float]], resources: TrialResources) -> str | None:
    """Why no trial would ever be started on these machines; None if one fits when they are empty.

    Args:
        nodes: what each living machine has in all, by Ray's names.
        resources: what one trial takes.
    """
    bundle = resources.bundle()
    room = sum(num_bundles(has, bundle) for has in nodes)
    if room >= resources.workers:
        return None
    scarce = [
        name for name, amount in bundle.items() if not any(_num_by(name, n.get(name, 0.0), amount) for n in nodes)
    ]
    what = f"one trial needs {resources.workers} workers" if resources.workers > 1 else "one trial needs a worker"
    return (
        f"{what} with {shown(bundle)} each (trial.workers, trial.resources_per_worker{_keys(scarce)}), but Ray has "
        f"room for {room}: {shown(_total(nodes, bundle))} on {len(nodes)} machines. Ask for less or use a larger "
        f"cluster (--address)"
    )


def _num_by(name: str, has: float, needed: float) -> int:
    if name == "GPU" and needed < 1:  # a part of a GPU lies on one of them
        return math.floor(has + ROUNDING) * math.floor(1.0 / needed + ROUNDING)
    return math.floor(has / needed + ROUNDING)


def _total(nodes: Sequence[Mapping[str, float]], names: Iterable[str]) -> dict[str, float]:
    return {name: sum(node.get(name, 0.0) for node in nodes) for name in names}


def shown(amounts: Mapping[str, float]) -> str:
    """Amounts by Ray's names in words: `2 CPUs, 1 GPUs`."""
    return ", ".join(_text(name, amount) for name, amount in amounts.items())


def _text(name: str, amount: float) -> str:
    return f"{amount / MIB:.0f} MiB" if name == "memory" else f"{amount:g} {name}s"


def _keys(scarce: Sequence[str]) -> str:
    return f"; no machine has enough {' and '.join(KEYS[name] for name in scarce)}" if scarce else ""
