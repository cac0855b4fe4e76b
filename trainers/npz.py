"""Batches from an npz file that is held in memory: indexed, augmented and normalised whole batches at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from spvit.errors import DataError
from trainers.augment import draw_light, jitter, normaliser
from trainers.config import Augmentation, DataConfig
from trainers.data import Loading, Split, check_head
from trainers.npz_file import NpzArrays, read_npz
from trainers.preprocessing import Preprocessing
from trainers.sampling import Numbers, Purpose, epoch_order, stream, worker_share


class NpzBatches:
    """See `trainers.data.Batches`. Images stay bytes in memory, on the device where batches are wanted."""

    def __init__(self, config: DataConfig, split: Split, preprocessing: Preprocessing, loading: Loading) -> None:
        path = config.path / f"{split}.npz"
        arrays = read_npz(path)
        _check_fit(path, arrays, preprocessing)
        self._light = _wants_light(config, loading)
        self._loading = loading
        self._numpy_labels = arrays.labels
        self._images = torch.from_numpy(arrays.images).permute(0, 3, 1, 2).contiguous().to(loading.device)
        self._labels = torch.from_numpy(arrays.labels).to(loading.device)
        self._normalise = normaliser(preprocessing, loading.device)
        self.num_images = len(arrays.labels)
        self.class_names = tuple(str(label) for label in range(int(arrays.labels.max()) + 1))
        check_head(config, len(self.class_names), preprocessing.num_classes)

    def num_batches(self) -> int:
        """Batches of one epoch on this worker."""
        return len(self._numbers(0))

    def epoch(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches of an epoch, a pure function of seed and epoch."""
        for batch, numbers in enumerate(self._numbers(epoch)):
            index = torch.from_numpy(numbers).to(self._images.device)
            images = self._images.index_select(0, index)
            if self._light:
                rng = stream(self._loading.seed, Purpose.AUGMENT, epoch, batch, self._loading.rank)
                images = jitter(images, draw_light(rng, len(numbers), images.shape[-2]))
            yield self._normalise(images), self._labels.index_select(0, index)

    def _numbers(self, epoch: int) -> list[Numbers]:
        loading = self._loading
        if loading.training:
            subset = loading.images_per_epoch
            order = epoch_order(self._numpy_labels, seed=loading.seed, epoch=epoch, num_images=subset)
        else:
            order = np.arange(self.num_images)
        return worker_share(
            order,
            rank=loading.rank,
            world_size=loading.world_size,
            batch_size=loading.batch_size,
            training=loading.training,
        )


def _check_fit(path: Path, arrays: NpzArrays, preprocessing: Preprocessing) -> None:
    found = arrays.images.shape[1:]
    wanted = (*preprocessing.size, preprocessing.num_channels)
    if found != wanted:
        raise DataError(
            f"{path}: the model takes images of {wanted} (height, width, channels), but these are {found}. "
            f"Set model.args.img_size and model.args.in_chans, or resize the images."
        )


def _wants_light(config: DataConfig, loading: Loading) -> bool:
    if config.augmentation is Augmentation.TIMM:
        raise DataError(
            "data.augmentation = 'timm' works on image files, but data.format is 'npz'. "
            "Set data.augmentation to 'light' or 'none'."
        )
    return loading.training and config.augmentation is Augmentation.LIGHT
