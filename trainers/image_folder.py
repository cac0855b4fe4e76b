"""ImageNet's layout, `SPLIT/CLASS/*.jpg`: which files there are. No torch."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from spvit.errors import DataError
from trainers.sampling import Numbers

if TYPE_CHECKING:
    from PIL import Image

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".ppm"})


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageFolder:
    """See `trainers.image_source.ImageSource`. Classes are the names of the folders, sorted."""

    path: Path
    files: tuple[str, ...]
    labels: Numbers
    class_names: tuple[str, ...]

    @property
    def has_class_names(self) -> bool:
        """Always."""
        return True

    def part(self, is_in: NDArray[np.bool_]) -> ImageFolder:
        """Some of the images, by a mask of shape (N,); all the classes."""
        files = tuple(self.files[number] for number in np.flatnonzero(is_in))
        return replace(self, files=files, labels=self.labels[is_in])

    def name(self, number: int) -> str:
        """The image's file."""
        return self.files[number]

    def load(self, number: int) -> Image.Image:
        """Decode a file."""
        from PIL import Image

        with Image.open(self.files[number]) as file:
            file.load()
            return file


def scan_folder(path: Path) -> ImageFolder:
    """List a split.

    Raises:
        DataError: the folder is missing, has no class folders, or a class has no images.
        OSError: a folder cannot be read.
    """
    if not path.is_dir():
        raise DataError(
            f"{path} is missing. data.format = 'folder' needs {path.name}/CLASS/*.jpg under data.path; "
            "where images are in no splits yet, data.val_share = 0.2 sets a fifth of each class aside for validation."
        )
    class_names = tuple(sorted(entry.name for entry in os.scandir(path) if entry.is_dir()))
    if not class_names:
        raise DataError(f"{path} must hold one folder per class, but it has none. Sort the images into class folders.")
    found = [_images_below(path / name) for name in class_names]
    return ImageFolder(
        path=path,
        files=tuple(file for files in found for file in files),
        labels=np.repeat(np.arange(len(found)), [len(files) for files in found]),
        class_names=class_names,
    )


def _images_below(folder: Path) -> list[str]:
    # Paths stay texts: a million pathlib objects cost seconds and hundreds of megabytes.
    files = sorted(
        os.path.join(root, name)  # noqa: PTH118
        for root, _, names in os.walk(folder, onerror=_reraise)
        for name in names
        if os.path.splitext(name)[1].lower() in SUFFIXES  # noqa: PTH122
    )
    if not files:
        raise DataError(f"{folder} holds no images. Add some, or remove the class from every split.")
    return files


def _reraise(error: OSError) -> None:
    raise error
