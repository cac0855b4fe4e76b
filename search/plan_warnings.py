"""What the numbers of a plan say against its settings. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from search.config import ExperimentConfig
from search.forecast import Forecast
from search.plan import Reach

RARE = 0.002
"""Feasible share below which random draws may find nothing; see `search.proposer`."""


def number_warnings(experiment: ExperimentConfig, reach: Reach, foreseen: Forecast) -> Iterator[str]:
    """What the numbers say against the settings."""
    rare = [budget for budget in reach.budgets if budget.feasible.high < RARE]
    for budget in rare:
        yield (
            f"only {100 * budget.feasible.high:.2f} % of the space at most are within {budget.max_latency_ms:.3f} ms: "
            f"samplers other than known_latency will hardly draw any; lower `high` in [search.space]"
        )
    if reach.cheapest.latency.high_ms <= reach.dense.high_ms <= reach.budgets[-1].max_latency_ms:
        yield "the budget excludes nothing, as the dense model is within it: lower it if a faster model is wanted"
    limit_s = experiment.search.max_wall_time_s
    if limit_s is not None and limit_s < 3600.0 * foreseen.hours.low:
        yield f"search.max_wall_time_s = {limit_s:g} ends the search before its trials: they take longer in any case"
    num_trials = experiment.search.num_schedules
    if not _settings(experiment) and reach.count is not None and reach.count.num_networks < num_trials:
        yield f"there are only {reach.count.num_networks} networks for search.num_trials = {num_trials}"


def _settings(experiment: ExperimentConfig) -> bool:
    """Whether anything beside the network is explored."""
    return bool(experiment.search.space.losses or experiment.search.space.training)
