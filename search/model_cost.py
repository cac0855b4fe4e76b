"""What a model's token plans cost in multiply-accumulates."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from search.config import ExperimentConfig
from spvit.schedule import PruningSchedule, TokenPlan

if TYPE_CHECKING:
    from spvit.pruned_model import PrunedModel


def mean_gmacs(model: PrunedModel, experiment: ExperimentConfig, plans: Mapping[TokenPlan, int]) -> float:
    """GMACs of an image, the mean over plans with so many images each. Padding is not counted."""
    count, num_images = _counter(model, experiment), sum(plans.values())
    return sum(number * count(plan) for plan, number in plans.items()) / num_images / 1e9


def dense_gmacs(model: PrunedModel, experiment: ExperimentConfig) -> float:
    """GMACs of an image in the unpruned model."""
    return mean_gmacs(model, experiment, {PruningSchedule().plan(model.geometry): 1})


def _counter(model: PrunedModel, experiment: ExperimentConfig) -> Callable[[TokenPlan], int]:
    from spvit.widths import macs_counter

    pruning = experiment.pruning
    return macs_counter(model.backbone, selector=pruning.selector, weighting=pruning.head_weighting)
