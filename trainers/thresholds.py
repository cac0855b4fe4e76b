"""Thresholds for the adaptive form: set on training images so that they keep, on average, what the schedule allows."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from spvit.adaptive import stage_margins
from spvit.errors import DataError
from spvit.model import PrunedViT
from spvit.thresholds import Calibration, Thresholds

KEEP_ALL, KEEP_ONE = -1e30, 1e30
"""Thresholds below and above all margins, which are logits."""


def calibrate_thresholds(
    model: PrunedViT,
    images: Iterable[Tensor],
    *,
    keep_rates: Sequence[float] | None = None,
    on_stage: Callable[[float], None] = lambda _share: None,
) -> Thresholds:
    """Set one threshold after the other, each on what those before it let through.

    The mean over images of the share of all patches that stays is the target's, as nearly as ties allow.

    Args:
        model: the trained model; its mode is put back afterwards.
        images: batches (B, C, H, W) that can be walked through once for every selector; training images without
            augmentation.
        keep_rates: cumulative targets, one for each selection; the schedule's own where absent.
        on_stage: told the finished share after each selector.

    Raises:
        ValueError: not one keep rate for each selection.
        DataError: there are no images.
    """
    targets = _targets(model, keep_rates)
    was_training, num_patches = model.training, model.layout.num_patches
    model.eval()
    values: list[float] = []
    reached: list[float] = []
    num_images = 0
    for target in targets:
        margins = _margins(model, images, values)
        num_images = sum(len(batch) for batch in margins)
        values.append(threshold_for(margins, num_kept=target * num_patches))
        reached.append(mean_kept(margins, values[-1]) / num_patches)
        on_stage(len(values) / len(targets))
    model.train(was_training)
    if not targets:
        return Thresholds(values=())
    calibration = Calibration(target_keep_rates=targets, keep_rates=tuple(reached), num_images=num_images)
    return Thresholds(values=tuple(values), calibration=calibration)


def threshold_for(margins: Sequence[Tensor], *, num_kept: float) -> float:
    """The threshold at which images keep `num_kept` tokens on average, or as near as ties allow.

    It lies midway between the margins on either side, so that rounding decides nothing. The best token of every image
    stays whatever the threshold is, so it has no say.

    Args:
        margins: (B, W) of each batch; minus infinity for what is not there.
        num_kept: the wanted mean.
    """
    num_images = sum(len(batch) for batch in margins)
    others = torch.cat([_without_best(batch) for batch in margins]).sort(descending=True).values
    wanted = min(max(0.0, (num_kept - 1) * num_images), float(len(others)))
    return _between(others, _nearest_edge(others, wanted))


def mean_kept(margins: Sequence[Tensor], threshold: float) -> float:
    """The mean number of tokens that images keep at a threshold."""
    counts = torch.cat([(batch >= threshold).sum(1).clamp_min(1) for batch in margins])
    return float(counts.double().mean())


@torch.no_grad()
def _margins(model: PrunedViT, images: Iterable[Tensor], thresholds: Sequence[float]) -> list[Tensor]:
    device = next(model.parameters()).device
    margins = [stage_margins(model, batch.to(device), thresholds).cpu() for batch in images]
    if not sum(len(batch) for batch in margins):
        raise DataError("There are no images to calibrate thresholds on. Check the training split.")
    return margins


def _targets(model: PrunedViT, keep_rates: Sequence[float] | None) -> tuple[float, ...]:
    selections, num_patches = model.plan.selections, model.layout.num_patches
    if keep_rates is None:
        return tuple(selection.num_kept / num_patches for selection in selections)
    if len(keep_rates) != len(selections):
        raise ValueError(f"{len(selections)} selections need as many keep rates, but got {list(keep_rates)}.")
    return tuple(keep_rates)


def _without_best(margin: Tensor) -> Tensor:
    """All margins of a batch (B, W) that are there, but for the largest of each image."""
    rest = margin.scatter(1, margin.argmax(1, keepdim=True), -torch.inf)
    return rest[rest > -torch.inf]


def _nearest_edge(falling: Tensor, wanted: float) -> int:
    """How many of the falling values can be above a threshold, nearest to `wanted`: equal ones go together."""
    if not wanted:
        return 0
    rising, value = falling.flip(0), falling[math.ceil(wanted) - 1]
    above = len(falling) - int(torch.searchsorted(rising, value, right=True))
    through = len(falling) - int(torch.searchsorted(rising, value))
    return above if wanted - above < through - wanted else through


def _between(falling: Tensor, count: int) -> float:
    """A threshold that `count` of the falling values reach."""
    if count == 0:
        return KEEP_ONE
    if count == len(falling):
        return KEEP_ALL
    high, low = falling[count - 1], falling[count]
    middle = (high + low) / 2
    return float(middle if middle > low else high)
