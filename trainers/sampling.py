"""Which images an epoch shows, in which order: pure functions of seed and epoch. No torch."""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.int64]


class Purpose(IntEnum):
    """What random numbers are for: each purpose has streams of its own."""

    ORDER = 1
    AUGMENT = 2
    MIX = 3
    SAMPLE = 4
    NOISE = 5
    WARMUP_NOISE = 6


def stream(seed: int, purpose: Purpose, *keys: int) -> np.random.Generator:
    """An independent random stream for each combination of keys (epoch, batch, ...)."""
    return np.random.default_rng((seed, purpose, *keys))


def epoch_order(labels: Numbers, *, seed: int, epoch: int, num_images: int | None = None) -> Numbers:
    """Numbers of the images of one epoch in random order.

    A subset keeps the classes' shares to within one image each, so that short epochs do not differ by their classes.

    Args:
        labels: class of every image, (N,).
        seed: of the trial.
        epoch: 0-based; each epoch is drawn afresh.
        num_images: how many; all where absent or more than there are.

    Returns:
        (min(N, num_images),) without repetitions.
    """
    rng = stream(seed, Purpose.ORDER, epoch)
    shuffled = rng.permutation(len(labels))
    if num_images is None or num_images >= len(labels):
        return shuffled
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    counts = np.bincount(labels)
    rank_in_class = np.arange(len(labels)) - np.repeat(np.cumsum(counts) - counts, counts)
    share = (rank_in_class + rng.random(len(labels))) / np.repeat(counts, counts)
    return rng.permutation(by_class[np.argsort(share)[:num_images]])


def worker_share(order: Numbers, *, rank: int, world_size: int, batch_size: int, training: bool) -> list[Numbers]:
    """The batches of one worker. In training all workers get equally many, all of full size.

    If there are too few images for one full batch each, training gets a single smaller one.
    """
    if not training:
        mine = order[rank::world_size]
        return [mine[i : i + batch_size] for i in range(0, len(mine), batch_size)]
    mine = order[: len(order) // world_size * world_size][rank::world_size]
    num_batches = max(1, len(mine) // batch_size)
    return [mine[i * batch_size : (i + 1) * batch_size] for i in range(num_batches)]
