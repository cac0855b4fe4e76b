"""What groups of images do when those that keep about as many tokens go on together. No torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from spvit.adaptive_plans import KeptCounts
from spvit.plan_arrays import Flags, Ints
from spvit.schedule import PackageMode


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupWork:
    """What a group of images does at a time: a selector, or the blocks behind it up to the next one.

    Attributes:
        batch: the number of the batch that the images came in.
        num_images: of the group.
        num_tokens: of each image, prefix, padding and packages included.
        num_blocks: how many blocks they go through; 0 at a selector.
        is_last: whether the model's last block is among these.
    """

    batch: int
    num_images: int
    num_tokens: int
    num_blocks: int = 0
    is_last: bool = False


@dataclass(frozen=True, slots=True)
class _Group:
    rows: Ints
    is_used: Flags
    """(images, packages): whether an image has anything in a package."""


def bucketed_work(kept: KeptCounts, batch_size: int, bucket: int) -> Iterator[GroupWork]:
    """What groups of images do when those of a batch whose counts are about equal go on together.

    Images are grouped anew behind every selector by their counts, rounded up to a multiple of `bucket`; a group is as
    long as its longest image. Images that do not fill a last batch are left out.

    Raises:
        ValueError: there are fewer images than one batch has, or a bucket below 1.
    """
    if bucket < 1:
        raise ValueError(f"A bucket must span 1 count or more, but got {bucket}.")
    for batch in range(kept.num_batches(batch_size)):
        yield from _work_of_batch(kept, batch, np.arange(batch * batch_size, (batch + 1) * batch_size), bucket)


def _work_of_batch(kept: KeptCounts, batch: int, rows: Ints, bucket: int) -> Iterator[GroupWork]:
    groups, starts = [_Group(rows, np.zeros((len(rows), 0), dtype=bool))], (*kept.blocks, kept.geometry.depth)
    dense = GroupWork(batch=batch, num_images=len(rows), num_tokens=kept.geometry.num_tokens, num_blocks=starts[0])
    if starts[0]:
        yield dense
    for stage, (start, end) in enumerate(pairwise(starts)):
        yield from (_work(kept, group, stage, batch=batch) for group in groups)
        groups = _regrouped(kept, groups, stage, bucket)
        yield from (_work(kept, group, stage + 1, batch=batch, num_blocks=end - start) for group in groups)


def _work(kept: KeptCounts, group: _Group, num_stages: int, *, batch: int, num_blocks: int = 0) -> GroupWork:
    """Work at the counts that so many selectors left: by the next one, or by blocks."""
    patches = kept.num_kept[group.rows, num_stages - 1] if num_stages else [kept.geometry.num_patches]
    return GroupWork(
        batch=batch,
        num_images=len(group.rows),
        num_tokens=kept.geometry.num_prefix_tokens + int(max(patches)) + group.is_used.shape[1],
        num_blocks=num_blocks,
        is_last=num_blocks > 0 and num_stages == len(kept.blocks),
    )


def _regrouped(kept: KeptCounts, groups: Sequence[_Group], stage: int, bucket: int) -> list[_Group]:
    """As `spvit.survivors.regroup` does, packages by their places; those that are empty in all images go."""
    parts: dict[int, list[_Group]] = {}
    for group in groups:
        after = _packages_after(group.is_used, kept.drops[group.rows, stage], kept.package)
        keys = -(-kept.num_kept[group.rows, stage] // bucket)
        for key in dict.fromkeys(keys.tolist()):
            parts.setdefault(key, []).append(_Group(group.rows[keys == key], after[keys == key]))
    return [_joined(parts[key]) for key in sorted(parts)]


def _packages_after(is_used: Flags, drops: Flags, mode: PackageMode) -> Flags:
    match mode:
        case PackageMode.NONE:
            return is_used
        case PackageMode.SINGLE if is_used.shape[1]:
            return is_used | drops[:, np.newaxis]
        case PackageMode.SINGLE | PackageMode.PER_SELECTOR:
            return np.concatenate((is_used, drops[:, np.newaxis]), axis=1)


def _joined(parts: Sequence[_Group]) -> _Group:
    width = max(part.is_used.shape[1] for part in parts)
    padded = [np.pad(part.is_used, ((0, 0), (0, width - part.is_used.shape[1]))) for part in parts]
    is_used = np.concatenate(padded)
    return _Group(np.concatenate([part.rows for part in parts]), is_used[:, is_used.any(axis=0)])
