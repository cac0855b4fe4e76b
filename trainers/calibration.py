"""How many tokens a selector wants to keep, set to what its schedule allows, without changing which ones it prefers."""

from __future__ import annotations

import torch
from torch import Tensor

from spvit.pruned_model import PrunedModel
from spvit.selector import LearnedSelector
from trainers.workers import WorkerGroup

NUM_HALVINGS = 40
WIDEST_SHIFT = 50.0
"""Margins are logits: beyond this a sigmoid is 0 or 1 in single precision."""


@torch.no_grad()
def calibrate_margins(model: PrunedModel, images: Tensor, workers: WorkerGroup | None = None) -> None:
    """Shift each selector's margins so that its expected keep on these images is the schedule's.

    One selector after the other, since what a later one sees depends on those before it.

    Args:
        model: its selectors are changed in place.
        images: (B, C, H, W); a few hundred are enough.
        workers: the processes that train together, each with as many images of its own: all find the same shifts.
    """
    was_training = model.training
    model.eval()
    for number, selection in enumerate(model.plan.selections):
        selector = model.selector(selection.block)
        if not isinstance(selector, LearnedSelector):
            continue
        margin = model.run(images).selections[number].margin
        shift = shift_for(margin, selection.num_kept / selection.num_candidates, workers)
        selector.shift_margin(shift)
    model.train(was_training)


def shift_for(margin: Tensor, keep_rate: float, workers: WorkerGroup | None = None) -> float:
    """The shift after which sigmoid(margin) has the mean `keep_rate` over all workers, by bisection.

    The mean rises with the shift.
    """
    group = workers or WorkerGroup.single()
    low, high = -WIDEST_SHIFT, WIDEST_SHIFT
    for _ in range(NUM_HALVINGS):
        middle = (low + high) / 2
        if float(group.all_reduce_mean(torch.sigmoid(margin + middle).mean())) < keep_rate:
            low = middle
        else:
            high = middle
    return (low + high) / 2
