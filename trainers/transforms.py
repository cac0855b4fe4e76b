"""Timm's transforms of single pictures, for a model and what the experiment says of augmentation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from PIL import Image
from timm.data import auto_augment, create_transform
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
    for operation in _augment_ops(transform):
        if operation.aug_fn is auto_augment.posterize:
            operation.aug_fn = posterize
    return transform


def _augment_ops(transform: Any) -> Iterator[Any]:
    """The single operations of RandAugment and AugMix, and of each policy of AutoAugment."""
    for part in transform.transforms:
        for group in (getattr(part, "ops", ()), *getattr(part, "policy", ())):
            yield from group


def posterize(image: Image.Image, num_bits: int, **options: Any) -> Image.Image:
    """As timm's, but also to no bits at all, which is black.

    RandAugment gets there at magnitude 10, with DeiT's settings for 1.5 of 1,000 images. Pillow did so up to version
    12, and refuses since.
    """
    if num_bits < 1:
        return Image.new(image.mode, image.size)
    posterized: Image.Image = auto_augment.posterize(image, num_bits, **options)
    return posterized


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
