"""How a split is walked through: pure decisions from numbers. No torch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trainers.sampling import Numbers, repeated_order, worker_share


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

    def order(self, labels: Numbers, epoch: int, *, num_repeats: int) -> Numbers:
        """Numbers of the images that all workers show in an epoch, one after the other."""
        if not self.training:
            return np.arange(len(labels))
        return repeated_order(
            labels, seed=self.seed, epoch=epoch, num_repeats=num_repeats, num_images=self.images_per_epoch
        )

    def share(self, order: Numbers) -> list[Numbers]:
        """The batches of this worker."""
        return worker_share(
            order, rank=self.rank, world_size=self.world_size, batch_size=self.batch_size, training=self.training
        )
