"""Which images a model answers right, one by one: what the accuracy alone does not tell."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from spvit.errors import DataError
from trainers.data import Batches


@torch.inference_mode()
def correct_answers(
    model: nn.Module, batches: Batches, *, on_batch: Callable[[float], None] = lambda _share: None
) -> NDArray[np.bool_]:
    """Whether `model(images) -> logits`, in evaluation mode, has the label as its first choice.

    Args:
        model: called on images (B, C, H, W) on the CPU.
        batches: of one split, always in the same order.
        on_batch: told the finished share after every batch.

    Returns:
        Shape (images,), in the order of the split.

    Raises:
        DataError: there are no images.
    """
    right = []
    for images, labels in batches.epoch(0):
        # As `evaluate` counts: of equal logits it depends on the same `topk` which one is first.
        right.append(model(images).float().topk(1, dim=1).indices[:, 0] == labels)
        on_batch(len(right) / batches.num_batches())
    if not right:
        raise DataError("There are no images to evaluate on. Check the validation split.")
    return torch.cat(right).numpy()
