"""`{train,val,test}.npz`: what such a file must hold, and reading it safely. No torch."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spvit.errors import DataError
from trainers.data_summary import SplitSummary


@dataclass(frozen=True, kw_only=True, slots=True)
class NpzArrays:
    """Images uint8 (N, H, W, C) and labels int64 (N,)."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]


def describe_npz(path: Path) -> SplitSummary:
    """Counts of a file, from its labels alone.

    Raises:
        DataError: the file is missing, damaged, or its labels are unusable.
    """
    labels = _labels(path, _read(path, "labels"))
    if not len(labels):
        raise DataError(f"{path} holds no images. Write at least one.")
    return SplitSummary(num_images=len(labels), class_names=number_names(labels), has_class_names=False)


def number_names(labels: NDArray[np.int64]) -> tuple[str, ...]:
    """Classes that have no names are called by their numbers, 0 to the greatest."""
    return tuple(str(label) for label in range(int(labels.max()) + 1))


def read_npz(path: Path) -> NpzArrays:
    """Images and labels of a file; objects (pickles) in it are refused.

    Raises:
        DataError: the file is missing or damaged, or its arrays are not images and labels of equal number.
    """
    labels = _labels(path, _read(path, "labels"))
    images = _read(path, "images")
    if images.dtype != np.uint8 or images.ndim not in {3, 4}:
        raise DataError(
            f"{path}: `images` must be uint8, N x H x W or N x H x W x C, "
            f"but it is {images.dtype} of shape {images.shape}. Convert it."
        )
    if len(images) != len(labels):
        raise DataError(f"{path}: every image needs one label, but it has {len(images)} and {len(labels)}.")
    if not len(images):
        raise DataError(f"{path} holds no images. Write at least one.")
    return NpzArrays(images=images if images.ndim == 4 else images[..., None], labels=labels)


def _read(path: Path, key: str) -> NDArray[Any]:
    if not path.is_file():
        raise DataError(f"{path} is missing. data.format = 'npz' needs one file per split, train.npz and val.npz.")
    try:
        # NumPy leaves a file that it cannot read open, unless it was opened for it.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            if key in arrays:
                array: NDArray[Any] = arrays[key]
                return array
            keys = ", ".join(arrays.files)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, TypeError, AttributeError) as error:
        raise DataError(f"{path} is damaged or no npz file of plain arrays: {error}. Write it again.") from error
    raise DataError(f"{path} must hold `images` and `labels`, but it holds: {keys}.")


def _labels(path: Path, labels: NDArray[Any]) -> NDArray[np.int64]:
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise DataError(f"{path}: `labels` must be whole numbers, N, but it is {labels.dtype} of shape {labels.shape}.")
    if len(labels) and int(labels.min()) < 0:
        raise DataError(f"{path}: labels must be 0 or more, but the smallest is {int(labels.min())}.")
    return labels.astype(np.int64)
