"""How many epochs a pruner lets trials train, found by replaying it on curves that were recorded in full. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from random import Random
from typing import Any, Protocol

from search.config import ExperimentConfig
from search.forecast import KeptShare, kept_share_of, sure_epochs
from search.pruner import PeerPruner
from search.records import Latency, TrialRecord, TrialState


class RecordedCurve(Protocol):
    """A trial that was trained to the end: what it costs, and its top-1 (percent) after each epoch."""

    @property
    def params(self) -> Mapping[str, Any]:
        """What the sampler named."""

    @property
    def config(self) -> Mapping[str, Any]:
        """The whole trial."""

    @property
    def latency(self) -> Latency:
        """Predicted."""

    @property
    def curve(self) -> tuple[float, ...]:
        """Top-1 after each epoch."""


def kept_share_of_curves(
    trials: Sequence[RecordedCurve], experiment: ExperimentConfig, *, num_orders: int = 4, source: str
) -> KeptShare | None:
    """The share of epochs that an experiment's pruner leaves of recorded trials; None where they are too few.

    Trials are drawn in several random orders and trained one after the other, as in a search without a model. Grace
    epochs are taken to be the same share of a recorded training as they are of the experiment's.

    Args:
        trials: of one length.
        experiment: whose pruner is asked.
        num_orders: random orders.
        source: where the trials come from.
    """
    if not trials:
        return None
    epochs = len(trials[0].curve)
    training = experiment.training.model_copy(update={"epochs": epochs})
    scaled = (sure_epochs(experiment) - 1) * epochs / experiment.training.epochs
    search = experiment.search.model_copy(update={"grace_epochs": max(1, round(scaled))})
    recorded = experiment.model_copy(update={"training": training, "search": search})
    orders = [_epochs_left(trials, recorded, seed) for seed in range(num_orders)]
    # One mean for each trial: its copies in other orders tell nothing new of how trials differ.
    means = [sum(counts) / num_orders for counts in zip(*orders, strict=True)]
    return kept_share_of(means, sure=sure_epochs(recorded), epochs=epochs, source=source)


def _epochs_left(trials: Sequence[RecordedCurve], experiment: ExperimentConfig, seed: int) -> list[int]:
    """Epochs that each trial trains, one after the other in a random order."""
    pruner = PeerPruner(experiment.search, experiment.training, "recorded")
    order = Random(seed).sample(range(len(trials)), k=len(trials))  # noqa: S311 - no secret
    trained = {number: _trained(pruner, place, trials[number]) for place, number in enumerate(order)}
    return [trained[number] for number in range(len(trials))]


def _trained(pruner: PeerPruner, number: int, trial: RecordedCurve) -> int:
    record = TrialRecord(
        number=number,
        state=TrialState.RUNNING,
        params=trial.params,
        config=trial.config,
        latency=trial.latency,
        keep_counts=(),
        blocks=(),
    )
    for epoch in range(1, len(trial.curve) + 1):
        record = replace(record, curve=trial.curve[:epoch])
        pruner.update(record)
        if not pruner.judge(record).goes_on:
            pruner.update(replace(record, state=TrialState.PRUNED))
            return epoch
    pruner.update(replace(record, state=TrialState.COMPLETE, top1=trial.curve[-1]))
    return len(trial.curve)
