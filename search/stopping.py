"""Rules that end a search before its trials are used up. Pure: asked by the driver, told what the study holds.

A rule about what was found lets the running trials finish: they are paid for, and one of them may be better still. A
rule about time is a promise to whoever pays for it, so there running trials are stopped; they count as interrupted and
go on from their checkpoints when the study is continued with a larger limit.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from search.pareto import GrowingFront
from search.records import EndCause, SearchEnd, StudyRecord, TrialState
from search.search_config import SearchConfig
from search.selection import best_trial, trial_points
from search.usage import Usage

MIN_GAIN = 1e-9
"""Relative gain of hypervolume below which it is rounding."""


class RunningTrials(Enum):
    """What becomes of the trials that run when a rule ends the search."""

    FINISH = "finish"
    STOP = "stop"


class StopRule(Protocol):
    """One reason to end a search."""

    @property
    def running_trials(self) -> RunningTrials:
        """What becomes of the trials that are running."""

    def end(self, study: StudyRecord, usage: Usage) -> SearchEnd | None:
        """Why the search has to end; None while it goes on."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WallTime:
    """`search.max_wall_time_s`: the time of all sessions together."""

    max_s: float
    running_trials: RunningTrials = RunningTrials.STOP

    def end(self, study: StudyRecord, usage: Usage) -> SearchEnd | None:
        """Ends when the time is used up."""
        del study
        if usage.wall_s < self.max_s:
            return None
        reason = f"search.max_wall_time_s = {self.max_s:g} is used up, all sessions together"
        return SearchEnd(cause=EndCause.WALL_TIME, reason=reason)


@dataclass(frozen=True, kw_only=True, slots=True)
class GpuHours:
    """`search.max_gpu_hours`: GPUs held by running trials, times the hours in which they were held."""

    max_hours: float
    running_trials: RunningTrials = RunningTrials.STOP

    def end(self, study: StudyRecord, usage: Usage) -> SearchEnd | None:
        """Ends when the GPU-hours are used up."""
        del study
        if usage.gpu_hours < self.max_hours:
            return None
        reason = f"search.max_gpu_hours = {self.max_hours:g} are used up, all sessions together"
        return SearchEnd(cause=EndCause.GPU_HOURS, reason=reason)


@dataclass(frozen=True, kw_only=True, slots=True)
class TargetTop1:
    """`search.target_top1`: an accuracy that is enough, in percent; with several budgets within the smallest."""

    top1: float
    running_trials: RunningTrials = RunningTrials.FINISH

    def end(self, study: StudyRecord, usage: Usage) -> SearchEnd | None:
        """Ends when a finished trial within every budget has the accuracy."""
        del usage
        limit_ms = study.budgets_ms[0]
        best = best_trial(study, limit_ms)
        if best is None or best.top1 is None or best.top1 < self.top1:
            return None
        reason = (
            f"search.target_top1 = {self.top1:g} is reached: trial {best.number} has {best.top1:.2f} % within "
            f"{limit_ms:.3g} ms"
        )
        return SearchEnd(cause=EndCause.TARGET, reason=reason)


@dataclass(frozen=True, kw_only=True, slots=True)
class Patience:
    """`search.patience_trials`: so many ended trials, one after the other, that did not add to the hypervolume."""

    num_trials: int
    running_trials: RunningTrials = RunningTrials.FINISH

    def end(self, study: StudyRecord, usage: Usage) -> SearchEnd | None:
        """Ends when the last trials brought nothing; baselines, lost and interrupted trials do not count."""
        del usage
        if _num_without_gain(study) < self.num_trials:
            return None
        reason = f"search.patience_trials = {self.num_trials}: as many trials ended without adding to the hypervolume"
        return SearchEnd(cause=EndCause.PATIENCE, reason=reason)


def stop_rules(config: SearchConfig) -> tuple[StopRule, ...]:
    """The rules that an experiment sets, in the order in which they are asked."""
    return tuple(_rules(config))


def _rules(config: SearchConfig) -> Iterator[StopRule]:
    if config.target_top1 is not None:
        yield TargetTop1(top1=config.target_top1)
    if config.patience_trials is not None:
        yield Patience(num_trials=config.patience_trials)
    if config.max_wall_time_s is not None:
        yield WallTime(max_s=config.max_wall_time_s)
    if config.max_gpu_hours is not None:
        yield GpuHours(max_hours=config.max_gpu_hours)


def _num_without_gain(study: StudyRecord) -> int:
    """Counted trials that ended after the last one that added to the hypervolume."""
    counted = {TrialState.COMPLETE, TrialState.PRUNED}
    ended = sorted(
        (trial for trial in study.trials if trial.state in counted), key=lambda t: (t.finished_at or 0.0, t.number)
    )
    points = {point.number: point for point in trial_points(study)}
    front, num_since = GrowingFront(min_top1=0.0, max_latency_ms=study.dense_latency.mean_ms), 0
    for trial in ended:
        before = front.hypervolume
        if trial.number in points:
            front.add(points[trial.number])
        gained = front.hypervolume > before * (1.0 + MIN_GAIN)
        num_since = 0 if gained else num_since + trial.origin.is_counted
    return num_since
