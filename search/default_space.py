"""What is explored where an experiment has no `[search.space]`: sensible ranges for its backbone and its recipe."""

from __future__ import annotations

from search.config import ExperimentConfig
from search.domains import Domain, FloatRange
from search.space_config import BlockChoice, SpaceConfig
from spvit.options import SelectorKind
from spvit.schedule import TokenGeometry

LOWEST_RATE = 0.2
FEWEST_PATCHES = 4
"""Patches that the lowest rate leaves in the smallest level: below, a rate is but a handful of networks."""
SPREAD = 4.0
"""How far weights and learning rates are tried on either side of the file's own."""
EXPLORED_WEIGHTS = ("ratio", "distillation")
"""The documented trainings differ in these; the others are left as the file has them."""


def default_space(experiment: ExperimentConfig, geometry: TokenGeometry) -> SpaceConfig:
    """Stage keep rates at the file's blocks, the weights of its loss that count, and its learning rate.

    Where a backbone pools its patches, dropped ones are back in the next level, so every level gets a selector: before
    its second block, where it has one, unless the file names blocks.
    """
    return SpaceConfig(
        stage_keep_rates=FloatRange(low=_lowest_rate(geometry), high=1.0),
        blocks=_blocks(experiment, geometry),
        losses=_weights(experiment),
        training={"lr": _around(experiment.training.lr, floor=experiment.training.min_lr)},
    )


def _lowest_rate(geometry: TokenGeometry) -> float:
    fewest = min(level.num_patches for level in geometry.levels)
    return min(0.5, max(LOWEST_RATE, FEWEST_PATCHES / fewest))


def _blocks(experiment: ExperimentConfig, geometry: TokenGeometry) -> BlockChoice | None:
    if experiment.pruning.blocks is not None or len(geometry.levels) == 1:
        return None
    starts = zip(geometry.level_starts, geometry.levels, strict=True)
    return BlockChoice(choices=(tuple(start + min(1, level.num_blocks - 1) for start, level in starts),))


def _weights(experiment: ExperimentConfig) -> dict[str, Domain]:
    """Weights that are 0 stay 0: no teacher is made for a file that wants none."""
    learns = experiment.pruning.selector is not SelectorKind.CLASS_ATTENTION
    weights = {key: float(getattr(experiment.losses, key)) for key in EXPLORED_WEIGHTS if learns or key != "ratio"}
    return {key: _around(weight) for key, weight in weights.items() if weight > 0}


def _around(value: float, *, floor: float = 0.0) -> FloatRange:
    """A log range around a value, not below the floor; where they are equal the file leaves room upwards alone."""
    return FloatRange(low=max(value / SPREAD, floor), high=value * SPREAD, log=True)
