"""Batches from single images, wherever they come from: decoded in order, transformed as timm does."""

from __future__ import annotations

import logging
import random
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from spvit.errors import DataError
from trainers.augment import draw_light, jitter
from trainers.data import Loading, check_head
from trainers.data_config import Augmentation, DataConfig
from trainers.image_source import ImageSource
from trainers.preprocessing import Preprocessing
from trainers.sampling import Numbers, Purpose, stream
from trainers.transforms import Transform, make_transform

log = logging.getLogger(__name__)

DAMAGE = (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError)
"""What pillow raises for images that it cannot decode."""

Key = tuple[int, int]
Sample = tuple[Tensor, int] | str
Batch = tuple[Tensor, Tensor, list[str]]


class ImageBatches:
    """See `trainers.data.Batches`. Damaged images are left out by name, up to `max_damaged` of them.

    Batches for training keep their size: good images are shown again in the places of damaged ones, so that all workers
    take as many steps, and in as many parts.
    """

    def __init__(self, source: ImageSource, config: DataConfig, preprocessing: Preprocessing, loading: Loading) -> None:
        self.num_images = len(source.labels)
        self.class_names = source.class_names
        check_head(config, len(self.class_names), preprocessing.num_classes)
        augmentation = config.augmentation if loading.training else Augmentation.NONE
        self._light = augmentation is Augmentation.LIGHT
        transform = make_transform(preprocessing, augmentation, config.transforms)
        self._images = _Images(source, transform, preprocessing.num_channels)
        self._labels = source.labels
        self._config, self._loading = config, loading
        self._damaged: set[str] = set()
        self._num_batches = len(loading.share(self._order(0)))

    def num_batches(self) -> int:
        """Batches of one epoch on this worker."""
        return self._num_batches

    def epoch(self, epoch: int, only: Collection[int] | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches of an epoch, or those of some numbers, a pure function of seed and epoch.

        Raises:
            DataError: more images than `max_damaged` cannot be decoded, or not one of this worker's can.
        """
        keys = self._keys(epoch)
        numbers = range(len(keys)) if only is None else sorted(only)
        for number, batch in zip(numbers, self._loader([keys[number] for number in numbers]), strict=True):
            self._count_damaged(batch[2])
            images, labels = self._whole(epoch, number, batch)
            if not len(labels):
                continue
            if self._light:
                rng = stream(self._loading.seed, Purpose.AUGMENT, epoch, number, self._loading.rank)
                images = jitter(images, draw_light(rng, len(labels), images.shape[-2]))
            yield images.to(self._loading.device, non_blocking=True), labels.to(self._loading.device)

    def _loader(self, keys: list[list[Key]]) -> Any:
        return DataLoader(
            self._images,
            batch_sampler=keys,
            num_workers=self._config.num_workers,
            collate_fn=_collate,
            generator=torch.Generator(),  # its own: a loader takes a number from the global one otherwise
            pin_memory=self._loading.device.startswith("cuda"),
        )

    def _whole(self, epoch: int, number: int, batch: Batch) -> tuple[Tensor, Tensor]:
        """A batch for training filled up from its good images, or from those of the next batch that has any."""
        images, labels, damaged = batch
        if not damaged or not self._loading.training:
            return images, labels
        size = len(labels) + len(damaged)
        if not len(labels):
            images, labels = self._next_good(epoch, number)
        places = torch.arange(size) % len(labels)
        return images[places], labels[places]

    def _next_good(self, epoch: int, number: int) -> tuple[Tensor, Tensor]:
        keys = self._keys(epoch)
        for batch in keys[number + 1 :] + keys[:number]:
            images, labels, _ = _collate([self._images[key] for key in batch])
            if len(labels):
                return images, labels
        raise DataError(
            f"{self._config.path}: a step of training needs an image, but none that worker {self._loading.rank} "
            f"shows in epoch {epoch + 1} can be decoded. Replace or delete the damaged ones."
        )

    def _order(self, epoch: int) -> Numbers:
        return self._loading.order(self._labels, epoch, num_repeats=self._config.repeated_augmentation)

    def _keys(self, epoch: int) -> list[list[Key]]:
        """For each batch, numbers of images with the seeds of their transforms: one seed per showing of an image."""
        order = self._order(epoch)
        seeds = stream(self._loading.seed, Purpose.SAMPLE, epoch).integers(2**31, size=len(order))
        places = self._loading.share(np.arange(len(order)))
        return [[(int(order[place]), int(seeds[place])) for place in batch] for batch in places]

    def _count_damaged(self, damaged: Sequence[str]) -> None:
        for name in damaged:
            if name not in self._damaged:
                log.warning("Damaged image left out: %s", name)
        self._damaged.update(damaged)
        if len(self._damaged) > self._config.max_damaged:
            names = sorted(self._damaged)
            raise DataError(
                f"At most data.max_damaged = {self._config.max_damaged} images may be damaged, but {len(names)} are: "
                f"{', '.join(names[:5])}{' ...' if len(names) > 5 else ''}. Replace or delete them."
            )


class _Images(Dataset[Sample]):
    """Transformed images by (number, seed); the name instead where an image is damaged."""

    def __init__(self, source: ImageSource, transform: Transform, num_channels: int) -> None:
        self._source, self._transform = source, transform
        self._labels = source.labels
        self._mode = "L" if num_channels == 1 else "RGB"

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, key: Key) -> Sample:
        number, seed = key
        try:
            image = self._source.load(number).convert(self._mode)
        except DAMAGE:
            return self._source.name(number)
        with _seeded(seed):
            return self._transform(image), int(self._labels[number])


def _collate(samples: Sequence[Sample]) -> Batch:
    damaged = [sample for sample in samples if isinstance(sample, str)]
    good = [sample for sample in samples if not isinstance(sample, str)]
    images = torch.stack([image for image, _ in good]) if good else torch.empty(0)
    return images, torch.tensor([label for _, label in good], dtype=torch.int64), damaged


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """One image's transforms draw from all three global generators; give them its seed, and put back what was."""
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        random.seed(seed)
        np.random.seed(seed)
        torch.default_generator.manual_seed(seed)
        yield
    random.setstate(python)
    np.random.set_state(numpy)
