"""Schedules drawn so that their costs are spread evenly: a cost first, then a schedule that costs as much.

Keep rates drawn evenly have costs that crowd in the middle. Of three sorted rates drawn from .1 to 1 on a 6-block
model, one schedule in 300 lies in the cheapest tenth of the costs: a training that draws so hardly meets it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations, islice

import numpy as np
from numpy.typing import NDArray

from spvit.errors import ConfigError
from spvit.schedule import PruningSchedule, TokenGeometry
from trainers.elastic_config import ElasticConfig
from trainers.schedule_prices import SchedulePrice

Rates = NDArray[np.float64]
Blocks = tuple[int, ...]

MAX_SETS = 2000
"""Sets of blocks that are priced to find the range of costs; of more, the first so many."""
MAX_TRIES = 100
NUM_HALVINGS = 12


@dataclass(frozen=True, kw_only=True, slots=True)
class ScheduleSpace:
    """Which schedules may be drawn: some of these blocks, in order, with keep rates that never rise.

    Attributes:
        blocks: before which there are selectors, in rising order.
        num_selectors: fewest and most of a schedule.
        keep_rates: lowest and highest of a stage.
        block_sets: the sets of blocks that a schedule may stand before; all of these sizes where empty.
        is_geometric: stages keep r, r^2, r^3 for an r within `keep_rates`, the first stage's.
    """

    blocks: Blocks
    num_selectors: tuple[int, int]
    keep_rates: tuple[float, float]
    block_sets: tuple[Blocks, ...] = ()
    is_geometric: bool = False

    def __post_init__(self) -> None:
        fewest, most = self.num_selectors
        if not 1 <= fewest <= most <= len(self.blocks):
            raise ValueError(f"Schedules need 1 to {len(self.blocks)} selectors, fewest first, but got {self}.")
        low, high = self.keep_rates
        if not 0.0 < low < high <= 1.0:
            raise ValueError(f"Keep rates need 0 < lowest < highest <= 1, but got {self}.")

    @classmethod
    def from_config(cls, elastic: ElasticConfig, schedule: PruningSchedule, geometry: TokenGeometry) -> ScheduleSpace:
        """The space of a trial, whose schedule has a stage wherever a selector may stand.

        Raises:
            ConfigError: a stage of the schedule drops nothing, so that it has no selector; or fewer stages than
                selectors asked for.
        """
        blocks, selections = schedule.blocks, schedule.plan(geometry).selections
        if not blocks or len(selections) < len(blocks):
            raise ConfigError(
                "An elastic trial needs a schedule of which every stage drops a token, as that is where its selectors "
                f"stand, but {list(schedule.keep_rates)} before blocks {list(blocks)} has {len(selections)} such "
                "stages. Lower pruning.base_keep_rate, or leave out a block."
            )
        unknown = sorted({block for chosen in elastic.block_sets for block in chosen} - set(blocks))
        if unknown:
            raise ConfigError(
                f"elastic.block_sets may name blocks {list(blocks)} of the trial's schedule, but got {unknown}."
            )
        fewest, most = elastic.min_selectors or len(blocks), elastic.max_selectors or len(blocks)
        if max(fewest, most) > len(blocks) or fewest > most:
            raise ConfigError(
                f"elastic.min_selectors = {fewest} and max_selectors = {most} must be in order and at most the number "
                f"of stages, which is {len(blocks)}. Name more blocks in pruning.blocks."
            )
        return cls(
            blocks=blocks,
            num_selectors=(fewest, most),
            keep_rates=(elastic.lowest_keep_rate, elastic.highest_keep_rate),
            block_sets=elastic.block_sets,
            is_geometric=elastic.is_geometric,
        )

    def all_sets(self) -> tuple[Blocks, ...]:
        """The sets that a schedule may stand before, at most `MAX_SETS` of each size."""
        fewest, most = self.num_selectors
        return self.block_sets or sets_of_blocks(self.blocks, range(fewest, most + 1))

    def draw_blocks(self, rng: np.random.Generator) -> Blocks:
        """A set that a schedule may stand before, each number of selectors as often."""
        if self.block_sets:
            sizes = sorted({len(chosen) for chosen in self.block_sets})
            size = sizes[int(rng.integers(len(sizes)))]
            alike = [chosen for chosen in self.block_sets if len(chosen) == size]
            return alike[int(rng.integers(len(alike)))]
        fewest, most = self.num_selectors
        num = int(rng.integers(fewest, most + 1))
        return tuple(sorted(rng.choice(self.blocks, num, replace=False).tolist()))

    def level(self, keep_rate: float, num_stages: int) -> Rates:
        """What each of so many stages keeps where all keep alike."""
        stages = np.arange(1, num_stages + 1) if self.is_geometric else np.ones(num_stages)
        return np.asarray(keep_rate**stages, dtype=np.float64)


def sets_of_blocks(blocks: Sequence[int], sizes: Iterable[int]) -> tuple[Blocks, ...]:
    """All subsets of these sizes, at most `MAX_SETS` of each."""
    return tuple(chosen for size in sizes for chosen in islice(combinations(blocks, size), MAX_SETS))


class ScheduleSampler:
    """Draws schedules of a space whose costs are uniform over the range that the space has.

    Args:
        space: what may be drawn.
        price: of a schedule.
        max_price: nothing that costs more is drawn.

    Raises:
        ConfigError: everything in the space costs more than that.
    """

    def __init__(self, space: ScheduleSpace, price: SchedulePrice, *, max_price: float | None = None) -> None:
        self.space, self.price = space, price
        low, high = space.keep_rates
        sets = space.all_sets()
        self.lowest = min(self._end(low, blocks) for blocks in sets)
        highest = max(self._end(high, blocks) for blocks in sets)
        self.highest = highest if max_price is None else min(highest, max_price)
        if self.highest <= self.lowest:
            raise ConfigError(
                f"Elastic training has nothing to draw: the cheapest schedule costs {self.lowest:g}, the dearest that "
                f"may be drawn {self.highest:g}. Lower elastic.lowest_keep_rate or raise elastic.max_cost_share."
            )

    def draw(self, rng: np.random.Generator) -> PruningSchedule:
        """A schedule, a function of the generator's state alone."""
        return self.draw_near(float(rng.uniform(self.lowest, self.highest)), rng)

    def draw_near(self, target: float, rng: np.random.Generator) -> PruningSchedule:
        """A schedule at random among those that cost about as much: within what one token more or less makes.

        Rates are drawn evenly, and moved towards the lowest or the highest ones, all in proportion, until the cost is
        met. Blocks at which it cannot be met are drawn anew.
        """
        low, high = self.space.keep_rates
        blocks = self.space.draw_blocks(rng)
        for _ in range(MAX_TRIES):
            if self._end(low, blocks) <= target <= self._end(high, blocks):
                break
            blocks = self.space.draw_blocks(rng)
        return self._met(target, np.sort(rng.uniform(low, high, len(blocks)))[::-1], blocks)

    def spread(self, num: int, rng: np.random.Generator) -> tuple[PruningSchedule, ...]:
        """Schedules at evenly spaced costs, both ends included, the cheapest first."""
        return tuple(self.draw_near(float(target), rng) for target in np.linspace(self.lowest, self.highest, num))

    def _met(self, target: float, drawn: Rates, blocks: Blocks) -> PruningSchedule:
        """The schedule on the way from the lowest rates over the drawn ones to the highest that costs the target."""
        below, above = 0.0, 1.0
        for _ in range(NUM_HALVINGS):
            middle = (below + above) / 2.0
            if self._price_of(self._on_the_way(middle, drawn), blocks) < target:
                below = middle
            else:
                above = middle
        rates = self._on_the_way((below + above) / 2.0, drawn)
        return PruningSchedule.from_keep_rates(rates.tolist(), blocks)

    def _on_the_way(self, share: float, drawn: Rates) -> Rates:
        low, high = self.space.keep_rates
        if self.space.is_geometric:  # there is but one way
            return self.space.level(low + share * (high - low), len(drawn))
        start, end = (low, drawn) if share <= 0.5 else (drawn, high)
        part = 2.0 * share if share <= 0.5 else 2.0 * share - 1.0
        return np.clip(start + part * (end - start), low, high)

    def _end(self, keep_rate: float, blocks: Blocks) -> float:
        """The price where every stage keeps as much."""
        return self._price_of(self.space.level(keep_rate, len(blocks)), blocks)

    def _price_of(self, rates: Sequence[float] | Rates, blocks: Blocks) -> float:
        return self.price(PruningSchedule.from_keep_rates([float(rate) for rate in rates], blocks))
