"""Tokens that cost nothing: where latency does not rise with every token, a schedule can keep more and be no slower.

Kernels work in tiles. On one CPU a block of 64-channel tokens took 7.8 ms for 31 tokens and 5.9 ms for 32 of them: a
schedule that keeps 29 patches beside a class and a package token pays for being less accurate.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from spvit.schedule import PruningSchedule, TokenPlan

MAX_STEP = 16
"""How many tokens further to look for the end of a step: the widest tile that CPU kernels use."""

PlanCost = Callable[[TokenPlan], float]
MakePlan = Callable[[PruningSchedule], TokenPlan]


def widen(schedule: PruningSchedule, *, num_patches: int, plan: MakePlan, cost: PlanCost) -> PruningSchedule:
    """The schedule with as many patches kept at each stage as cost no more than it does.

    Stages are widened one after the other, the first one first, since what it drops is lost to all others. A schedule
    that cannot be widened comes back with its rates put to whole tokens, so that equal networks are equal schedules.

    Args:
        schedule: where to start.
        num_patches: patches of the dense model.
        plan: token counts of a schedule on the model.
        cost: milliseconds of a plan.
    """
    limit = cost(plan(schedule))

    def fits(counts: Sequence[int]) -> bool:
        return cost(plan(_schedule(counts, schedule.blocks, num_patches))) <= limit

    counts = tuple(stage.num_kept(num_patches) for stage in schedule.stages)
    while (wider := _widened_once(counts, num_patches, fits)) != counts:
        counts = wider
    return _schedule(counts, schedule.blocks, num_patches)


def _widened_once(counts: tuple[int, ...], num_patches: int, fits: Callable[[Sequence[int]], bool]) -> tuple[int, ...]:
    """Each stage in turn with the most patches that fit; a later stage's room can make new room for an earlier one."""
    for stage, count in enumerate(counts):
        most = min(counts[stage - 1] if stage else num_patches, count + MAX_STEP)
        candidates = ((*counts[:stage], wider, *counts[stage + 1 :]) for wider in range(most, count, -1))
        counts = next(filter(fits, candidates), counts)
    return counts


def _schedule(counts: Sequence[int], blocks: Sequence[int], num_patches: int) -> PruningSchedule:
    return PruningSchedule.from_keep_rates([count / num_patches for count in counts], blocks)
