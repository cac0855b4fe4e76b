"""How many patches images kept at a selector. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spvit.schedule import Selection, TokenGeometry, TokenPlan


@dataclass(frozen=True, kw_only=True, slots=True)
class StageCounts:
    """Patches kept at one selector, over the images of a split.

    Attributes:
        block: the block that the selector stands before.
        num_patches: patches of the whole image there.
        target: patches that the schedule wants kept, on average.
        mean: over images.
        p10: a tenth of the images keeps this many or fewer.
        p90: nine tenths keep this many or fewer.
        histogram: images by the number of patches that they kept: what a latency must be averaged over.
    """

    block: int
    num_patches: int
    target: int
    mean: float
    p10: int
    p90: int
    histogram: Mapping[int, int]


def stage_counts(plan: TokenPlan, geometry: TokenGeometry, num_kept: NDArray[np.int64]) -> tuple[StageCounts, ...]:
    """The counts at each selection of a plan.

    Args:
        plan: of the model.
        geometry: of its backbone.
        num_kept: (images, selections) patches that were kept.
    """
    return tuple(
        _of_stage(selection, geometry, column) for selection, column in zip(plan.selections, num_kept.T, strict=True)
    )


def fixed_counts(plan: TokenPlan, geometry: TokenGeometry, num_images: int) -> tuple[StageCounts, ...]:
    """The same where every image keeps what the plan says."""
    kept = np.array([[selection.num_kept for selection in plan.selections]], dtype=np.int64)
    return stage_counts(plan, geometry, np.repeat(kept, num_images, axis=0))


def _of_stage(selection: Selection, geometry: TokenGeometry, kept: NDArray[np.int64]) -> StageCounts:
    p10, p90 = np.quantile(kept, [0.1, 0.9], method="inverted_cdf")
    values, counts = np.unique(kept, return_counts=True)
    return StageCounts(
        block=selection.block,
        num_patches=geometry.levels[geometry.level_of(selection.block)].num_patches,
        target=selection.num_kept,
        mean=float(kept.mean()),
        p10=int(p10),
        p90=int(p90),
        histogram=dict(zip(values.tolist(), counts.tolist(), strict=True)),
    )
