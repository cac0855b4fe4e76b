"""Compares simulated searches by what they have found after as many epochs. Pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from search.pareto import ParetoPoint, hypervolume
from search.recorded import RecordedTrial
from search.records import TrialState
from search.search_config import PrunerName, SamplerName
from search.simulation import SimulatedSearch

TOP1_QUANTILE = 0.1
"""Of the recorded configurations within the budget: less accurate ones count nothing, so that hypervolume is not all
the area below accuracies that everybody reaches."""
SECONDS_PER_HOUR = 3600.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Scale:
    """What hypervolumes are measured by: the reference point, and what a search that trains everything gets."""

    min_top1: float
    max_latency_ms: float
    full: float

    @classmethod
    def of(cls, feasible: Sequence[RecordedTrial], max_latency_ms: float) -> Scale:
        """The scale of everything that was recorded within a budget."""
        min_top1 = float(np.quantile([trial.top1 for trial in feasible], TOP1_QUANTILE))
        points = [ParetoPoint(number=t.number, top1=t.top1, latency_ms=t.latency.mean_ms) for t in feasible]
        full = hypervolume(points, min_top1=min_top1, max_latency_ms=max_latency_ms)
        return cls(min_top1=min_top1, max_latency_ms=max_latency_ms, full=full)

    def share(self, points: Iterable[ParetoPoint]) -> float:
        """Hypervolume of points as a share of the full one; 1 where there is nothing to gain."""
        if self.full == 0.0:
            return 1.0
        return hypervolume(points, min_top1=self.min_top1, max_latency_ms=self.max_latency_ms) / self.full


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """What a search had found when a trial was trained to the end, and what all trials together had cost by then."""

    num_epochs: int
    seconds: float
    share: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Trace:
    """How one search went on."""

    seed: int
    num_epochs: int
    seconds: float
    steps: tuple[Progress, ...]

    @classmethod
    def of(cls, search: SimulatedSearch, scale: Scale) -> Trace:
        """The hypervolume after each trial that was trained to the end; stopped ones have no final accuracy."""
        points: list[ParetoPoint] = []
        steps = []
        for trial in search.trials:
            if trial.state is TrialState.COMPLETE and trial.top1 is not None:
                points.append(ParetoPoint(number=trial.number, top1=trial.top1, latency_ms=trial.latency_ms))
                share = scale.share(points)
                steps.append(Progress(num_epochs=trial.num_epochs_so_far, seconds=trial.ended_s, share=share))
        return cls(seed=search.seed, num_epochs=search.num_epochs, seconds=search.seconds, steps=tuple(steps))

    def share_at(self, num_epochs: int) -> float:
        """Share of the full hypervolume after as many epochs."""
        return max((step.share for step in self.steps if step.num_epochs <= num_epochs), default=0.0)

    def epochs_to(self, share: float) -> float:
        """Epochs until a share of the full hypervolume was found; infinite if it never was."""
        return min((step.num_epochs for step in self.steps if step.share >= share), default=math.inf)

    def hours_to(self, share: float) -> float:
        """The same in simulated hours."""
        seconds = min((step.seconds for step in self.steps if step.share >= share), default=math.inf)
        return seconds / SECONDS_PER_HOUR


@dataclass(frozen=True, kw_only=True, slots=True)
class Arm:
    """One sampler with one pruner, over all seeds."""

    sampler: SamplerName
    pruner: PrunerName
    traces: tuple[Trace, ...]

    @property
    def mean_epochs(self) -> float:
        """Epochs of a whole search."""
        return statistics.fmean(trace.num_epochs for trace in self.traces)

    def mean_share_at(self, num_epochs: int) -> float:
        """Mean share of the full hypervolume after as many epochs."""
        return statistics.fmean(trace.share_at(num_epochs) for trace in self.traces)

    def median_epochs_to(self, share: float) -> float:
        """Median of the epochs to a share; infinite if half of the searches did not get there."""
        return statistics.median_high([trace.epochs_to(share) for trace in self.traces])

    def median_hours_to(self, share: float) -> float:
        """The same in simulated hours."""
        return statistics.median_high([trace.hours_to(share) for trace in self.traces])

    def num_reached(self, share: float) -> int:
        """Searches that got there."""
        return sum(math.isfinite(trace.epochs_to(share)) for trace in self.traces)

    def saving_over(self, other: Arm, share: float) -> float | None:
        """How many times as many epochs the other arm took to a share: the median over pairs of equal seeds.

        None if no pair of searches both got there.
        """
        pairs = [(a.epochs_to(share), b.epochs_to(share)) for a, b in zip(self.traces, other.traces, strict=True)]
        ratios = [theirs / ours for ours, theirs in pairs if math.isfinite(ours) and math.isfinite(theirs)]
        return statistics.median(ratios) if ratios else None
