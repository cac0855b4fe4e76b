"""What an elastic trial is worth: the front of the schedules that it evaluated, within the budget. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from search.budget import LatencyBudget
from search.pareto import ParetoPoint, best_under, hypervolume
from search.records import Latency, Origin, TrialRecord, TrialState
from spvit.schedule import PruningSchedule
from trainers.metrics import PricedSchedule

ELASTIC_METRIC = "elastic/"
"""What metrics of an elastic trial's front begin with."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ElasticFront:
    """Schedules that were evaluated with the same weights, at their predicted latencies.

    Attributes:
        priced: the schedules that a budget admits; `cost` is their predicted mean, in milliseconds.
        high_ms: the upper end of each prediction, by which budgets judge.
        lowest_ms: the latency of the fastest schedule that there is.
        budget: the cap, with the smaller budgets.
    """

    priced: tuple[PricedSchedule, ...]
    high_ms: tuple[float, ...]
    lowest_ms: float
    budget: LatencyBudget

    @property
    def mean_top1(self) -> float:
        """Accuracy (percent) of the best schedule within a budget, the mean over all budgets from the lowest on.

        That is the hypervolume of the front over 0 % at the cap, as a share of the range of latencies.
        """
        points = self._points([each.cost for each in self.priced])
        span_ms = max(self.budget.max_ms - self.lowest_ms, 1e-9)
        return hypervolume(points, min_top1=0.0, max_latency_ms=self.budget.max_ms) / span_ms

    def top1_within(self, max_latency_ms: float) -> float | None:
        """Accuracy (percent) of the best schedule within a budget; None where there is none."""
        best = best_under(self._points(self.high_ms), max_latency_ms)
        return None if best is None else best.top1

    def metrics(self) -> dict[str, float]:
        """The front in numbers: its mean accuracy, and the accuracy within each budget, in percent."""
        within = {limit_ms: self.top1_within(limit_ms) for limit_ms in self.budget.all_ms}
        values = {f"{ELASTIC_METRIC}top1_within_{ms:.4g}_ms": top1 for ms, top1 in within.items() if top1 is not None}
        return values | {f"{ELASTIC_METRIC}mean_top1": self.mean_top1}

    def _points(self, latencies_ms: Sequence[float]) -> list[ParetoPoint]:
        return [
            ParetoPoint(number=number, top1=each.top1, latency_ms=latency_ms)
            for number, (each, latency_ms) in enumerate(zip(self.priced, latencies_ms, strict=True))
            if each.top1 is not None
        ]


def front_of(
    priced: Sequence[PricedSchedule],
    *,
    latency: Callable[[PruningSchedule], Latency],
    budget: LatencyBudget,
    lowest_ms: float,
) -> ElasticFront:
    """The front of what an elastic trial evaluated, priced as everything else in the search is."""
    found = [(each, latency(each.schedule)) for each in priced]
    within = [(each, predicted) for each, predicted in found if budget.admits(predicted)]
    return ElasticFront(
        priced=tuple(replace(each, cost=predicted.mean_ms) for each, predicted in within),
        high_ms=tuple(predicted.high_ms for _, predicted in within),
        lowest_ms=lowest_ms,
        budget=budget,
    )


def complete_elastic(trials: Iterable[TrialRecord]) -> tuple[TrialRecord, ...]:
    """The elastic trials that were trained to the end and priced schedules."""
    return tuple(t for t in trials if t.origin is Origin.ELASTIC and t.state is TrialState.COMPLETE and t.priced)


def best_elastic(trials: Iterable[TrialRecord]) -> TrialRecord | None:
    """The complete elastic trial of the best front, the earliest of equals; None where there is none."""
    return max(complete_elastic(trials), key=lambda trial: (trial.top1 or 0.0, -trial.number), default=None)
