"""Images and labels of a split, whatever their format: what is there, and batches of it. No torch until opened."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from spvit.errors import DataError
from trainers.config import DataConfig, DataFormat
from trainers.data_summary import DataSummary, SplitSummary

if TYPE_CHECKING:
    from torch import Tensor

    from trainers.preprocessing import Preprocessing


class Split(StrEnum):
    """A part of the data, by the name of its file or folder."""

    TRAIN = "train"
    VAL = "val"
    TEST = "test"


@dataclass(frozen=True, kw_only=True, slots=True)
class Loading:
    """How a split is walked through.

    Attributes:
        batch_size: images per batch and worker.
        training: random order, augmentation, full batches only; else every image once, in order, as it is.
        seed: decides order and augmentation, together with the epoch.
        images_per_epoch: a fresh random subset of this size for each epoch; training only.
        rank: of this worker.
        world_size: number of workers that share the split.
        device: where batches are wanted.
    """

    batch_size: int
    training: bool
    seed: int = 0
    images_per_epoch: int | None = None
    rank: int = 0
    world_size: int = 1
    device: str = "cpu"


class Batches(Protocol):
    """An opened split. Batches are images (B, C, H, W), normalised floats, and labels (B,), int64."""

    num_images: int
    class_names: tuple[str, ...]

    def num_batches(self) -> int:
        """Batches of one epoch on this worker."""
        ...

    def epoch(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches of an epoch: the same whenever it is asked for, whatever was read before."""
        ...


def describe_data(config: DataConfig, *, num_classes: int | None = None) -> DataSummary:
    """Look at the data without reading images: seconds even for ImageNet, so that a search fails before it starts.

    Args:
        config: where the data is.
        num_classes: outputs of the model, to compare with.

    Raises:
        DataError: a folder, file or class is missing or does not fit; the text names it.
    """
    summary = DataSummary(train=_describe(config, Split.TRAIN), val=_describe(config, Split.VAL))
    _check_same_classes(config, summary)
    if num_classes is not None:
        check_head(config, summary.num_classes, num_classes)
    return summary


def open_split(config: DataConfig, split: Split, preprocessing: Preprocessing, loading: Loading) -> Batches:
    """Open a split for a model; everything that can be checked is checked here.

    Raises:
        DataError: the split is missing, empty, damaged, or does not fit the model.
    """
    match config.format:
        case DataFormat.NPZ:
            from trainers.npz import NpzBatches

            return NpzBatches(config, split, preprocessing, loading)
        case DataFormat.FOLDER:
            from trainers.folder import FolderBatches

            return FolderBatches(config, split, preprocessing, loading)


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


def _describe(config: DataConfig, split: Split) -> SplitSummary:
    if not config.path.is_dir():
        raise DataError(f"data.path must be a folder with the splits, but {config.path} is none. Correct data.path.")
    if config.format is DataFormat.NPZ:
        from trainers.npz_file import describe_npz

        return describe_npz(config.path / f"{split}.npz")
    from trainers.image_folder import scan_folder

    folder = scan_folder(config.path / split)
    return SplitSummary(num_images=len(folder.files), class_names=folder.class_names)


def _check_same_classes(config: DataConfig, summary: DataSummary) -> None:
    train, val = set(summary.train.class_names), set(summary.val.class_names)
    strange = sorted(val - train) + (sorted(train - val) if config.format is DataFormat.FOLDER else [])
    if strange:
        raise DataError(
            f"{config.path}: train and val must have the same classes, but these are in one only: "
            f"{', '.join(strange[:5])}{' ...' if len(strange) > 5 else ''} ({len(strange)} in all). "
            f"Add the missing ones or remove them from the other split."
        )
