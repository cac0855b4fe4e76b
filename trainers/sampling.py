"""Which images an epoch shows, in which order: pure functions of seed and epoch. No torch."""

from __future__ import annotations

import math
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.int64]
REPEATED_MULTIPLE = 256


class Purpose(IntEnum):
    """What random numbers are for: each purpose has streams of its own."""

    ORDER = 1
    AUGMENT = 2
    MIX = 3
    SAMPLE = 4
    NOISE = 5
    WARMUP_NOISE = 6
    SCHEDULE = 7
    PRICED = 8
    SANDWICH = 9


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


def repeated_order(
    labels: Numbers, *, seed: int, epoch: int, num_repeats: int, num_images: int | None = None
) -> Numbers:
    """Numbers of the images of one epoch with repeated augmentation (arXiv:1902.05509): the same image several times.

    As in timm's `RepeatAugSampler`: repetitions follow each other, so that `worker_share` deals them to different
    workers, and the epoch is as long as without them, rounded down to a multiple of 256. What differs is that the
    images of a shortened epoch keep the classes' shares, and that a length asked for is not rounded.

    Args:
        labels: class of every image, (N,).
        seed: of the trial.
        epoch: 0-based; each epoch is drawn afresh.
        num_repeats: 1 or less is `epoch_order`.
        num_images: length of the epoch, repetitions counted.

    Returns:
        (length,) with `length / num_repeats` different numbers.
    """
    if num_repeats <= 1:
        return epoch_order(labels, seed=seed, epoch=epoch, num_images=num_images)
    length = _rounded_down(len(labels)) if num_images is None else min(num_images, len(labels))
    distinct = epoch_order(labels, seed=seed, epoch=epoch, num_images=math.ceil(length / num_repeats))
    return np.repeat(distinct, num_repeats)[:length]


def _rounded_down(count: int) -> int:
    return count // REPEATED_MULTIPLE * REPEATED_MULTIPLE or count


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
