"""The latency that no trial may exceed, applied before a trial exists. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from latency_tables.predictor import Predictor
from latency_tables.table import LatencyTable
from search.latency_config import LatencyConfig
from search.records import Latency
from search.space import SearchSpace
from spvit.errors import NothingFeasibleError
from spvit.schedule import TokenPlan

Price = Callable[[TokenPlan], Latency]
"""What a network costs on the device, such as a latency table predicts it."""


def price_from(table: LatencyTable) -> Price:
    """What networks cost by a latency table."""
    predictor = Predictor(table)

    def price(plan: TokenPlan) -> Latency:
        estimate = predictor.predict(plan)
        return Latency(mean_ms=estimate.mean_ms, low_ms=estimate.low_ms, high_ms=estimate.high_ms)

    return price


@dataclass(frozen=True, kw_only=True, slots=True)
class LatencyBudget:
    """The most that one forward pass of a batch may take. `source` says where the figure comes from."""

    max_ms: float
    source: str

    def __post_init__(self) -> None:
        if not 0.0 < self.max_ms < float("inf"):
            raise ValueError(f"A latency budget must be a positive number of milliseconds, but got {self.max_ms}.")

    @classmethod
    def from_config(cls, config: LatencyConfig, dense: Latency) -> LatencyBudget:
        """The budget that a file sets; without one, a trial must at least not be slower than the dense model."""
        if config.max_latency_ms is not None:
            return cls(max_ms=config.max_latency_ms, source="latency.max_latency_ms")
        if config.max_latency_share is not None:
            source = f"latency.max_latency_share = {config.max_latency_share:g} of {dense.mean_ms:.3f} ms (dense)"
            return cls(max_ms=config.max_latency_share * dense.mean_ms, source=source)
        return cls(max_ms=dense.high_ms, source="the dense model's latency, as [latency] sets no budget")

    def admits(self, latency: Latency) -> bool:
        """Whether a network is within the budget even at the upper end of its predicted interval."""
        return latency.high_ms <= self.max_ms


def check_feasible(space: SearchSpace, price: Price, budget: LatencyBudget) -> None:
    """Refuses a search that could never start a trial.

    Raises:
        NothingFeasibleError: even with every keep rate at its lowest the budget is exceeded.
    """
    cheapest = min((price(space.network_of(trial)) for trial in space.fastest()), key=lambda cost: cost.high_ms)
    if budget.admits(cheapest):
        return
    raise NothingFeasibleError(
        f"no configuration of [search.space] is within {budget.max_ms:.3f} ms ({budget.source}): with every keep rate "
        f"at its lowest the model takes {cheapest.mean_ms:.3f} ms (at most {cheapest.high_ms:.3f} ms). Raise "
        f"latency.max_latency_ms or latency.max_latency_share, lower `low` of the keep rates in [search.space], or "
        f"put pruning.blocks earlier"
    )
