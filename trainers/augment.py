"""Augmentation of whole batches as tensors, from numbers that are drawn outside: the functions here are pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from trainers.preprocessing import Preprocessing

SHIFT_SHARE = 2 / 28


@dataclass(frozen=True, kw_only=True, slots=True)
class LightDraw:
    """For each image of a batch: mirrored or not, and its shift in pixels (rows, columns)."""

    flips: np.ndarray
    shifts: np.ndarray


def draw_light(rng: np.random.Generator, batch_size: int, height: int) -> LightDraw:
    """Half of the images mirrored, shifts of up to 2 pixels per 28."""
    limit = max(1, round(height * SHIFT_SHARE))
    return LightDraw(flips=rng.random(batch_size) < 0.5, shifts=rng.integers(-limit, limit + 1, (2, batch_size)))


def jitter(images: Tensor, draw: LightDraw) -> Tensor:
    """Mirror and shift images (B, C, H, W) of any dtype; what is shifted in repeats the border."""
    height, width = images.shape[-2:]
    device = images.device
    shifts = torch.from_numpy(draw.shifts).to(device)
    flips = torch.from_numpy(draw.flips).to(device)[:, None]
    rows = (torch.arange(height, device=device) + shifts[0, :, None]).clamp_(0, height - 1)
    columns = (torch.arange(width, device=device) + shifts[1, :, None]).clamp_(0, width - 1)
    columns = torch.where(flips, width - 1 - columns, columns)
    flat = (rows[:, :, None] * width + columns[:, None, :]).view(len(images), 1, height * width)
    return images.flatten(2).gather(2, flat.expand(-1, images.shape[1], -1)).view_as(images)


def normaliser(preprocessing: Preprocessing, device: torch.device | str = "cpu") -> Callable[[Tensor], Tensor]:
    """Bytes (B, C, H, W) to floats: (x / 255 - mean) / std."""
    mean = torch.tensor(preprocessing.mean, device=device).view(-1, 1, 1)
    std = torch.tensor(preprocessing.std, device=device).view(-1, 1, 1)
    scale, offset = 1.0 / (255.0 * std), mean / std
    return lambda images: images.float().mul_(scale).sub_(offset)


@dataclass(frozen=True, kw_only=True, slots=True)
class MixDraw:
    """How a batch is mixed with itself: `order` names each image's partner, `share` is what it keeps of itself.

    With a `box` (top, bottom, left, right) a rectangle comes from the partner (cutmix), else pixels are averaged.
    """

    order: np.ndarray
    share: float
    box: tuple[int, int, int, int] | None = None


def draw_mix(
    rng: np.random.Generator,
    batch_size: int,
    size: tuple[int, int],
    *,
    mixup: float,
    cutmix: float,
    probability: float = 1.0,
    cutmix_share: float = 0.5,
) -> MixDraw | None:
    """Mixup (arXiv:1710.09412) or cutmix (arXiv:1905.04899) for a whole batch; None to leave it as it is.

    Args:
        rng: of this batch.
        batch_size: number of images.
        size: height and width of the images.
        mixup: alpha of mixup; 0 is without.
        cutmix: alpha of cutmix; 0 is without.
        probability: that a batch is mixed at all.
        cutmix_share: probability of cutmix where both have an alpha.
    """
    if (mixup <= 0 and cutmix <= 0) or (probability < 1 and rng.random() >= probability):
        return None
    order = rng.permutation(batch_size)
    if cutmix <= 0 or (mixup > 0 and rng.random() < 1 - cutmix_share):
        return MixDraw(order=order, share=float(rng.beta(mixup, mixup)))
    box = _box(rng, size, float(rng.beta(cutmix, cutmix)))
    area = (box[1] - box[0]) * (box[3] - box[2])
    return MixDraw(order=order, share=1.0 - area / (size[0] * size[1]), box=box)


def mix(images: Tensor, labels: Tensor, draw: MixDraw | None, num_classes: int) -> tuple[Tensor, Tensor]:
    """Mixed images and soft targets (B, num_classes); without a draw both come back as they are."""
    if draw is None:
        return images, labels
    order = torch.from_numpy(draw.order).to(images.device)
    targets = F.one_hot(labels, num_classes).float()
    targets = draw.share * targets + (1 - draw.share) * targets[order]
    if draw.box is None:
        return draw.share * images + (1 - draw.share) * images[order], targets
    top, bottom, left, right = draw.box
    mixed = images.clone()
    mixed[..., top:bottom, left:right] = images[order][..., top:bottom, left:right]
    return mixed, targets


def _box(rng: np.random.Generator, size: tuple[int, int], share: float) -> tuple[int, int, int, int]:
    half = [round(side * (1 - share) ** 0.5 / 2) for side in size]
    centre = [int(rng.integers(side)) for side in size]
    top, left = (max(0, c - h) for c, h in zip(centre, half, strict=True))
    bottom, right = (min(s, c + h) for s, c, h in zip(size, centre, half, strict=True))
    return top, bottom, left, right
