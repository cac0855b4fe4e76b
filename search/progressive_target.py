"""What a progressive insertion aims at: a model, what it costs, and the latency limit. No torch."""

from __future__ import annotations

from dataclasses import dataclass

from latency_tables.table import LatencyTable
from search.budget import LatencyBudget, Price, price_from
from search.config import ExperimentConfig
from search.progressive_config import ProgressiveConfig
from search.progressive_stages import falling_rates, lowered
from search.records import Latency
from spvit.errors import ConfigError, NothingFeasibleError, UnsupportedModelError
from spvit.options import SelectorKind
from spvit.schedule import PackageMode, PruningSchedule, TokenGeometry, TokenPlan


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """What is pruned, what it costs, and how little it has to."""

    geometry: TokenGeometry
    package: PackageMode
    selector: SelectorKind
    price: Price
    budget: LatencyBudget

    def plan(self, schedule: PruningSchedule) -> TokenPlan:
        """The schedule in integer token counts, by the kind of selector that is to be priced."""
        return schedule.plan(self.geometry, self.package, self.selector)

    def latency(self, schedule: PruningSchedule) -> Latency:
        """What the schedule is predicted to cost."""
        return self.price(self.plan(schedule))

    def admits(self, schedule: PruningSchedule) -> bool:
        """Whether the schedule is within the budget, even at the upper end of its interval."""
        return self.budget.admits(self.latency(schedule))


def make_target(experiment: ExperimentConfig, table: LatencyTable) -> Target:
    """What an experiment's progressive insertion aims at.

    Raises:
        ConfigError: there is no budget, nothing to prune, or no block for a selector.
        UnsupportedModelError: the backbone pools its patches.
        NothingFeasibleError: even the fastest schedule exceeds the budget.
    """
    latency, options, depth = experiment.latency, experiment.progressive, table.geometry.depth
    if latency.max_latency_ms is None and latency.max_latency_share is None:
        raise ConfigError(
            "progressive insertion prunes until a latency limit holds: set latency.max_latency_ms or "
            "latency.max_latency_share."
        )
    num_levels = len(table.geometry.levels)
    if num_levels > 1:
        raise UnsupportedModelError(
            f"progressive insertion needs a backbone whose selectors act to its end, but {experiment.model.name} pools "
            f"its patches between {num_levels} levels, where dropped ones come back. Use `spvit-search run`."
        )
    if first_block(options, depth) >= depth:
        raise ConfigError(f"progressive.first_block must lie in 0 to {depth - 1}, but got {options.first_block}.")
    price = price_from(table)
    dense = price(PruningSchedule().plan(table.geometry))
    target = Target(
        geometry=table.geometry,
        package=experiment.pruning.package,
        selector=experiment.pruning.selector,
        price=price,
        budget=LatencyBudget.from_config(latency, dense),
    )
    _check_reachable(options, target, dense)
    return target


def first_block(options: ProgressiveConfig, depth: int) -> int:
    """The first block that may get a selector; pruning before a quarter of the depth costs the most accuracy."""
    return depth // 4 if options.first_block is None else options.first_block


def is_reachable(options: ProgressiveConfig, target: Target) -> bool:
    """Whether one selector, as far forward as allowed, can meet the budget at any rate, whatever accuracy says."""
    block = first_block(options, target.geometry.depth)
    rates = falling_rates(1.0, step=options.keep_rate_step, lowest=options.lowest_keep_rate)
    return any(target.admits(lowered(PruningSchedule(), block, rate)) for rate in rates)


def _check_reachable(options: ProgressiveConfig, target: Target, dense: Latency) -> None:
    budget = target.budget
    if budget.admits(dense):
        raise ConfigError(
            f"nothing to prune: the dense model takes {dense.mean_ms:.3f} ms (at most {dense.high_ms:.3f} ms), within "
            f"{budget.max_ms:.3f} ms ({budget.source}). Lower the budget."
        )
    if not is_reachable(options, target):
        raise NothingFeasibleError(
            f"no keep rate down to progressive.lowest_keep_rate = {options.lowest_keep_rate:g} from block "
            f"{first_block(options, target.geometry.depth)} on is within {budget.max_ms:.3f} ms ({budget.source}). "
            f"Raise the budget, lower progressive.lowest_keep_rate, or set progressive.first_block further forward"
        )
