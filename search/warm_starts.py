"""Where a search starts before it knows anything: schedules that use the budget up."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random

from spvit.schedule import PruningSchedule, TokenPlan

NUM_DRAWS = 2000
NUM_BISECTIONS = 20

Fits = Callable[[PruningSchedule], bool]


@dataclass(frozen=True, kw_only=True, slots=True)
class WarmStart:
    """A schedule to try first, and what it is called."""

    schedule: PruningSchedule
    label: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Rates:
    """The cumulative keep rates a search may use, before which blocks."""

    blocks: tuple[int, ...]
    low: float
    high: float


def warm_starts(rates: Rates, *, fits: Fits, plan: Callable[[PruningSchedule], TokenPlan]) -> Iterator[WarmStart]:
    """The schedule with most tokens within the budget, and the geometric one (r, r^2, ...) that just fits.

    What is left of a budget buys nothing, and more tokens are seldom worse: of 2,000 schedules drawn evenly the one
    with the largest sum of tokens over blocks is a better guess than the middle of the space.

    Args:
        rates: of the search space.
        fits: whether a schedule is within the budget.
        plan: token counts of a schedule on the model.
    """
    if widest := max(filter(fits, _draws(rates)), key=lambda s: sum(plan(s).block_tokens), default=None):
        yield WarmStart(schedule=widest, label="most tokens within the budget")
    if geometric := _largest_geometric(rates, fits):
        yield WarmStart(schedule=geometric, label="geometric, just within the budget")


def _draws(rates: Rates) -> Iterator[PruningSchedule]:
    """Schedules drawn evenly among those whose rates never rise; the same ones each time."""
    rng = Random(0)  # noqa: S311 - no secret
    for _ in range(NUM_DRAWS):
        drawn = sorted((rng.uniform(rates.low, rates.high) for _ in rates.blocks), reverse=True)
        yield PruningSchedule.from_keep_rates(drawn, rates.blocks)


def _largest_geometric(rates: Rates, fits: Fits) -> PruningSchedule | None:
    """The largest base rate that fits, with stages that would fall below the lowest rate held there."""
    low, high = rates.low, rates.high
    best: PruningSchedule | None = None
    for _ in range(NUM_BISECTIONS):
        base = (low + high) / 2
        schedule = PruningSchedule.from_keep_rates(
            [max(rates.low, base ** (stage + 1)) for stage in range(len(rates.blocks))], rates.blocks
        )
        if fits(schedule):
            low, best = base, schedule
        else:
            high = base
    return best
