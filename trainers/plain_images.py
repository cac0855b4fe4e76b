"""A random sample of a split as it is, without augmentation: for calibrating and for timing on real images."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from trainers.data import Loading, Split, open_split
from trainers.data_config import Augmentation, DataConfig
from trainers.preprocessing import Preprocessing


class PlainImages:
    """Batches (B, C, H, W) of images drawn from a split, with every class's share; the same at every walk through.

    Args:
        config: where the data is.
        split: which part of it.
        preprocessing: how the model wants its images.
        num_images: how many, all if there are fewer; what makes no full batch is left out.
        batch_size: images per batch.
        device: where batches are wanted.
        seed: of the draw.

    Raises:
        DataError: the split is missing, empty, damaged, or does not fit the model.
    """

    def __init__(
        self,
        config: DataConfig,
        split: Split,
        preprocessing: Preprocessing,
        *,
        num_images: int,
        batch_size: int,
        device: str = "cpu",
        seed: int = 0,
    ) -> None:
        plain = config.model_copy(update={"augmentation": Augmentation.NONE, "repeated_augmentation": 0})
        # Only training draws: a folder in its order begins with the images of one class.
        drawn = Loading(
            batch_size=min(batch_size, num_images),
            training=True,
            seed=seed,
            images_per_epoch=num_images,
            device=device,
        )
        self._num_images = num_images
        self._batches = open_split(plain, split, preprocessing, drawn)

    def __iter__(self) -> Iterator[Tensor]:
        return (images for images, _ in self._batches.epoch(0))

    def stacked(self) -> Tensor:
        """All of them in one tensor, as many as were asked for; they come again where there are too few."""
        images = torch.cat(list(self))
        return images[torch.arange(self._num_images, device=images.device) % len(images)]
