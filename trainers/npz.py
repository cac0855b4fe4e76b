"""Batches from an npz file that is held in memory: indexed, augmented and normalised whole batches at a time."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

import torch
from torch import Tensor

from spvit.errors import DataError
from trainers.augment import draw_light, jitter, normaliser
from trainers.data import Loading, Split, check_head
from trainers.data_config import Augmentation, DataConfig
from trainers.image_source import split_name
from trainers.npz_file import NpzArrays, number_names, read_npz
from trainers.preprocessing import Preprocessing
from trainers.sampling import Numbers, Purpose, stream


class NpzBatches:
    """See `trainers.data.Batches`. Images stay bytes in memory, on the device where batches are wanted."""

    def __init__(self, config: DataConfig, split: Split, preprocessing: Preprocessing, loading: Loading) -> None:
        path = config.path / f"{split_name(config, split)}.npz"
        arrays = read_npz(path)
        _check_fit(path, arrays, preprocessing)
        self._light = loading.training and config.augmentation is Augmentation.LIGHT
        self._num_repeats = config.repeated_augmentation
        self._loading = loading
        self._numpy_labels = arrays.labels
        self._images = torch.from_numpy(arrays.images).permute(0, 3, 1, 2).contiguous().to(loading.device)
        self._labels = torch.from_numpy(arrays.labels).to(loading.device)
        self._normalise = normaliser(preprocessing, loading.device)
        self.num_images = len(arrays.labels)
        self.class_names = number_names(arrays.labels)
        check_head(config, len(self.class_names), preprocessing.num_classes)

    def num_batches(self) -> int:
        """Batches of one epoch on this worker."""
        return len(self._numbers(0))

    def epoch(self, epoch: int, only: Collection[int] | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches of an epoch, or those of some numbers, a pure function of seed and epoch."""
        for batch, numbers in enumerate(self._numbers(epoch)):
            if only is not None and batch not in only:
                continue
            index = torch.from_numpy(numbers).to(self._images.device)
            images = self._images.index_select(0, index)
            if self._light:
                rng = stream(self._loading.seed, Purpose.AUGMENT, epoch, batch, self._loading.rank)
                images = jitter(images, draw_light(rng, len(numbers), images.shape[-2]))
            yield self._normalise(images), self._labels.index_select(0, index)

    def _numbers(self, epoch: int) -> list[Numbers]:
        return self._loading.share(self._loading.order(self._numpy_labels, epoch, num_repeats=self._num_repeats))


def _check_fit(path: Path, arrays: NpzArrays, preprocessing: Preprocessing) -> None:
    found = arrays.images.shape[1:]
    wanted = (*preprocessing.size, preprocessing.num_channels)
    if found != wanted:
        raise DataError(
            f"{path}: the model takes images of {wanted} (height, width, channels), but these are {found}. "
            f"Set model.args.img_size and model.args.in_chans, or resize the images."
        )
