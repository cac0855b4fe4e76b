"""Where tokens are pruned and how many stay: the schedule, and the integer token counts it means on one model.

Nothing here imports torch, so that experiments can be checked and schedules priced without it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import accumulate, pairwise

from spvit.options import SelectorKind


class PackageMode(StrEnum):
    """What becomes of the tokens that a selector drops (SPViT, section 3.2).

    PER_SELECTOR: every selector appends a package token of its own, kept to the end.
    SINGLE: one package token for the whole network, into which later selectors merge what they drop.
    NONE: dropped tokens are lost (DynamicViT).
    """

    PER_SELECTOR = "per_selector"
    SINGLE = "single"
    NONE = "none"


@dataclass(frozen=True, kw_only=True, slots=True)
class Level:
    """Consecutive blocks that see the same grid of patches. Pooling leads from one level to the next."""

    num_blocks: int
    num_patches: int

    def __post_init__(self) -> None:
        if self.num_blocks < 1 or self.num_patches < 1:
            raise ValueError(f"A level needs at least one block and one patch, but got {self}.")


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenGeometry:
    """What of a backbone decides its token counts.

    Attributes:
        depth: blocks of the whole network.
        num_patches: patches of the first level.
        num_prefix_tokens: class and register tokens, in every block.
        levels: one for each grid of patches, in the order of their blocks; a plain vision transformer has but one.
    """

    depth: int
    num_patches: int
    num_prefix_tokens: int = 1
    levels: tuple[Level, ...] = ()

    def __post_init__(self) -> None:
        if self.depth < 1 or self.num_patches < 1 or self.num_prefix_tokens < 0:
            raise ValueError(f"A backbone needs at least one block and one patch, but got {self}.")
        if not self.levels:
            object.__setattr__(self, "levels", (Level(num_blocks=self.depth, num_patches=self.num_patches),))
        if self.depth != sum(level.num_blocks for level in self.levels):
            raise ValueError(f"The blocks of all levels must add up to the depth, but got {self}.")
        if self.num_patches != self.levels[0].num_patches:
            raise ValueError(f"A backbone's patches are those of its first level, but got {self}.")

    @classmethod
    def of_levels(cls, levels: Sequence[Level], num_prefix_tokens: int = 1) -> TokenGeometry:
        """The geometry of a backbone that pools its patches between levels."""
        return cls(
            depth=sum(level.num_blocks for level in levels),
            num_patches=levels[0].num_patches,
            num_prefix_tokens=num_prefix_tokens,
            levels=tuple(levels),
        )

    @property
    def num_tokens(self) -> int:
        """Tokens in every block of the dense model's first level."""
        return self.num_prefix_tokens + self.num_patches

    @property
    def level_starts(self) -> tuple[int, ...]:
        """The first block of each level."""
        return tuple(accumulate((level.num_blocks for level in self.levels[:-1]), initial=0))

    def level_of(self, block: int) -> int:
        """The number of the level that a block belongs to."""
        return bisect_right(self.level_starts, block) - 1


@dataclass(frozen=True, kw_only=True, slots=True, order=True)
class Stage:
    """A selector in front of `block` (0-based) after which `keep_rate` of the patches of the block's level are left.

    The rate is cumulative: a fraction of all patches, not of those that reach the selector.
    """

    block: int
    keep_rate: float

    def __post_init__(self) -> None:
        if self.block < 0:
            raise ValueError(f"A stage's block must be 0 or more, but got {self.block}.")
        if not 0.0 < self.keep_rate <= 1.0:
            raise ValueError(f"A stage's keep rate must lie in (0, 1], but got {self.keep_rate}.")

    def num_kept(self, num_patches: int) -> int:
        """Patches left after this stage: the nearest integer, at least one."""
        return max(1, round(self.keep_rate * num_patches))


@dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """One selector at work on one model, in integers."""

    block: int
    num_candidates: int
    num_kept: int
    num_packages_before: int
    num_packages_after: int


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenPlan:
    """The integer token counts of a schedule on a model. Equal plans are one and the same network.

    `block_tokens[i]` tokens (prefix + patches + packages) enter block i. Stages that drop nothing are not among the
    `selections`: they cost nothing and change nothing.
    """

    block_tokens: tuple[int, ...]
    selections: tuple[Selection, ...]
    selector: SelectorKind | None = None
    """What scores the tokens, where that is known and anything is dropped."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PruningSchedule:
    """Stages in the order of their blocks, with keep rates that never rise. No stages: the dense model.

    Where a backbone pools its patches, dropped ones are back in the next level, and each stage counts those of its own.
    """

    stages: tuple[Stage, ...] = ()

    def __post_init__(self) -> None:
        for before, after in pairwise(self.stages):
            if after.block <= before.block:
                raise ValueError(f"Stages must be in the order of their blocks, but {after} follows {before}.")
            if after.keep_rate > before.keep_rate:
                raise ValueError(f"Keep rates must not rise from stage to stage, but {after} follows {before}.")

    @classmethod
    def from_keep_rates(cls, keep_rates: Sequence[float], blocks: Sequence[int]) -> PruningSchedule:
        """A schedule with one cumulative keep rate for each block.

        Raises:
            ValueError: the two differ in length, or are no valid schedule.
        """
        if len(keep_rates) != len(blocks):
            raise ValueError(f"Each block needs one keep rate, but got blocks {list(blocks)} and {list(keep_rates)}.")
        return cls(stages=tuple(Stage(block=b, keep_rate=r) for b, r in zip(blocks, keep_rates, strict=True)))

    @classmethod
    def from_base_rate(cls, base_rate: float, blocks: Sequence[int]) -> PruningSchedule:
        """The schedule r, r^2, r^3, ... of DynamicViT, which SPViT's documented trainings name by its base rate."""
        return cls.from_keep_rates([base_rate ** (s + 1) for s in range(len(blocks))], blocks)

    @property
    def blocks(self) -> tuple[int, ...]:
        """The block behind each selector."""
        return tuple(stage.block for stage in self.stages)

    @property
    def keep_rates(self) -> tuple[float, ...]:
        """The cumulative keep rate of each stage."""
        return tuple(stage.keep_rate for stage in self.stages)

    def plan(
        self,
        geometry: TokenGeometry,
        package_mode: PackageMode = PackageMode.PER_SELECTOR,
        selector: SelectorKind | None = None,
    ) -> TokenPlan:
        """Integer token counts of this schedule on a model.

        Raises:
            ValueError: a stage lies behind the model's last block.
        """
        if self.stages and self.stages[-1].block >= geometry.depth:
            raise ValueError(
                f"A selector before block {self.stages[-1].block} needs a deeper model: "
                f"this one has blocks 0 to {geometry.depth - 1}."
            )
        tokens: list[int] = []
        selections: list[Selection] = []
        for start, level in zip(geometry.level_starts, geometry.levels, strict=True):
            inside = [stage for stage in self.stages if start <= stage.block < start + level.num_blocks]
            chosen = _selections(inside, level.num_patches, package_mode)
            tokens += _block_tokens(geometry.num_prefix_tokens, start, level, chosen)
            selections += chosen
        return TokenPlan(
            block_tokens=tuple(tokens), selections=tuple(selections), selector=selector if selections else None
        )


def default_blocks(depth: int, num_stages: int = 3) -> tuple[int, ...]:
    """Blocks that cut the model into equal parts: 3, 6, 9 of 12 (SPViT, section 4.1), 4, 8, 12 of 16.

    Block 0 is among them only where the model has no other.
    """
    equal_parts = (depth * (s + 1) // (num_stages + 1) for s in range(num_stages))
    return tuple(sorted({min(max(1, block), depth - 1) for block in equal_parts}))


def _selections(stages: Sequence[Stage], num_patches: int, package_mode: PackageMode) -> list[Selection]:
    """What the stages of one level do to its patches."""
    selections: list[Selection] = []
    patches, packages = num_patches, 0
    for stage in stages:
        kept = stage.num_kept(num_patches)
        if kept >= patches:
            continue
        after = packages_after(packages, package_mode)
        selections.append(
            Selection(
                block=stage.block,
                num_candidates=patches,
                num_kept=kept,
                num_packages_before=packages,
                num_packages_after=after,
            )
        )
        patches, packages = kept, after
    return selections


def packages_after(packages: int, mode: PackageMode) -> int:
    """How many packages there are after a selector that drops something."""
    match mode:
        case PackageMode.NONE:
            return 0
        case PackageMode.SINGLE:
            return 1
        case PackageMode.PER_SELECTOR:
            return packages + 1


def _block_tokens(num_prefix: int, start: int, level: Level, selections: Sequence[Selection]) -> list[int]:
    """Tokens that enter each block of a level whose first block is `start`."""
    tokens = [num_prefix + level.num_patches] * level.num_blocks
    for selection in selections:
        inside = selection.block - start
        after = num_prefix + selection.num_kept + selection.num_packages_after
        tokens[inside:] = [after] * (level.num_blocks - inside)
    return tokens
