"""How a model wants its images: size, channels, normalisation. No torch: read from a timm model's own description."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

GREY_MEAN, GREY_STD = (0.5,), (0.5,)


@dataclass(frozen=True, kw_only=True, slots=True)
class Preprocessing:
    """Images go in as (channels, height, width), bytes / 255, minus `mean`, over `std`, for `num_classes` outputs."""

    num_channels: int
    height: int
    width: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    crop_pct: float
    interpolation: str
    num_classes: int

    def __post_init__(self) -> None:
        if len(self.mean) != self.num_channels or len(self.std) != self.num_channels:
            raise ValueError(f"mean and std need one value for each of {self.num_channels} channels, but got {self}.")

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.height, self.width


def preprocessing_of(backbone: Any) -> Preprocessing:
    """What a timm VisionTransformer says of itself.

    timm describes the published weights, in colour. A model made for another number of channels is normalised to
    [-1, 1] (mean and std 0.5) unless its description has one value for each of its channels.
    """
    described = getattr(backbone, "pretrained_cfg", None) or backbone.default_cfg
    channels = int(backbone.in_chans)
    height, width = backbone.patch_embed.img_size
    return Preprocessing(
        num_channels=channels,
        height=int(height),
        width=int(width),
        mean=_per_channel(described.get("mean"), channels, GREY_MEAN[0]),
        std=_per_channel(described.get("std"), channels, GREY_STD[0]),
        crop_pct=float(described.get("crop_pct") or 0.875),
        interpolation=str(described.get("interpolation") or "bicubic"),
        num_classes=int(backbone.num_classes),
    )


def _per_channel(values: Any, channels: int, default: float) -> tuple[float, ...]:
    if values is not None and len(values) == channels:
        return tuple(float(value) for value in values)
    return (default,) * channels
