"""What `elastic.py` says of its results: rankings, accuracies and costs. Pure; reads whatever there is so far."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from bars import Bar
from scipy.stats import kendalltau, rankdata

INDIVIDUAL, ELASTIC, SPECIALISED = "individual", "elastic", "specialised"
KINDS = (INDIVIDUAL, ELASTIC, SPECIALISED)
MIN_SCHEDULES = 4
"""A rank correlation of fewer says nothing."""

KeepRates = tuple[float, ...]
ByRates = Mapping[KeepRates, float]


@dataclass(frozen=True, kw_only=True)
class Result:
    """One schedule in one training. Top-1 in percent; CPU seconds, of an elastic training this schedule's share."""

    kind: str
    seed: int
    keep_rates: KeepRates
    identity: str
    macs: int
    top1: float
    cpu_s: float


class Table:
    """Top-1 by kind, seed and schedule, of the schedules that have every kind at least once."""

    def __init__(self, results: Sequence[Result]) -> None:
        self.results = results
        per_kind = [{r.keep_rates for r in results if r.kind == kind} for kind in KINDS]
        both = set.intersection(*per_kind)
        self.macs = {r.keep_rates: float(r.macs) for r in results if r.keep_rates in both}
        self.schedules = sorted(both, key=self.macs.__getitem__)

    def seeds(self, kind: str) -> list[int]:
        """Seeds that have every schedule of the table."""
        seeds = sorted({r.seed for r in self.results if r.kind == kind})
        return [seed for seed in seeds if set(self.of_seed(kind, seed)) >= set(self.schedules)]

    def of_seed(self, kind: str, seed: int) -> ByRates:
        """Top-1 of each schedule."""
        return {r.keep_rates: r.top1 for r in self.results if (r.kind, r.seed) == (kind, seed)}

    def mean(self, kind: str, *, without: int | None = None) -> ByRates:
        """Mean over seeds, as many as a schedule has; one may be left out."""
        found: dict[KeepRates, list[float]] = {}
        for r in self.results:
            if r.kind == kind and r.seed != without:
                found.setdefault(r.keep_rates, []).append(r.top1)
        return {rates: statistics.fmean(values) for rates, values in found.items()}

    def tau(self, one: ByRates, other: ByRates) -> float:
        """Kendall's tau over the schedules."""
        return float(kendalltau(self._values(one), self._values(other)).statistic)

    def beyond_macs(self, one: ByRates, other: ByRates) -> float:
        """Correlation of ranks of which those of the MACs are removed by a straight line each."""
        macs = rankdata(self._values(self.macs))
        rest = [_residuals(rankdata(self._values(values)), macs) for values in (one, other)]
        return float(np.corrcoef(*rest)[0, 1])

    def seed_agreement(self, kind: str) -> list[tuple[float, float]]:
        """Tau and correlation beyond MACs of each seed to the mean of the others."""
        seeds = self.seeds(kind)
        if len(seeds) < 2:
            return []
        pairs = [(self.of_seed(kind, seed), self.mean(kind, without=seed)) for seed in seeds]
        return [(self.tau(*pair), self.beyond_macs(*pair)) for pair in pairs]

    def estimates(self, truth: str) -> list[tuple[float, float]]:
        """The same of each seed's elastic estimate to the mean of a ground truth."""
        means = self.mean(truth)
        ours = [self.of_seed(ELASTIC, seed) for seed in self.seeds(ELASTIC)]
        return [(self.tau(one, means), self.beyond_macs(one, means)) for one in ours]

    def _values(self, by_rates: ByRates) -> list[float]:
        return [by_rates[rates] for rates in self.schedules]


def print_report(results: Sequence[Result], *, num_schedules: int, num_seeds: int) -> None:
    """Accuracies by schedule, rankings, costs; says what is still missing."""
    table = Table(results)
    print(f"\n{len(table.schedules)} of {num_schedules} schedules have all of it", end="; seeds that are complete: ")
    print(", ".join(f"{kind} {len(table.seeds(kind))} of {num_seeds}" for kind in KINDS))
    if len(table.schedules) < MIN_SCHEDULES:
        return
    _print_accuracies(table)
    _print_rankings(table)
    for kind in KINDS:
        costs = [r.cpu_s for r in results if r.kind == kind]
        print(f"CPU seconds for each schedule, {kind:12} {statistics.fmean(costs):6.1f} (of {len(costs)} results)")


def _print_accuracies(table: Table) -> None:
    means = {kind: table.mean(kind) for kind in KINDS}
    print(f"{'keep rates':24}{'MMACs':>7}" + "".join(f"{kind:>13}" for kind in KINDS))
    for rates in table.schedules:
        print(f"{rates!s:24}{table.macs[rates] / 1e6:7.1f}" + "".join(f"{means[kind][rates]:13.2f}" for kind in KINDS))
    rows = {kind: [means[kind][rates] for rates in table.schedules] for kind in KINDS}
    print(f"{'mean':31}" + "".join(f"{statistics.fmean(rows[kind]):13.2f}" for kind in KINDS))


def _print_rankings(table: Table) -> None:
    print(f"\n{'':46}{'tau':>6} {'beyond MACs':>12}")
    for truth in (INDIVIDUAL, SPECIALISED):
        means = table.mean(truth)
        print(f"{'MACs to ' + truth:46}{table.tau(table.macs, means):6.3f}")
        for name, pairs in (
            (f"elastic estimate to {truth}", table.estimates(truth)),
            (f"one {truth} seed to the mean of the others", table.seed_agreement(truth)),
        ):
            if pairs:
                tau, beyond = np.mean(pairs, axis=0)
                print(f"{name:46}{tau:6.3f} {beyond:12.3f}   ({len(pairs)} seeds)")


def bars_of(results: Sequence[Result]) -> list[Bar]:
    """What elastic training must reach; those bars of which there is enough to tell."""
    table = Table(results)
    if len(table.schedules) < MIN_SCHEDULES:
        return []
    bars = []
    if ours := table.estimates(SPECIALISED):
        bars.append(Bar(name="tau of the elastic estimate to specialised", value=_first(ours), target=0.85))
    seeds, ours = table.seed_agreement(INDIVIDUAL), table.estimates(INDIVIDUAL)
    if seeds and ours:
        bars.append(Bar(name="the same to individual, at least a seed's", value=_first(ours), target=_first(seeds)))
    individual, specialised = table.mean(INDIVIDUAL), table.mean(SPECIALISED)
    better = [specialised[rates] >= individual[rates] for rates in table.schedules]
    bars.append(Bar(name="share of schedules better specialised", value=float(np.mean(better)), target=0.8))
    lowest = table.schedules[: max(1, len(better) // 4)]
    gain = statistics.fmean(specialised[rates] - individual[rates] for rates in lowest)
    bars.append(Bar(name="points gained on the cheapest quarter", value=gain, target=0.0))
    return bars


def _first(pairs: Sequence[tuple[float, float]]) -> float:
    return statistics.fmean(tau for tau, _ in pairs)


def _residuals(values: np.ndarray, regressor: np.ndarray) -> np.ndarray:
    slope, offset = np.polyfit(regressor, values, 1)
    return values - (slope * regressor + offset)
