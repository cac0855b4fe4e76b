"""Images of an npz file one by one, for transforms that work on single pictures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from PIL import Image

from spvit.errors import DataError
from trainers.npz_file import NpzArrays, number_names, read_npz
from trainers.sampling import Numbers


@dataclass(frozen=True, kw_only=True, slots=True)
class NpzSource:
    """See `trainers.image_source.ImageSource`. Pictures are grey or have three colours."""

    path: Path
    arrays: NpzArrays

    @classmethod
    def open(cls, path: Path) -> Self:
        """Read a file.

        Raises:
            DataError: the file is missing or damaged, or its images have neither one nor three channels.
        """
        arrays = read_npz(path)
        num_channels = arrays.images.shape[3]
        if num_channels not in {1, 3}:
            raise DataError(
                f"{path}: data.augmentation = 'timm' works on images of 1 or 3 channels, but these have "
                f"{num_channels}. Set data.augmentation to 'light' or 'none'."
            )
        return cls(path=path, arrays=arrays)

    @property
    def labels(self) -> Numbers:
        """The class of every image."""
        return self.arrays.labels

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes' numbers as texts."""
        return number_names(self.arrays.labels)

    @property
    def has_class_names(self) -> bool:
        """Never: the file holds numbers."""
        return False

    def name(self, number: int) -> str:
        """The file and the image's number."""
        return f"{self.path}[{number}]"

    def load(self, number: int) -> Image.Image:
        """One picture."""
        pixels = self.arrays.images[number]
        return Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
