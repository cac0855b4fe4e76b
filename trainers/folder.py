"""Batches from a folder of image files, decoded by PIL and transformed as timm does."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from spvit.errors import DataError
from trainers.augment import draw_light, jitter
from trainers.config import Augmentation, DataConfig
from trainers.data import Loading, Split, check_head
from trainers.image_folder import ImageFolder, scan_folder
from trainers.preprocessing import Preprocessing
from trainers.sampling import Numbers, Purpose, epoch_order, stream, worker_share

log = logging.getLogger(__name__)

Sample = tuple[Tensor, int] | str
Batch = tuple[Tensor, Tensor, list[str]]


class FolderBatches:
    """See `trainers.data.Batches`. Damaged images are left out by name, up to `max_damaged` of them."""

    def __init__(self, config: DataConfig, split: Split, preprocessing: Preprocessing, loading: Loading) -> None:
        folder = scan_folder(config.path / split)
        check_head(config, len(folder.class_names), preprocessing.num_classes)
        augmentation = config.augmentation if loading.training else Augmentation.NONE
        self._light = augmentation is Augmentation.LIGHT
        self._files = _Files(folder, make_transform(preprocessing, augmentation), preprocessing.num_channels)
        self._labels = np.asarray(folder.labels, dtype=np.int64)
        self._config, self._loading = config, loading
        self._damaged: set[str] = set()
        self.num_images = len(folder.files)
        self.class_names = folder.class_names

    def num_batches(self) -> int:
        """Batches of one epoch on this worker."""
        return len(self._numbers(0))

    def epoch(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches of an epoch, a pure function of seed and epoch.

        Raises:
            DataError: more images than `max_damaged` cannot be decoded.
        """
        for number, (images, labels, damaged) in enumerate(self._loader(epoch)):
            self._count_damaged(damaged)
            if not len(labels):
                continue
            if self._light:
                rng = stream(self._loading.seed, Purpose.AUGMENT, epoch, number, self._loading.rank)
                images = jitter(images, draw_light(rng, len(labels), images.shape[-2]))  # noqa: PLW2901
            yield images.to(self._loading.device, non_blocking=True), labels.to(self._loading.device)

    def _loader(self, epoch: int) -> Any:
        seeds = stream(self._loading.seed, Purpose.SAMPLE, epoch).integers(2**31, size=self.num_images)
        batches = [[(int(n), int(seeds[n])) for n in numbers] for numbers in self._numbers(epoch)]
        return DataLoader(
            self._files,
            batch_sampler=batches,
            num_workers=self._config.num_workers,
            collate_fn=_collate,
            generator=torch.Generator(),  # its own: a loader takes a number from the global one otherwise
            pin_memory=self._loading.device.startswith("cuda"),
        )

    def _numbers(self, epoch: int) -> list[Numbers]:
        loading = self._loading
        order: Numbers = np.arange(self.num_images)
        if loading.training:
            order = epoch_order(self._labels, seed=loading.seed, epoch=epoch, num_images=loading.images_per_epoch)
        return worker_share(
            order,
            rank=loading.rank,
            world_size=loading.world_size,
            batch_size=loading.batch_size,
            training=loading.training,
        )

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


def make_transform(preprocessing: Preprocessing, augmentation: Augmentation) -> Callable[[Image.Image], Tensor]:
    """Timm's transform for a model: its recipe for training (`timm`), else resize and centre crop.

    RandAugment and colour jitter need colour: grey images get random crops, mirroring and erasing only.
    """
    from timm.data import create_transform

    shape = (preprocessing.num_channels, *preprocessing.size)
    common: dict[str, Any] = {"input_size": shape, "mean": preprocessing.mean, "std": preprocessing.std}
    common |= {"interpolation": preprocessing.interpolation, "crop_pct": preprocessing.crop_pct}
    colour = preprocessing.num_channels == 3
    if augmentation is Augmentation.TIMM:
        common |= {"is_training": True, "re_prob": 0.25, "re_mode": "pixel", "color_jitter": 0.4 if colour else None}
        common |= {"auto_augment": "rand-m9-mstd0.5-inc1" if colour else None}
    transform: Callable[[Image.Image], Tensor] = create_transform(**common)
    return transform


class _Files(Dataset[Sample]):
    """Decoded images by (number, seed); the name instead where an image is damaged."""

    def __init__(self, folder: ImageFolder, transform: Callable[[Image.Image], Tensor], num_channels: int) -> None:
        self._folder, self._transform = folder, transform
        self._mode = "L" if num_channels == 1 else "RGB"

    def __len__(self) -> int:
        return len(self._folder.files)

    def __getitem__(self, key: tuple[int, int]) -> Sample:
        number, seed = key
        path = self._folder.files[number]
        try:
            with Image.open(path) as file:
                image = file.convert(self._mode)
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
            return str(path)
        with _seeded(seed):
            return self._transform(image), self._folder.labels[number]


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
