"""Refuses, before anything is trained, a search that nothing can meet the budget of, and says what to relax."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

from latency_tables.table import LatencyTable
from search.budget import LatencyBudget, Price
from search.reach import Cheapest, cheapest
from search.space import SearchSpace
from search.warm_starts import Rates
from spvit.errors import LatencyTableError, NothingFeasibleError
from spvit.schedule import PruningSchedule

LOWEST = 1e-6
"""A keep rate at which every stage keeps one patch."""


def check_feasible(space: SearchSpace, price: Price, budget: LatencyBudget, table: LatencyTable | None = None) -> None:
    """Refuses a search that could never start a trial, or never meet one of its budgets.

    Args:
        space: the search space.
        price: what a network costs.
        budget: the cap, with smaller budgets beside it.
        table: the same prices for many networks at once, to find the cheapest of them all.

    Raises:
        NothingFeasibleError: naming the cheapest network and the settings that hold it up.
    """
    tightest = budget.each[-1]
    fewest = (price(space.network_of(trial)) for trial in space.fastest())
    if any(tightest.admits(latency) for latency in fewest):
        return
    found = cheapest(space, price, table)
    if not tightest.admits(found.latency):
        raise NothingFeasibleError(_refusal(space, price, tightest, found))


def _refusal(space: SearchSpace, price: Price, budget: LatencyBudget, found: Cheapest) -> str:
    latency = found.latency
    which = "the cheapest network" if found.is_exact else "the cheapest network that was found"
    tokens = " ".join(str(count) for count in dict.fromkeys(found.plan.block_tokens))
    least_ms = math.ceil(1000 * latency.high_ms) / 1000
    advice = [
        f"raise the budget to {least_ms:.3f} ms or more (latency.max_latency_ms or latency.max_latency_share)",
        *_relaxations(space, price, budget),
    ]
    return (
        f"no configuration of [search.space] is within {budget.max_ms:.3f} ms ({budget.source}): {which} ({tokens} "
        f"tokens) takes {latency.mean_ms:.3f} ms (at most {latency.high_ms:.3f} ms). Either " + ", or ".join(advice)
    )


def _relaxations(space: SearchSpace, price: Price, budget: LatencyBudget) -> Iterator[str]:
    """Other settings that are enough: each by itself, or else both together."""
    rates = space.stage_rates or space.base_rates
    if rates is None:
        yield "explore search.space.stage_keep_rates, as nothing that changes latency is explored"
        return
    key = f"search.space.{'stage_keep_rates' if space.stage_rates is not None else 'base_keep_rate'}.low"
    earliest = replace(rates, blocks=_earliest(rates, space))
    single = {f"lower {key}": replace(rates, low=LOWEST), "put pruning.blocks earlier": earliest}
    both = {f"lower {key} and put pruning.blocks earlier": replace(earliest, low=LOWEST)}
    reached = {text: _fewest(space, price, other) for text, other in (single | both).items()}
    for tried in (single, both):
        if enough := [text for text in tried if reached[text] <= budget.max_ms]:
            yield from (f"{text} (which reaches {reached[text]:.3f} ms)" for text in enough)
            return
    yield f"take another model, as one patch from the second block on takes {min(reached.values()):.3f} ms"


def _earliest(rates: Rates, space: SearchSpace) -> tuple[int, ...]:
    """As many selectors as there are, from the second block on, which is the first that has attention to go by."""
    first = min(1, space.geometry.depth - 1)
    last = space.geometry.depth - 1
    return tuple(dict.fromkeys(min(first + number, last) for number in range(len(rates.blocks))))


def _fewest(space: SearchSpace, price: Price, rates: Rates) -> float:
    """Upper end of the network with the fewest tokens that such rates allow; infinite where no table prices it."""
    schedule = PruningSchedule.from_keep_rates([rates.low] * len(rates.blocks), rates.blocks)
    forms = (trial.pruning for trial in space.fastest())
    try:
        return min(price(schedule.plan(space.geometry, form.package, form.selector)).high_ms for form in forms)
    except LatencyTableError:
        return math.inf
