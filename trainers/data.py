"""Images and labels of a split, whatever their format: what is there, and batches of it. No torch until opened."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Protocol

from spvit.errors import DataError
from trainers.data_config import Augmentation, DataConfig, DataFormat
from trainers.data_split import Split
from trainers.data_summary import DataSummary, SplitSummary
from trainers.image_source import open_source, split_name
from trainers.loading import Loading

if TYPE_CHECKING:
    from torch import Tensor

    from trainers.preprocessing import Preprocessing

__all__ = ["Batches", "Loading", "Split", "check_head", "describe_data", "describe_split", "open_split"]

log = logging.getLogger(__name__)


class Batches(Protocol):
    """An opened split. Batches are images (B, C, H, W), normalised floats, and labels (B,), int64."""

    num_images: int
    class_names: tuple[str, ...]

    def num_batches(self) -> int:
        """Batches of one epoch on this worker."""
        ...

    def epoch(self, epoch: int, only: Collection[int] | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches of an epoch: the same whenever it is asked for, whatever was read before.

        With `only`, those of these numbers, from 0: the others are not even read.
        """
        ...


def describe_data(config: DataConfig, *, num_classes: int | None = None, batch_size: int | None = None) -> DataSummary:
    """Look at the data without reading images: seconds even for ImageNet, so that a search fails before it starts.

    Args:
        config: where the data is.
        num_classes: outputs of the model, to compare with.
        batch_size: images per training step, to compare with.

    Raises:
        ConfigError: the library has no such data set.
        DataError: a folder, file or class is missing or does not fit; the text names it.
    """
    summary = DataSummary(train=describe_split(config, Split.TRAIN), val=describe_split(config, Split.VAL))
    _check_same_classes(config, summary)
    _check_enough(config, summary)
    if num_classes is not None:
        check_head(config, summary.num_classes, num_classes)
    num_images = summary.train.num_images
    if batch_size is not None and num_images < batch_size:
        log.warning("%d training images make no batch of training.batch_size = %d.", num_images, batch_size)
    return summary


def describe_split(config: DataConfig, split: Split) -> SplitSummary:
    """Look at one split without reading images.

    Raises:
        ConfigError: the library has no such data set.
        DataError: it is missing, empty or damaged.
    """
    _check_folder(config)
    if config.format is DataFormat.NPZ:
        from trainers.npz_file import describe_npz

        return describe_npz(config.path / f"{split_name(config, split)}.npz")
    source = open_source(config, split)
    return SplitSummary(
        num_images=len(source.labels), class_names=source.class_names, has_class_names=source.has_class_names
    )


def open_split(config: DataConfig, split: Split, preprocessing: Preprocessing, loading: Loading) -> Batches:
    """Open a split for a model; everything that can be checked is checked here.

    Images of an npz file are used as they are, except for training with timm's augmentation.

    Raises:
        ConfigError: the library has no such data set, or timm cannot read data.transforms.
        DataError: the split is missing, empty, damaged, or does not fit the model.
    """
    _check_folder(config)
    batches = _open(config, split, preprocessing, loading)
    if loading.training and batches.num_images < loading.world_size:
        raise DataError(
            f"{config.path}: {loading.world_size} workers need at least one training image each, "
            f"but there are {batches.num_images}. Add images or use fewer workers."
        )
    return batches


def check_head(config: DataConfig, num_classes: int, num_outputs: int) -> None:
    """Refuse data with more classes than the model has outputs.

    Raises:
        DataError: too many classes.
    """
    if num_classes > num_outputs:
        raise DataError(
            f"{config.path} has {num_classes} classes, but the model has {num_outputs} outputs. "
            f"Set model.args.num_classes = {num_classes}, or give a checkpoint that was trained on these classes."
        )


def _open(config: DataConfig, split: Split, preprocessing: Preprocessing, loading: Loading) -> Batches:
    if config.format is DataFormat.NPZ and not (loading.training and config.augmentation is Augmentation.TIMM):
        from trainers.npz import NpzBatches

        return NpzBatches(config, split, preprocessing, loading)
    from trainers.image_batches import ImageBatches

    return ImageBatches(open_source(config, split), config, preprocessing, loading)


def _check_folder(config: DataConfig) -> None:
    """A library may make its own folder, but only where it may download."""
    try:
        is_there = config.path.is_dir()
    except OSError as error:
        raise DataError(
            f"data.path = {config.path} cannot be read: {error.strerror}. Check its permissions."
        ) from error
    if not is_there and not config.download:
        raise DataError(f"data.path must be a folder with the splits, but {config.path} is none. Correct data.path.")


def _check_same_classes(config: DataConfig, summary: DataSummary) -> None:
    train, val = set(summary.train.class_names), set(summary.val.class_names)
    strange = sorted(val - train) + (sorted(train - val) if summary.val.has_class_names else [])
    if strange:
        raise DataError(
            f"{config.path}: train and val must have the same classes, but these are in one only: "
            f"{', '.join(strange[:5])}{' ...' if len(strange) > 5 else ''} ({len(strange)} in all). "
            f"Add the missing ones or remove them from the other split."
        )


def _check_enough(config: DataConfig, summary: DataSummary) -> None:
    if summary.train.num_images < summary.num_classes:
        raise DataError(
            f"{config.path}: training needs at least one image of each of the {summary.num_classes} classes, "
            f"but there are {summary.train.num_images} images. Add some, or number the classes without gaps."
        )
