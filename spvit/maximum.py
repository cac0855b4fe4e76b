"""The maximum over the patches that are still there."""

from __future__ import annotations

import torch
from torch import Tensor


def maximum_of_kept(values: Tensor, keep: Tensor) -> Tensor:
    """The maximum (B, C) over tokens (B, M, C) whose `keep` (B, M) is 1; 0 for an image that has none left.

    A masked model may drop every patch while it trains.
    """
    kept = keep > 0.5
    best = values.masked_fill(~kept.unsqueeze(-1), torch.finfo(values.dtype).min).amax(1)
    return best.where(kept.any(1, keepdim=True), 0.0)
