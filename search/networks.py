"""The networks that a space of keep rates holds, counted and listed: two schedules of equal tokens are one network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from search.warm_starts import Rates
from spvit.schedule import PruningSchedule, TokenGeometry

Floats = NDArray[np.float64]

NEARLY = 1.0 - 1e-9
"""Just below the rate from which on one more patch is kept."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StageCounts:
    """The numbers of patches that one stage may keep, ascending, and the cumulative keep rates that mean them.

    Attributes:
        bottoms: (C,) the lowest rate that means each count.
        tops: (C,) the highest.
    """

    bottoms: Floats
    tops: Floats

    @classmethod
    def of(cls, rates: Rates, num_patches: int) -> StageCounts:
        """What a stage keeps of so many patches."""
        least, most = (max(1, round(rate * num_patches)) for rate in (rates.low, rates.high))
        counts = np.arange(least, most + 1)
        bottoms = np.where(counts == 1, 0.0, (counts - 0.5) / num_patches)
        tops = (counts + 0.5) * NEARLY / num_patches
        bottoms, tops = np.clip(bottoms, rates.low, rates.high), np.clip(tops, rates.low, rates.high)
        # Halves are rounded to even counts, so that a bound may mean a count of which no other rate is within.
        bottoms[1:] = np.maximum(bottoms[1:], np.nextafter(tops[:-1], 1.0))
        return cls(bottoms=bottoms, tops=tops)

    def num_within(self, ceiling: float) -> int:
        """How many of the counts can be had with a rate that does not exceed the ceiling."""
        return int(np.searchsorted(self.bottoms, ceiling, side="right"))


def stage_counts(rates: Rates, geometry: TokenGeometry) -> tuple[StageCounts, ...]:
    """What every stage may keep; stages in different levels count different patches."""
    levels = (geometry.levels[geometry.level_of(block)] for block in rates.blocks)
    return tuple(StageCounts.of(rates, level.num_patches) for level in levels)


def num_networks(stages: Sequence[StageCounts]) -> int:
    """How many networks there are whose keep rates never rise from stage to stage.

    Stages are taken one after the other, each with the highest rate that its count allows, since that leaves the next
    stage the most: networks with the same rate in the end have the same ways to go on.
    """
    numbers = {1.0: 1}
    for stage in stages:
        following: dict[float, int] = {}
        for ceiling, number in numbers.items():
            for top in stage.tops[: stage.num_within(ceiling)].tolist():
                rate = min(ceiling, top)
                following[rate] = following.get(rate, 0) + number
        numbers = following
    return sum(numbers.values())


def all_rates(stages: Sequence[StageCounts]) -> Floats:
    """(P, S) keep rates of every network once, in no particular order."""
    rates = np.ones((1, 0))
    ceilings = np.ones(1)
    for stage in stages:
        nums = np.searchsorted(stage.bottoms, ceilings, side="right")
        rows = np.repeat(np.arange(len(ceilings)), nums)
        firsts = np.repeat(np.cumsum(nums) - nums, nums)
        ceilings = np.minimum(ceilings[rows], stage.tops[np.arange(len(rows)) - firsts])
        rates = np.column_stack([rates[rows], ceilings])
    return rates


def base_rate_schedules(rates: Rates, geometry: TokenGeometry) -> tuple[PruningSchedule, ...]:
    """Every network of the schedules r, r^2, ... once: between two rates at which a count changes all are one."""
    changes = {rates.low, rates.high}
    for number, block in enumerate(rates.blocks, start=1):
        num_patches = geometry.levels[geometry.level_of(block)].num_patches
        changes |= {((count + 0.5) / num_patches) ** (1.0 / number) for count in range(1, num_patches)}
    inside = sorted(rate for rate in changes if rates.low <= rate <= rates.high)
    middles = (0.5 * (low + high) for low, high in pairwise(inside))
    schedules = [PruningSchedule.from_base_rate(rate, rates.blocks) for rate in (rates.low, *middles, rates.high)]
    return tuple({schedule.plan(geometry): schedule for schedule in schedules}.values())
