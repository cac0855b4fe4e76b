"""The latency that no trial may exceed, applied before a trial exists. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from latency_tables.predictor import Predictor
from latency_tables.table import LatencyTable
from search.latency_config import LatencyConfig
from search.records import Latency
from spvit.schedule import TokenPlan

Price = Callable[[TokenPlan], Latency]
"""What a network costs on the device, such as a latency table predicts it."""


MAX_REMEMBERED = 4096
"""Networks whose price is remembered. A proposal asks for about 2,000; all those of a thousand would take gigabytes."""


class RememberedPrice:
    """A price that is not asked for again for the latest networks; unlike `functools.cache`, it can be pickled."""

    def __init__(self, price: Price) -> None:
        self._price = price
        self._known: dict[TokenPlan, Latency] = {}

    def __call__(self, plan: TokenPlan) -> Latency:
        """What a network costs."""
        known = self._known.get(plan)
        if known is None:
            if len(self._known) >= MAX_REMEMBERED:
                self._known.clear()
            known = self._known[plan] = self._price(plan)
        return known


def price_from(table: LatencyTable) -> Price:
    """What networks cost by a latency table."""
    predictor = Predictor(table)

    def price(plan: TokenPlan) -> Latency:
        estimate = predictor.predict(plan)
        return Latency(mean_ms=estimate.mean_ms, low_ms=estimate.low_ms, high_ms=estimate.high_ms)

    return price


@dataclass(frozen=True, kw_only=True, slots=True)
class LatencyBudget:
    """The most that one forward pass of a batch may take. `source` says where the figure comes from.

    Attributes:
        max_ms: the cap of the search.
        source: the setting that it comes from.
        smaller_ms: further budgets for which the best trial is to be named, ascending; the cap covers them.
    """

    max_ms: float
    source: str
    smaller_ms: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not all(0.0 < limit_ms < float("inf") for limit_ms in self.all_ms):
            raise ValueError(f"A latency budget must be a positive number of milliseconds, but got {self.all_ms}.")
        if list(self.all_ms) != sorted(set(self.all_ms)):
            raise ValueError(f"Several latency budgets must ascend up to the largest, but got {self.all_ms}.")

    @classmethod
    def from_config(cls, config: LatencyConfig, dense: Latency) -> LatencyBudget:
        """The budget that a file sets; without one, a trial must at least not be slower than the dense model."""
        if config.max_latency_ms is not None:
            return cls.largest_of(config.max_latency_ms, source="latency.max_latency_ms")
        if config.max_latency_share is not None:
            *smaller, largest = _ascending(config.max_latency_share)
            return cls(
                max_ms=largest * dense.mean_ms,
                source=f"latency.max_latency_share = {largest:g} of {dense.mean_ms:.3f} ms (dense)",
                smaller_ms=tuple(share * dense.mean_ms for share in smaller),
            )
        return cls(max_ms=dense.high_ms, source="the dense model's latency, as [latency] sets no budget")

    @classmethod
    def largest_of(cls, limits_ms: float | Sequence[float], *, source: str) -> LatencyBudget:
        """The largest of one or several limits as the cap, with the others beside it."""
        *smaller, largest = _ascending(limits_ms)
        return cls(max_ms=largest, source=source, smaller_ms=tuple(smaller))

    @property
    def all_ms(self) -> tuple[float, ...]:
        """Every budget, ascending; the last one is the cap."""
        return (*self.smaller_ms, self.max_ms)

    @property
    def each(self) -> tuple[LatencyBudget, ...]:
        """The cap first, then every smaller budget by itself, from the largest to the smallest."""
        sources = (self.source, *[f"a smaller budget beside {self.source}"] * len(self.smaller_ms))
        limits = reversed(self.all_ms)
        return tuple(LatencyBudget(max_ms=ms, source=source) for ms, source in zip(limits, sources, strict=True))

    def admits(self, latency: Latency) -> bool:
        """Whether a network is within the budget even at the upper end of its predicted interval."""
        return latency.high_ms <= self.max_ms


def _ascending(limits: float | Sequence[float]) -> list[float]:
    return sorted(limits) if isinstance(limits, Sequence) else [limits]
