"""Timm's transforms of single pictures, for a model and what the experiment says of augmentation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from PIL import Image
from timm.data import create_transform
from torch import Tensor

from spvit.errors import ConfigError
from trainers.data_config import Augmentation, Interpolation, TransformConfig
from trainers.preprocessing import Preprocessing

Transform = Callable[[Image.Image], Tensor]


def make_transform(preprocessing: Preprocessing, augmentation: Augmentation, config: TransformConfig) -> Transform:
    """A picture to a tensor (C, H, W), normalised: varied with `timm`, else resized and cropped to its centre.

    Raises:
        ConfigError: timm cannot read `auto_augment`.
    """
    arguments = _common(preprocessing, config)
    if augmentation is not Augmentation.TIMM:
        return _made(arguments)
    arguments |= _varied(config, has_colour=preprocessing.num_channels == 3)
    try:
        return _made(arguments)
    except Exception as error:  # timm's parsers assert, index and convert
        raise ConfigError(
            f"data.transforms.auto_augment was required to be one of timm's, such as 'rand-m9-mstd0.5-inc1', "
            f"'original-mstd0.5', 'augmix-m5-w4-d2' or '3a', but {config.auto_augment!r} came "
            f"({str(error) or type(error).__name__}). An empty text is for none."
        ) from error


def _made(arguments: Mapping[str, Any]) -> Transform:
    transform: Transform = create_transform(**arguments)
    return transform


def _common(preprocessing: Preprocessing, config: TransformConfig) -> dict[str, Any]:
    """What every transform is told; `random` is for training only, so that evaluation has no chance in it."""
    chosen = config.interpolation
    fixed = preprocessing.interpolation if chosen in {None, Interpolation.RANDOM} else str(chosen)
    return {
        "input_size": (preprocessing.num_channels, *preprocessing.size),
        "mean": preprocessing.mean,
        "std": preprocessing.std,
        "interpolation": fixed,
        "crop_pct": config.crop_pct or preprocessing.crop_pct,
    }


def _varied(config: TransformConfig, *, has_colour: bool) -> Mapping[str, Any]:
    """RandAugment and colour jitter need colour: grey images get crops, mirroring and erasing only."""
    chosen = {"interpolation": str(config.interpolation)} if config.interpolation else {}
    return chosen | {
        "is_training": True,
        "scale": config.scale,
        "ratio": config.ratio,
        "hflip": config.hflip,
        "auto_augment": (config.auto_augment or None) if has_colour else None,
        "color_jitter": (config.color_jitter or None) if has_colour else None,
        "re_prob": config.random_erasing,
        "re_mode": str(config.erasing_mode),
        "re_count": config.erasing_count,
    }
