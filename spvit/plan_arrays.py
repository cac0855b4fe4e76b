"""The integer token counts of many schedules at once: what `TokenPlan` holds of one, in arrays. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spvit.options import SelectorKind
from spvit.schedule import PackageMode, PruningSchedule, TokenGeometry

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, slots=True)
class PlanArrays:
    """Token counts of P schedules with at most S stages each, on one model of D blocks.

    Attributes:
        block_tokens: (P, D) tokens that enter each block.
        selection_blocks: (P, S) the block behind each stage.
        selection_tokens: (P, S) tokens that reach its selector, prefix and packages included; 0 where the stage drops
            nothing, and so has no selector.
        selector: what scores the tokens of all of them, where that is known.
    """

    block_tokens: Ints
    selection_blocks: Ints
    selection_tokens: Ints
    selector: SelectorKind | None = None

    def __post_init__(self) -> None:
        arrays = (self.block_tokens, self.selection_blocks, self.selection_tokens)
        if any(array.ndim != 2 for array in arrays):
            raise ValueError(f"Plan arrays need two dimensions, but got {[array.shape for array in arrays]}.")
        if self.selection_blocks.shape != self.selection_tokens.shape or len({len(array) for array in arrays}) > 1:
            raise ValueError(f"Plan arrays must be of one length, but got {[array.shape for array in arrays]}.")

    def __len__(self) -> int:
        return len(self.block_tokens)

    def __getitem__(self, rows: slice) -> PlanArrays:
        return PlanArrays(
            block_tokens=self.block_tokens[rows],
            selection_blocks=self.selection_blocks[rows],
            selection_tokens=self.selection_tokens[rows],
            selector=self.selector,
        )

    @property
    def is_pruned(self) -> Flags:
        """(P,) False for schedules that drop nothing, whose network is the dense model."""
        return np.asarray((self.selection_tokens > 0).any(axis=1))

    @classmethod
    def from_keep_rates(
        cls,
        keep_rates: ArrayLike,
        blocks: ArrayLike,
        geometry: TokenGeometry,
        package_mode: PackageMode = PackageMode.PER_SELECTOR,
        selector: SelectorKind | None = None,
    ) -> PlanArrays:
        """What `PruningSchedule.from_keep_rates(...).plan(...)` gives for each row of rates.

        Args:
            keep_rates: (P, S) cumulative keep rates, which never rise along a row.
            blocks: (S,) for all rows alike, or (P, S).
            geometry: of the model.
            package_mode: what becomes of dropped tokens.
            selector: what scores the tokens.

        Raises:
            ValueError: a row is no schedule of this model.
        """
        rates = np.asarray(keep_rates, dtype=np.float64)
        if rates.ndim != 2:
            raise ValueError(f"Keep rates need the shape (schedules, stages), but have {rates.shape}.")
        before = np.broadcast_to(np.asarray(blocks, dtype=np.int64), rates.shape)
        _check(rates, before, np.ones(rates.shape, dtype=bool), geometry.depth)
        return _plans(rates, before, geometry, package_mode, selector)

    @classmethod
    def from_schedules(
        cls,
        schedules: Sequence[PruningSchedule],
        geometry: TokenGeometry,
        package_mode: PackageMode = PackageMode.PER_SELECTOR,
        selector: SelectorKind | None = None,
    ) -> PlanArrays:
        """What `PruningSchedule.plan` gives for each schedule; they may differ in their numbers of stages.

        Raises:
            ValueError: a stage lies behind the model's last block.
        """
        lengths = np.fromiter((len(schedule.stages) for schedule in schedules), dtype=np.int64)
        is_stage = np.arange(max(lengths, default=0)) < lengths[:, np.newaxis]
        stages = list(chain.from_iterable(schedule.stages for schedule in schedules))
        rates, before = np.ones(is_stage.shape), np.full(is_stage.shape, geometry.depth)
        rates[is_stage] = [stage.keep_rate for stage in stages]
        before[is_stage] = [stage.block for stage in stages]
        _check(rates, before, is_stage, geometry.depth)
        return _plans(rates, before, geometry, package_mode, selector)


def _check(rates: Floats, blocks: Ints, is_stage: Flags, depth: int) -> None:
    """Refuses rows that `PruningSchedule` or its `plan` would refuse; where `is_stage` is False there is nothing."""
    follows = is_stage[:, 1:]
    wrong = {
        "keep rates must lie in (0, 1]": (is_stage & ~((rates > 0.0) & (rates <= 1.0))).any(axis=1),
        "keep rates must not rise from stage to stage": (follows & (np.diff(rates, axis=1) > 0.0)).any(axis=1),
        "stages must be in the order of their blocks": (follows & (np.diff(blocks, axis=1) <= 0)).any(axis=1),
        f"the model has blocks 0 to {depth - 1}": (is_stage & ((blocks < 0) | (blocks >= depth))).any(axis=1),
    }
    for requirement, rows in wrong.items():
        if rows.any():
            row = int(np.argmax(rows))
            kept, before = rates[row, is_stage[row]].tolist(), blocks[row, is_stage[row]].tolist()
            raise ValueError(f"Schedule {row}: {requirement}, but got keep rates {kept} before blocks {before}.")


def _plans(
    rates: Floats, blocks: Ints, geometry: TokenGeometry, mode: PackageMode, selector: SelectorKind | None
) -> PlanArrays:
    shape = (len(rates), geometry.depth)
    tokens, reached = np.empty(shape, dtype=np.int64), np.zeros(rates.shape, dtype=np.int64)
    for start, level in zip(geometry.level_starts, geometry.levels, strict=True):
        end = start + level.num_blocks
        counted = np.where((blocks >= start) & (blocks < end), np.rint(rates * level.num_patches), level.num_patches)
        _fill_level(
            tokens[:, start:end],
            reached,
            kept=np.maximum(counted.astype(np.int64), 1),
            behind=blocks[:, :, np.newaxis] <= np.arange(start, end),
            fixed=(geometry.num_prefix_tokens, level.num_patches),
            mode=mode,
        )
    before = np.where(reached > 0, blocks, 0)
    return PlanArrays(block_tokens=tokens, selection_blocks=before, selection_tokens=reached, selector=selector)


def _fill_level(
    tokens: Ints, reached: Ints, *, kept: Ints, behind: Flags, fixed: tuple[int, int], mode: PackageMode
) -> None:
    """Writes what one level's stages do.

    Args:
        tokens: (P, blocks of the level), written.
        reached: (P, S), written where a stage drops something.
        kept: (P, S) patches left by a stage; all of them where it stands in another level.
        behind: (P, S, blocks of the level) whether a block comes after a stage.
        fixed: prefix tokens, and patches of the level.
        mode: what becomes of dropped tokens.
    """
    num_prefix, num_patches = fixed
    patches, packages = np.full(len(tokens), num_patches), np.zeros(len(tokens), dtype=np.int64)
    tokens[:] = num_prefix + num_patches
    for stage in range(kept.shape[1]):
        drops = kept[:, stage] < patches
        reached[drops, stage] = (num_prefix + patches + packages)[drops]
        packages = np.where(drops, _after_each(packages, mode), packages)
        patches = np.minimum(patches, kept[:, stage])
        changed = drops[:, np.newaxis] & behind[:, stage]
        np.copyto(tokens, (num_prefix + patches + packages)[:, np.newaxis], where=changed)


def _after_each(packages: Ints, mode: PackageMode) -> Ints:
    """`packages_after` of each."""
    match mode:
        case PackageMode.NONE:
            return np.zeros_like(packages)
        case PackageMode.SINGLE:
            return np.ones_like(packages)
        case PackageMode.PER_SELECTOR:
            return packages + 1
