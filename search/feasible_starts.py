"""The starting points of a search that its budget admits."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import replace

from search.budget import LatencyBudget, Price
from search.search_config import SearchConfig
from search.space import SearchSpace
from search.starts import Start, enqueued_starts, named_starts
from search.warm_starts import Gauge
from spvit.schedule import PruningSchedule, TokenPlan

logger = logging.getLogger(__name__)


class FeasibleStarts:
    """Finds what is tried before the sampler is asked.

    Raises:
        ConfigError: a start of the user's lies outside of the space.
    """

    def __init__(self, space: SearchSpace, *, price: Price, budget: LatencyBudget, config: SearchConfig) -> None:
        self._space, self._price, self._budget = space, price, budget
        self._names = config.warm_starts or ()
        self._enqueued = enqueued_starts(config.enqueue, space)

    @property
    def num_enqueued(self) -> int:
        """How many the user named, feasible or not."""
        return len(self._enqueued)

    def enqueued(self) -> list[Start]:
        """The user's own that may be trained; says which may not."""
        return [start for start in self._enqueued if self._is_within_budget(start)]

    def named(self) -> list[Start]:
        """The warm starts of each budget, the largest first."""
        pruning = self._space.default.pruning

        def plan(schedule: PruningSchedule) -> TokenPlan:
            return schedule.plan(self._space.geometry, pruning.package, pruning.selector)

        return [start for budget in self._budget.each for start in self._named_within(budget, plan)]

    def _named_within(self, budget: LatencyBudget, plan: Callable[[PruningSchedule], TokenPlan]) -> Iterator[Start]:
        """Those of one budget; named after it where there are several."""
        gauge = Gauge(
            fits=lambda s: budget.admits(self._price(plan(s))),
            plan=plan,
            cost_ms=lambda s: self._price(plan(s)).mean_ms,
        )
        where = f" of {budget.max_ms:.3g} ms" if self._budget.smaller_ms else ""
        for start in named_starts(self._names, self._space, gauge):
            yield replace(start, label=start.label + where)

    def _is_within_budget(self, start: Start) -> bool:
        latency = self._price(self._space.network_of(self._space.trial_config(start.params)))
        if self._budget.admits(latency):
            return True
        logger.warning(
            "%s of [[search.enqueue]] is not trained: it takes up to %.3f ms, more than the budget of %.3f ms (%s)",
            start.label,
            latency.high_ms,
            self._budget.max_ms,
            self._budget.source,
        )
        return False
