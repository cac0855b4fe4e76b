"""Where a search starts before it knows anything: schedules of the literature, and such as use the budget up."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from random import Random

from spvit.schedule import PruningSchedule, TokenPlan

NUM_DRAWS = 2000
NUM_STEPS = 500
SPVIT_RATES = (0.617, 0.369, 0.137)
"""What SPViT's code trains its DeiT-S of three stages to (`main_l2_vit_3keep_senet.py`), whatever its base rate."""
DYNAMICVIT_BASE = 0.7
"""DynamicViT keeps .7, .49, .343 of all patches."""
MIN_BEND = 0.05
"""How far below the line between its ends a latency curve must bend to have a knee, as a share of its height."""

Fits = Callable[[PruningSchedule], bool]
Plan = Callable[[PruningSchedule], TokenPlan]
Cost = Callable[[PruningSchedule], float]


class WarmStartName(StrEnum):
    """Schedules to try first.

    DYNAMICVIT, SPVIT: as published; scaled down by one factor where the budget or the space does not admit them.
    ONE_STAGE: everything that goes is dropped at the first selector; the largest that fits.
    GEOMETRIC: r, r^2, r^3, ...; the largest that fits.
    MOST_TOKENS: of many drawn evenly, the one that fits with the largest sum of tokens over blocks.
    KNEE: the one stage at the bend of the measured latency, below which fewer tokens save little.
    """

    DYNAMICVIT = "dynamicvit"
    SPVIT = "spvit"
    ONE_STAGE = "one_stage"
    GEOMETRIC = "geometric"
    MOST_TOKENS = "most_tokens"
    KNEE = "knee"


USUAL = (WarmStartName.ONE_STAGE, WarmStartName.GEOMETRIC, WarmStartName.MOST_TOKENS)
GEOMETRIC_ALONE = frozenset({WarmStartName.DYNAMICVIT, WarmStartName.GEOMETRIC})
"""What a space of base keep rates can hold."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WarmStart:
    """A schedule to try first, and what it is called. A published one is trained just as it is."""

    schedule: PruningSchedule
    label: str
    is_exact: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Rates:
    """The cumulative keep rates a search may use, before which blocks."""

    blocks: tuple[int, ...]
    low: float
    high: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Gauge:
    """How schedules are judged: whether they are within the budget, their token counts, and their milliseconds."""

    fits: Fits
    plan: Plan
    cost_ms: Cost


def warm_starts(names: Sequence[WarmStartName], rates: Rates, gauge: Gauge) -> Iterator[WarmStart]:
    """The schedules of these names, all within the budget; those that cannot be are left out.

    What is left of a budget buys nothing, and more tokens are seldom worse: of 2,000 schedules drawn evenly the one
    with the largest sum of tokens over blocks is a better guess than the middle of the space.

    Args:
        names: in the order in which to try them.
        rates: of the search space.
        gauge: of the device and the budget.
    """
    for name in names:
        if start := _start(name, rates, gauge):
            yield start


def geometric_starts(names: Sequence[WarmStartName], rates: Rates, gauge: Gauge) -> Iterator[WarmStart]:
    """The same for a space of base keep rates r, r^2, ..., which holds no other schedules.

    Args:
        names: see `warm_starts`.
        rates: those of the base rate.
        gauge: see `warm_starts`.
    """
    for name in (name for name in names if name in GEOMETRIC_ALONE):
        wanted = DYNAMICVIT_BASE if name is WarmStartName.DYNAMICVIT else rates.high
        step = (rates.high - rates.low) / NUM_STEPS
        bases = [b for b in (wanted, *(rates.high - n * step for n in range(NUM_STEPS))) if rates.low <= b <= wanted]
        schedules = (PruningSchedule.from_base_rate(base, rates.blocks) for base in bases)
        if found := next(filter(gauge.fits, schedules), None):
            is_exact = name is WarmStartName.DYNAMICVIT and found.keep_rates[0] == wanted
            label = _published(name, found, is_exact=is_exact) if name is WarmStartName.DYNAMICVIT else _within(name)
            yield WarmStart(schedule=found, label=label, is_exact=is_exact)


def _start(name: WarmStartName, rates: Rates, gauge: Gauge) -> WarmStart | None:
    match name:
        case WarmStartName.SPVIT:
            return _scaled(name, SPVIT_RATES, rates, gauge.fits)
        case WarmStartName.DYNAMICVIT:
            published = [DYNAMICVIT_BASE ** (stage + 1) for stage in range(len(rates.blocks))]
            return _scaled(name, published, rates, gauge.fits)
        case _:
            found = _filling(name, rates, gauge)
            return None if found is None else WarmStart(schedule=found, label=_within(name))


def _filling(name: WarmStartName, rates: Rates, gauge: Gauge) -> PruningSchedule | None:
    match name:
        case WarmStartName.ONE_STAGE:
            return _largest(rates, gauge.fits, one_stage)
        case WarmStartName.GEOMETRIC:
            return _largest(rates, gauge.fits, geometric)
        case WarmStartName.KNEE:
            return _knee(rates, gauge)
        case _:
            fitting = filter(gauge.fits, _draws(rates))
            return max(fitting, key=lambda s: sum(gauge.plan(s).block_tokens), default=None)


def _within(name: WarmStartName) -> str:
    match name:
        case WarmStartName.MOST_TOKENS:
            return "most tokens within the budget"
        case WarmStartName.KNEE:
            return "one stage, at the knee of the latency"
        case _:
            return f"{name.value.replace('_', ' ')}, just within the budget"


def _scaled(name: WarmStartName, published: Sequence[float], rates: Rates, fits: Fits) -> WarmStart | None:
    """The published rates, or the largest multiple of them that the space and the budget admit; none for other stages.

    Rates that would fall below the lowest of the space are held there.
    """
    if len(published) != len(rates.blocks):
        return None
    for step in range(NUM_STEPS + 1):
        factor = 1 - step / NUM_STEPS
        scaled = [min(rates.high, max(rates.low, factor * rate)) for rate in published]
        schedule = PruningSchedule.from_keep_rates(scaled, rates.blocks)
        if fits(schedule):
            is_exact = scaled == list(published)
            return WarmStart(schedule=schedule, label=_published(name, schedule, is_exact=is_exact), is_exact=is_exact)
    return None


def _published(name: WarmStartName, schedule: PruningSchedule, *, is_exact: bool) -> str:
    if not is_exact:
        return f"{name.value}, scaled to fit"
    shown = ", ".join(f"{rate:.3g}".removeprefix("0") for rate in schedule.keep_rates)
    return f"{name.value} [{shown}]"


def _knee(rates: Rates, gauge: Gauge) -> PruningSchedule | None:
    """The one stage that lies farthest below the line between the ends of the latency curve, if it bends and fits.

    A device that is not busy with few tokens takes as long for half of them: there the curve is flat, and what is
    dropped below its bend costs accuracy for nothing.
    """
    step = (rates.high - rates.low) / NUM_STEPS
    schedules = [one_stage(min(rates.high, rates.low + n * step), rates) for n in range(NUM_STEPS + 1)]
    costs = [gauge.cost_ms(schedule) for schedule in schedules]
    height = costs[-1] - costs[0]
    if height <= 0:
        return None
    bends = [n / NUM_STEPS - (cost - costs[0]) / height for n, cost in enumerate(costs)]
    number = max(range(len(bends)), key=bends.__getitem__)
    return schedules[number] if bends[number] >= MIN_BEND and gauge.fits(schedules[number]) else None


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
