"""SPViT's progressive insertion of selectors, a baseline for the search. Pure: no torch, no files.

The method is the paper's latency-aware training, "layer-to-phase" ("block-to-stage" in HeatViT, its successor).

Whoever runs it says what a schedule's accuracy is. The run is a function of those answers alone, so it is resumed by
giving the known ones again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import islice

from search.progressive_config import ProgressiveConfig
from search.progressive_stages import falling_rates, lowered, merge_stages, rate_at
from search.progressive_target import Target, first_block
from search.records import Latency
from spvit.schedule import PruningSchedule, TokenPlan

Measure = Callable[[PruningSchedule], float | None]
"""Top-1 (percent) of a schedule after a step's training, of the dense model as it is; None if training diverged."""


class Phase(StrEnum):
    """Why a schedule is tried."""

    DENSE = "dense"
    INSERT = "insert"
    LOWER = "lower"


class Verdict(StrEnum):
    """What becomes of a schedule that was tried."""

    ACCEPTED = "accepted"
    TOO_INACCURATE = "too inaccurate"
    DIVERGED = "diverged"
    OUTDONE = "outdone"  # another rate could be lowered at less cost in accuracy

    @property
    def is_admissible(self) -> bool:
        """Whether accuracy allows the schedule."""
        return self in {Verdict.ACCEPTED, Verdict.OUTDONE}


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One schedule that was tried. `top1` in percent, `top1_drop` in points below the dense model."""

    number: int
    phase: Phase
    schedule: PruningSchedule
    latency: Latency
    verdict: Verdict
    top1: float | None = None
    top1_drop: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Conclusion:
    """How it ended: the last schedule accepted, and what it is when similar neighbours are merged."""

    steps: tuple[Step, ...]
    accepted: Step
    merged: PruningSchedule
    merged_latency: Latency
    is_within_budget: bool


class ProgressiveInsertion:
    """One run: selectors from the last block forward, each keep rate lowered as far as accuracy allows.

    It ends as soon as the predicted latency is within the budget. Where all blocks have had their turn and it is not
    yet, every single rate is tried one step lower, and the one that loses the least accuracy for each millisecond
    saved is lowered, again and again, until the budget holds or accuracy allows none.

    Args:
        options: steps and thresholds.
        target: the model and its budget.
        measure: gives a schedule's top-1; never asked twice for the same network.
        on_step: told of each step when it is measured.
    """

    def __init__(
        self,
        options: ProgressiveConfig,
        target: Target,
        measure: Measure,
        *,
        on_step: Callable[[Step], None] = lambda _step: None,
    ) -> None:
        self._options, self._target = options, target
        self._measure, self._on_step = measure, on_step
        self._steps: dict[TokenPlan, Step] = {}
        self._dense_top1 = 0.0

    @property
    def blocks(self) -> tuple[int, ...]:
        """The blocks that may get a selector, from the last one forward."""
        depth = self._target.geometry.depth
        return tuple(range(depth - 1, first_block(self._options, depth) - 1, -1))

    def run(self) -> Conclusion:
        """Goes all the way.

        Raises:
            ValueError: the dense model has no accuracy to compare with.
        """
        accepted = self._start()
        for block in self.blocks:
            accepted = self._insert(accepted, block)
        accepted = self._lower(accepted)
        merged = self._merge(accepted)
        return Conclusion(
            steps=tuple(self._steps.values()),
            accepted=accepted,
            merged=merged,
            merged_latency=self._target.latency(merged),
            is_within_budget=self._target.admits(merged),
        )

    def _start(self) -> Step:
        dense = PruningSchedule()
        top1 = self._measure(dense)
        if top1 is None:
            raise ValueError("Progressive insertion needs the dense model's top-1.")
        self._dense_top1 = top1
        return self._record(dense, Phase.DENSE, top1)

    def _insert(self, accepted: Step, block: int) -> Step:
        """Lowers the rate of a new selector in front of all others; never below the next one's, which was found so."""
        lowest = min((s.keep_rate for s in accepted.schedule.stages[:1]), default=self._options.lowest_keep_rate)
        for rate in self._rates(1.0, lowest):
            if self._is_done(accepted):
                break
            candidate = lowered(accepted.schedule, block, rate)
            if not self._is_faster(candidate, accepted):
                continue  # a selector costs time too: near 1 it can cost more than it saves
            step = self._try(candidate, Phase.INSERT)
            if not step.verdict.is_admissible:
                break
            accepted = step
        return accepted

    def _lower(self, accepted: Step) -> Step:
        while not self._is_done(accepted):
            tried = [self._try(candidate, Phase.LOWER) for candidate in self._one_lower(accepted)]
            admissible = [step for step in tried if step.verdict.is_admissible]
            if not admissible:
                break
            before = accepted
            best = min(admissible, key=lambda step: self._cost(step, before))
            for step in admissible:
                self._settle(step, Verdict.OUTDONE)
            accepted = self._settle(best, Verdict.ACCEPTED)
        return accepted

    def _one_lower(self, accepted: Step) -> Iterator[PruningSchedule]:
        """For each block the next lower rate that is faster."""
        for block in self.blocks:
            rates = self._rates(rate_at(accepted.schedule, block), self._options.lowest_keep_rate)
            candidates = (lowered(accepted.schedule, block, rate) for rate in rates)
            yield from islice((candidate for candidate in candidates if self._is_faster(candidate, accepted)), 1)

    @staticmethod
    def _cost(step: Step, before: Step) -> float:
        """Points of top-1 lost for each millisecond saved."""
        return ((before.top1 or 0.0) - (step.top1 or 0.0)) / (before.latency.high_ms - step.latency.high_ms)

    def _merge(self, accepted: Step) -> PruningSchedule:
        """With the rates of each stage's first selector if the budget allows, else of its last, else not at all.

        The last one's keep less than what accuracy was measured for, so they cannot make good what lacks to the budget.
        """
        choices = (False, True) if self._is_done(accepted) else (False,)
        below, schedule = self._options.merge_below, accepted.schedule
        ways = [merge_stages(schedule, below=below, keep_lowest=keep_lowest) for keep_lowest in choices]
        return next(filter(self._target.admits, ways), schedule)

    def _try(self, schedule: PruningSchedule, phase: Phase) -> Step:
        """Measures a schedule, unless the same network was measured before."""
        known = self._steps.get(self._target.plan(schedule))
        return known or self._record(schedule, phase, self._measure(schedule))

    def _record(self, schedule: PruningSchedule, phase: Phase, top1: float | None) -> Step:
        drop = None if top1 is None else self._dense_top1 - top1
        step = Step(
            number=len(self._steps),
            phase=phase,
            schedule=schedule,
            latency=self._target.latency(schedule),
            verdict=self._verdict(drop),
            top1=top1,
            top1_drop=drop,
        )
        self._steps[self._target.plan(schedule)] = step
        self._on_step(step)
        return step

    def _verdict(self, drop: float | None) -> Verdict:
        if drop is None:
            return Verdict.DIVERGED
        return Verdict.ACCEPTED if drop <= self._options.max_top1_drop else Verdict.TOO_INACCURATE

    def _settle(self, step: Step, verdict: Verdict) -> Step:
        settled = replace(step, verdict=verdict)
        self._steps[self._target.plan(step.schedule)] = settled
        return settled

    def _is_done(self, accepted: Step) -> bool:
        return self._target.budget.admits(accepted.latency)

    def _is_faster(self, candidate: PruningSchedule, accepted: Step) -> bool:
        return self._target.latency(candidate).high_ms < accepted.latency.high_ms

    def _rates(self, start: float, lowest: float) -> Iterator[float]:
        return falling_rates(start, step=self._options.keep_rate_step, lowest=lowest)
