"""Tokens that cost nothing: where latency does not rise with every token, a schedule can keep more and be no slower.

Kernels work in tiles. On one CPU a block of 64-channel tokens took 7.8 ms for 31 tokens and 5.9 ms for 32 of them: a
schedule that keeps 29 patches beside a class and a package token pays for being less accurate.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from latency_tables.stairs import Plateau, level_plateaus, snap
from latency_tables.table import LatencyTable
from spvit.schedule import PruningSchedule, Selection, Stage, TokenGeometry, TokenPlan

MAX_STEP = 16
"""How many tokens further to look for the end of a step: the widest tile that CPU kernels use."""

Rates = tuple[float, ...]
PlanCost = Callable[[TokenPlan], float]
MakePlan = Callable[[PruningSchedule], TokenPlan]


@dataclass(frozen=True, kw_only=True, slots=True)
class Staircase:
    """Where the blocks of a backbone cost the same for several token counts: `levels` has the plateaus of each level.

    `widen` compares sums that differ by the noise of a table's rows, and by what a few tokens more cost a later
    selector: on a measured plateau it stops where they look a thousandth dearer. Plateaus know the noise.
    """

    geometry: TokenGeometry
    levels: tuple[tuple[Plateau, ...], ...]

    @classmethod
    def from_table(cls, table: LatencyTable) -> Staircase:
        """The staircase that a latency table's blocks make."""
        return cls(geometry=table.geometry, levels=level_plateaus(table))

    def snapped(self, schedule: PruningSchedule, plan: MakePlan) -> PruningSchedule:
        """The schedule with every stage at the right edge of its plateau, where blocks cost no more than they do.

        A stage that drops nothing goes on dropping nothing, so that no selector is added. One that would leave as many
        tokens as reach it, a package instead of a patch, loses its own.

        Args:
            schedule: where to start.
            plan: token counts of a schedule on the backbone.
        """
        rates, dropping = schedule.keep_rates, {selection.block for selection in plan(schedule).selections}
        for stage, block in enumerate(schedule.blocks):
            ceiling = rates[stage - 1] if stage else 1.0
            edge = 1.0
            if block in dropping:
                tokens = plan(PruningSchedule.from_keep_rates(rates, schedule.blocks))
                edge = max([self._edge(s, tokens) for s in tokens.selections if s.block == block], default=1.0)
            rates = (*rates[:stage], min(ceiling, max(rates[stage], edge)), *rates[stage + 1 :])
        return PruningSchedule.from_keep_rates(rates, schedule.blocks)

    def _edge(self, selection: Selection, plan: TokenPlan) -> float:
        """The keep rate, in whole tokens, with which the blocks behind a selection are at the right edge."""
        level, num_tokens = self.geometry.level_of(selection.block), plan.block_tokens[selection.block]
        num_more = snap(num_tokens, self.levels[level]) - num_tokens
        num_gone = selection.num_candidates - selection.num_kept
        num_packages = selection.num_packages_after - selection.num_packages_before
        if num_more >= num_gone - num_packages:
            return 1.0
        return (selection.num_kept + num_more) / self.geometry.levels[level].num_patches


def widen(schedule: PruningSchedule, *, num_patches: Sequence[int], plan: MakePlan, cost: PlanCost) -> PruningSchedule:
    """The schedule with as many patches kept at each stage as cost no more than it does.

    Stages are widened one after the other, the first one first, since what it drops is lost to all others. A schedule
    that cannot be widened comes back with its rates put to whole tokens, so that equal networks are equal schedules;
    where stages count the patches of different levels and rates in whole tokens would rise, with rates as they were.

    Args:
        schedule: where to start.
        num_patches: patches of the dense model in the level of each stage.
        plan: token counts of a schedule on the model.
        cost: milliseconds of a plan.
    """
    limit = cost(plan(schedule))

    def fits(rates: Rates) -> bool:
        return cost(plan(PruningSchedule.from_keep_rates(rates, schedule.blocks))) <= limit

    rates = _in_whole_tokens(schedule.keep_rates, num_patches)
    while (wider := _in_whole_tokens(_widened_once(rates, num_patches, fits), num_patches)) != rates:
        rates = wider
    return PruningSchedule.from_keep_rates(rates, schedule.blocks)


def _widened_once(rates: Rates, num_patches: Sequence[int], fits: Callable[[Rates], bool]) -> Rates:
    """Each stage in turn with the most patches that fit; a later stage's room can make new room for an earlier one."""
    for stage, num in enumerate(num_patches):
        ceiling = rates[stage - 1] if stage else 1.0
        kept = _num_kept(rates[stage], num)
        most = min(_num_kept(ceiling, num), kept + MAX_STEP)
        wider = (min(count / num, ceiling) for count in range(most, kept, -1))
        candidates = ((*rates[:stage], rate, *rates[stage + 1 :]) for rate in wider)
        rates = next(filter(fits, candidates), rates)
    return rates


def _in_whole_tokens(rates: Rates, num_patches: Sequence[int]) -> Rates:
    """Rates that are fractions of whole tokens; unchanged where these would rise."""
    whole = tuple(_num_kept(rate, num) / num for rate, num in zip(rates, num_patches, strict=True))
    return whole if all(after <= before for before, after in pairwise(whole)) else rates


def _num_kept(rate: float, num_patches: int) -> int:
    return Stage(block=0, keep_rate=rate).num_kept(num_patches)
