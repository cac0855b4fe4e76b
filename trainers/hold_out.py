"""Images of one's own that are in no splits yet: a part of each class is set aside for validation. No torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spvit.errors import DataError
from trainers.data_config import DataConfig
from trainers.data_split import Split
from trainers.image_folder import ImageFolder, scan_folder
from trainers.sampling import Numbers

SEED = 0
"""Of the draw. Not the study's: two studies of the same images are compared on the same images."""


def open_folder(config: DataConfig, split: Split, name: str) -> ImageFolder:
    """One split of a folder, where `name` is; with `data.val_share` training and validation share one folder.

    Raises:
        DataError: the folder is missing or holds no classes, a class has too few images to share, or there is a
            validation split already.
    """
    if config.val_share is None or split is Split.TEST:
        return scan_folder(config.path / name)
    whole = scan_folder(_shared_folder(config))
    is_val = held_out(whole.labels, config.val_share)
    for label, class_name in enumerate(whole.class_names):
        if (whole.labels == label).sum() < 2:
            raise DataError(f"{whole.path / class_name} has one image, and data.val_share needs two of each class.")
    return whole.part(is_val if split is Split.VAL else ~is_val)


def held_out(labels: Numbers, share: float) -> NDArray[np.bool_]:
    """Which images are set aside: of each class this share, but at least one and not all. The same in every process.

    Args:
        labels: the class of every image, shape (N,).
        share: above 0 and below 1.

    Returns:
        Shape (N,).
    """
    is_val = np.zeros(len(labels), dtype=np.bool_)
    rng = np.random.default_rng(SEED)
    for label in np.unique(labels):
        numbers = rng.permutation(np.flatnonzero(labels == label))
        num_val = min(max(1, round(share * len(numbers))), len(numbers) - 1)
        is_val[numbers[:num_val]] = True
    return is_val


def _shared_folder(config: DataConfig) -> Path:
    """`train` where there is one, else the folder that holds the classes themselves."""
    if (config.path / Split.VAL).is_dir():
        raise DataError(
            f"{config.path / Split.VAL} is there, so nothing needs to be set aside: leave out data.val_share."
        )
    train = config.path / (config.train_split or Split.TRAIN)
    if train.is_dir() or config.train_split:
        return train
    if (config.path / Split.TEST).is_dir():
        raise DataError(f"{config.path} has a folder `{Split.TEST}` beside classes; put the classes into {train}.")
    return config.path
