"""A drawn trial with every token that costs nothing (decisions 16 and 24)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from search.budget import LatencyBudget, Price
from search.space import SearchSpace
from search.staircase import Staircase, widen
from spvit.schedule import PruningSchedule, TokenPlan
from trainers.config import TrialConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class Widening:
    """Keeps as many tokens as cost no more than what was drawn, where stage keep rates are explored and it is wanted.

    Attributes:
        space: that trials are drawn from.
        price: what networks cost.
        budget: that a snapped schedule must still keep.
        staircase: where latency has steps; None where it is not known.
        is_wanted: `search.widen`.
    """

    space: SearchSpace
    price: Price
    budget: LatencyBudget
    staircase: Staircase | None
    is_wanted: bool

    def __call__(self, config: TrialConfig) -> TrialConfig:
        """The widened trial, or the trial itself."""
        if self.space.stage_rates is None or not self.is_wanted:
            return config
        pruning, geometry = config.pruning, self.space.geometry

        def plan(schedule: PruningSchedule) -> TokenPlan:
            return schedule.plan(geometry, pruning.package, pruning.selector)

        schedule = widen(
            pruning.schedule,
            num_patches=[geometry.levels[geometry.level_of(block)].num_patches for block in pruning.schedule.blocks],
            plan=plan,
            cost=lambda plan: self.price(plan).high_ms,  # what the budget is held against
        )
        schedule = self._snapped(schedule, plan)
        return config.model_copy(update={"pruning": pruning.model_copy(update={"schedule": schedule})})

    def _snapped(self, schedule: PruningSchedule, plan: Callable[[PruningSchedule], TokenPlan]) -> PruningSchedule:
        """The schedule at the right edges of its plateaus, unless what calls them level, noise, exceeds the budget."""
        if self.staircase is None:
            return schedule
        snapped = self.staircase.snapped(schedule, plan)
        return snapped if self.budget.admits(self.price(plan(snapped))) else schedule
