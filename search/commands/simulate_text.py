"""Compared simulations as a document for programs and as a table for readers. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from search.commands.output import columns
from search.comparison import Arm, Scale
from search.simulation import Replay

SHARES = (0.90, 0.95, 0.99)
"""Of the full hypervolume."""
NUM_TRAININGS = (10, 25, 50, 100)
"""Checkpoints: epochs that so many trainings in full would take."""


def comparison_document(replay: Replay, scale: Scale, arms: Sequence[Arm], *, num_workers: int) -> dict[str, Any]:
    """Everything that was found; hypervolumes as shares of the full one."""
    return {
        "num_recorded": replay.num_recorded,
        "num_feasible": len(replay.feasible),
        "epochs_per_trial": replay.epochs,
        "max_latency_ms": replay.budget.max_ms,
        "num_workers": num_workers,
        "reference": {"min_top1": scale.min_top1, "max_latency_ms": scale.max_latency_ms},
        "full_hypervolume": scale.full,
        "arms": [_arm(arm, arms[0], replay) for arm in arms],
    }


def _arm(arm: Arm, first: Arm, replay: Replay) -> dict[str, Any]:
    return {
        "sampler": arm.sampler,
        "pruner": arm.pruner,
        "seeds": [trace.seed for trace in arm.traces],
        "mean_epochs": arm.mean_epochs,
        "mean_hypervolume_after_trainings": {
            str(count): arm.mean_share_at(count * replay.epochs) for count in _checkpoints(replay)
        },
        "to_share": {
            f"{share:g}": {
                "num_reached": arm.num_reached(share),
                "median_epochs": arm.median_epochs_to(share),
                "median_hours": arm.median_hours_to(share),
                "times_fewer_epochs_than_first": arm.saving_over(first, share),
                "epochs": [trace.epochs_to(share) for trace in arm.traces],
            }
            for share in SHARES
        },
    }


def comparison_text(replay: Replay, arms: Sequence[Arm], *, num_workers: int) -> str:
    """The same for a reader, without the single seeds."""
    percents = " / ".join(f"{share:.0%}".removesuffix("%") for share in SHARES)
    counts = _checkpoints(replay)
    heading = [
        "sampler",
        "pruner",
        *[f"after {count}" for count in counts],
        "epochs in all",
        f"epochs to {percents} %",
        "hours to the same",
        f"fewer epochs to {SHARES[-1]:.0%}".replace("%", " %"),
    ]
    what = (
        f"{replay.num_recorded} configurations x {replay.epochs} epochs; {len(replay.feasible)} are within "
        f"{replay.budget.max_ms:.3f} ms ({replay.budget.source})"
    )
    how = (
        f"{len(arms[0].traces)} seeds, {num_workers} trials at once; `after N`: mean share of the full hypervolume "
        f"after the epochs of N full trainings; medians of epochs and of simulated hours"
    )
    return f"{what}\n{how}\n{columns([heading, *[_row(arm, arms[0], replay) for arm in arms]])}"


def _row(arm: Arm, first: Arm, replay: Replay) -> list[str]:
    saving = arm.saving_over(first, SHARES[-1])
    return [
        arm.sampler,
        arm.pruner,
        *[f"{arm.mean_share_at(count * replay.epochs):.3f}" for count in _checkpoints(replay)],
        f"{arm.mean_epochs:.0f}",
        " / ".join(_or_never(arm.median_epochs_to(share), ".0f") for share in SHARES),
        " / ".join(_or_never(arm.median_hours_to(share), ".2f") for share in SHARES),
        "-" if saving is None else f"{saving:.2f} x",
    ]


def _checkpoints(replay: Replay) -> list[int]:
    return [count for count in NUM_TRAININGS if count <= len(replay.feasible)]


def _or_never(value: float, form: str) -> str:
    return format(value, form) if math.isfinite(value) else "never"
