"""What a model's token plans cost in multiply-accumulates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from search.config import ExperimentConfig
from spvit.macs import ModelWidths, count_macs
from spvit.schedule import PruningSchedule, TokenPlan

if TYPE_CHECKING:
    from spvit.pruned_model import PrunedModel


def mean_gmacs(model: PrunedModel, experiment: ExperimentConfig, plans: Mapping[TokenPlan, int]) -> float:
    """GMACs of an image, the mean over plans with so many images each. Padding is not counted."""
    widths, num_images = _widths(model, experiment), sum(plans.values())
    total = sum(
        number * count_macs(plan, widths, num_patches=model.geometry.num_patches) for plan, number in plans.items()
    )
    return total / num_images / 1e9


def dense_gmacs(model: PrunedModel, experiment: ExperimentConfig) -> float:
    """GMACs of an image in the unpruned model."""
    return mean_gmacs(model, experiment, {PruningSchedule().plan(model.geometry): 1})


def _widths(model: PrunedModel, experiment: ExperimentConfig) -> ModelWidths:
    from spvit.widths import widths_of

    pruning = experiment.pruning
    return widths_of(model.backbone, selector=pruning.selector, weighting=pruning.head_weighting)
