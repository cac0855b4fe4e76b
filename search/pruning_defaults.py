"""`[pruning]` of an experiment file: the schedule that trials start from, and the form of selectors. No torch."""

from __future__ import annotations

from typing import Self

from pydantic import field_validator, model_validator

from spvit.options import HeadWeighting, SelectorKind
from spvit.schedule import PackageMode, PruningSchedule, default_blocks
from trainers.frozen_config import FrozenConfig, Positive


class PruningDefaults(FrozenConfig):
    """The schedule that trials start from: a base rate or stage keep rates, at given blocks or at depth/4 steps."""

    blocks: tuple[int, ...] | None = None
    base_keep_rate: Positive | None = None
    stage_keep_rates: tuple[float, ...] | None = None
    selector: SelectorKind = SelectorKind.MULTI_HEAD
    head_weighting: HeadWeighting = HeadWeighting.SENET
    package: PackageMode = PackageMode.PER_SELECTOR

    @field_validator("blocks")
    @classmethod
    def _rising_blocks(cls, blocks: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if blocks is not None and list(blocks) != sorted({block for block in blocks if block >= 0}):
            raise ValueError(f"different blocks from 0 on were required, lowest first, but got {list(blocks)}")
        return blocks

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.base_keep_rate is not None and self.stage_keep_rates is not None:
            raise ValueError("give base_keep_rate or stage_keep_rates, not both")
        if self.base_keep_rate is not None or self.stage_keep_rates is not None:
            self.schedule(depth=1000)
        return self

    def resolved_blocks(self, depth: int) -> tuple[int, ...]:
        """The blocks given, or those that cut a model of this depth into equal parts."""
        return self.blocks if self.blocks is not None else default_blocks(depth)

    def schedule(self, depth: int) -> PruningSchedule:
        """The schedule these settings name on a model of this depth; dense if they name none."""
        blocks = self.resolved_blocks(depth)
        if self.stage_keep_rates is not None:
            return PruningSchedule.from_keep_rates(self.stage_keep_rates, blocks)
        if self.base_keep_rate is not None:
            return PruningSchedule.from_base_rate(self.base_keep_rate, blocks)
        return PruningSchedule()
