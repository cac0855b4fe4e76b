"""What a search space can reach on a device: its cheapest network, and how much of it is within a budget."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from latency_tables.predictor import Predictor
from latency_tables.table import LatencyTable
from search.budget import Price
from search.networks import Floats, all_rates, base_rate_schedules, num_networks, stage_counts
from search.records import Latency
from search.space import SearchSpace
from spvit.plan_arrays import PlanArrays
from spvit.schedule import PackageMode, PruningSchedule, TokenPlan
from trainers.config import LossWeights, PruningConfig, TrainingConfig

MAX_LISTED = 3_000_000
"""Networks that are priced one and all: a second of work for a model of 12 blocks, and some 100 MB."""
MAX_PRICED_SINGLY = 20_000
CHUNK = 100_000
SETTINGS = frozenset({*LossWeights.model_fields, *TrainingConfig.model_fields, *PruningConfig.model_fields})


@dataclass(frozen=True, kw_only=True, slots=True)
class Cheapest:
    """The network with the lowest upper end of its predicted latency.

    `is_exact` is False where not every network was priced: then there may be a cheaper one.
    """

    plan: TokenPlan
    latency: Latency
    is_exact: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class NetworkCount:
    """How many schedules of different tokens a space holds, and how many forms of selectors each may have."""

    num_schedules: int
    num_forms: int

    @property
    def num_networks(self) -> int:
        """Both together."""
        return self.num_schedules * self.num_forms


def count_networks(space: SearchSpace) -> NetworkCount | None:
    """The exact number; None where the number or the places of selectors are explored as well."""
    if not _has_fixed_blocks(space):
        return None
    num_forms = len(_forms(space))
    if space.stage_rates is not None:
        stages = stage_counts(space.stage_rates, space.geometry)
        return NetworkCount(num_schedules=num_networks(stages), num_forms=num_forms)
    if space.base_rates is not None:
        num_schedules = len(base_rate_schedules(space.base_rates, space.geometry))
        return NetworkCount(num_schedules=num_schedules, num_forms=num_forms)
    return NetworkCount(num_schedules=1, num_forms=num_forms)


def cheapest(space: SearchSpace, price: Price, table: LatencyTable | None = None) -> Cheapest:
    """The cheapest network of a space.

    Latency is a staircase that falls in places, and a stage that drops nothing has no selector, so that the one with
    the fewest tokens need not be the cheapest: where they can be listed, all are priced.

    Args:
        space: the search space.
        price: what a network costs.
        table: the same prices for many networks at once; without it few are priced.
    """
    plans = [space.network_of(trial) for trial in space.fastest()]
    listed = _listed(space, MAX_PRICED_SINGLY if table is None else MAX_LISTED)
    for rates, blocks, pruning in listed or ():
        plans.append(_cheapest_of(rates, blocks, pruning, space=space, price=price, table=table))
    latency, plan = min(((price(plan), plan) for plan in plans), key=lambda priced: priced[0].high_ms)
    return Cheapest(plan=plan, latency=latency, is_exact=listed is not None)


Listed = tuple[Floats, tuple[int, ...], PruningConfig]


def _listed(space: SearchSpace, max_networks: int) -> list[Listed] | None:
    """Keep rates of every schedule, their blocks, and a form of selectors; None where there are too many."""
    count = count_networks(space)
    if count is None or count.num_networks > max_networks:
        return None
    if space.stage_rates is not None:
        blocks, rates = space.stage_rates.blocks, all_rates(stage_counts(space.stage_rates, space.geometry))
    elif space.base_rates is not None:
        schedules = base_rate_schedules(space.base_rates, space.geometry)
        blocks, rates = space.base_rates.blocks, np.array([schedule.keep_rates for schedule in schedules])
    else:
        return []
    return [(rates, blocks, form) for form in _forms(space)]


def _cheapest_of(
    rates: Floats,
    blocks: tuple[int, ...],
    pruning: PruningConfig,
    *,
    space: SearchSpace,
    price: Price,
    table: LatencyTable | None,
) -> TokenPlan:
    """The network of the row of rates whose upper end is the lowest."""
    plan = _planner(space, blocks, pruning)
    if table is None:
        return min((plan(row) for row in rates), key=lambda p: price(p).high_ms)
    predictor, best = Predictor(table), (float("inf"), 0)
    for start in range(0, len(rates), CHUNK):
        part = rates[start : start + CHUNK]
        arrays = PlanArrays.from_keep_rates(
            part, blocks, space.geometry, PackageMode(pruning.package), pruning.selector
        )
        high_ms = predictor.predict_arrays(arrays).high_ms
        best = min(best, (float(high_ms.min()), start + int(high_ms.argmin())))
    return plan(rates[best[1]])


def _planner(space: SearchSpace, blocks: tuple[int, ...], pruning: PruningConfig) -> Callable[[Floats], TokenPlan]:
    def plan(row: Floats) -> TokenPlan:
        schedule = PruningSchedule.from_keep_rates(row.tolist(), blocks)
        return schedule.plan(space.geometry, pruning.package, pruning.selector)

    return plan


def _forms(space: SearchSpace) -> list[PruningConfig]:
    """One for each form of selectors that may be chosen."""
    forms = {(trial.pruning.selector, trial.pruning.package): trial.pruning for trial in space.fastest()}
    return list(forms.values())


def _has_fixed_blocks(space: SearchSpace) -> bool:
    """Whether keep rates alone make up the schedule: no parameter says how many selectors there are, or where."""
    return not [name for name in space.names if name not in SETTINGS and not name.startswith(("keep", "base_keep"))]
