"""Dropped patches put back in their places, with the value that they had when they were dropped.

Pooling by convolution needs a whole grid. Both forms give the same one: the gathered form writes survivors over what
was there, the masked form adds up each patch's values by the share of the decision that ended there, so that the loss
tells selectors what it is worth to let a patch go on.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Places(NamedTuple):
    """Patches of a level after a selector: their last known values (B, N0, C), and where survivors belong (B, M)."""

    values: Tensor
    position: Tensor


def narrow(places: Places | None, patches: Tensor, kept: Tensor) -> Places:
    """The places after a selector that kept `kept` (B, K) of the patches (B, M, C) that reached it."""
    if places is None:
        return Places(patches, kept)
    return Places(put_back(places, patches), places.position.gather(1, kept))


def put_back(places: Places | None, patches: Tensor) -> Tensor:
    """All patches (B, N0, C), from the survivors' newest values (B, M, C)."""
    if places is None:
        return patches
    index = places.position.unsqueeze(-1).expand(-1, -1, patches.shape[-1])
    return places.values.scatter(1, index, patches.to(places.values.dtype))


def leave_behind(behind: Tensor | None, patches: Tensor, dropped: Tensor) -> Tensor:
    """The sum (B, N0, C) of what patches were worth when a decision (B, N0), 1 for those dropped now, ended them."""
    ended = dropped.unsqueeze(-1).to(patches.dtype) * patches
    return ended if behind is None else behind + ended


def blend_back(behind: Tensor | None, patches: Tensor, keep: Tensor) -> Tensor:
    """All patches (B, N0, C): newest values of those that stayed, by their policy (B, N0), and what others left."""
    if behind is None:
        return patches
    return torch.addcmul(behind, keep.unsqueeze(-1).to(patches.dtype), patches)
