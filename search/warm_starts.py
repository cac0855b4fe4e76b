"""Where a search starts before it knows anything: schedules that use the budget up."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random

from spvit.schedule import PruningSchedule, TokenPlan

NUM_DRAWS = 2000
NUM_STEPS = 500

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
    """One stage (r, r, ...) and the geometric schedule (r, r^2, ...) that just fit, and the one with most tokens.

    What is left of a budget buys nothing, and more tokens are seldom worse: of 2,000 schedules drawn evenly the one
    with the largest sum of tokens over blocks is a better guess than the middle of the space.

    Args:
        rates: of the search space.
        fits: whether a schedule is within the budget.
        plan: token counts of a schedule on the model.
    """
    if single := _largest(rates, fits, one_stage):
        yield WarmStart(schedule=single, label="one stage, just within the budget")
    if several := _largest(rates, fits, geometric):
        yield WarmStart(schedule=several, label="geometric, just within the budget")
    if widest := max(filter(fits, _draws(rates)), key=lambda s: sum(plan(s).block_tokens), default=None):
        yield WarmStart(schedule=widest, label="most tokens within the budget")


def _draws(rates: Rates) -> Iterator[PruningSchedule]:
    """Schedules drawn evenly among those whose rates never rise; the same ones each time."""
    rng = Random(0)  # noqa: S311 - no secret
    for _ in range(NUM_DRAWS):
        drawn = sorted((rng.uniform(rates.low, rates.high) for _ in rates.blocks), reverse=True)
        yield PruningSchedule.from_keep_rates(drawn, rates.blocks)


def one_stage(base: float, rates: Rates) -> PruningSchedule:
    """Everything that goes is dropped at the first block; later stages drop nothing and cost nothing.

    Where a backbone pools its patches, every level is such a stage.
    """
    return PruningSchedule.from_keep_rates([base] * len(rates.blocks), rates.blocks)


def geometric(base: float, rates: Rates) -> PruningSchedule:
    """Rates r, r^2, r^3, ... (DynamicViT), held at the lowest rate where they would fall below it."""
    return PruningSchedule.from_keep_rates(
        [max(rates.low, base ** (stage + 1)) for stage in range(len(rates.blocks))], rates.blocks
    )


def _largest(rates: Rates, fits: Fits, shape: Callable[[float, Rates], PruningSchedule]) -> PruningSchedule | None:
    """The schedule of this shape with the largest base rate that fits.

    Tried from the top, not by bisection: where latency is a staircase, 30 patches can fit when 29 do not.
    """
    step = (rates.high - rates.low) / NUM_STEPS
    candidates = (shape(max(rates.low, rates.high - number * step), rates) for number in range(NUM_STEPS + 1))
    return next(filter(fits, candidates), None)
