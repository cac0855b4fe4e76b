"""Each parameter by itself: its value, and what trials with it reached. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from search.records import Origin, StudyRecord, TrialRecord, TrialState


@dataclass(frozen=True, kw_only=True, slots=True)
class SlicePoint:
    """One trial's value of one parameter. `top1` is in percent, of a pruned trial what it was stopped at."""

    parameter: str
    value: Any
    number: int
    state: TrialState
    top1: float
    latency_ms: float


def slices(study: StudyRecord) -> tuple[SlicePoint, ...]:
    """Every value of every parameter that the search explored, of the trials that were trained at all."""
    names = dict.fromkeys(name for trial in study.trials for name in trial.params)
    reached = [(trial, top1) for trial in study.trials if (top1 := reached_top1(trial)) is not None]
    return tuple(
        SlicePoint(
            parameter=name,
            value=trial.params[name],
            number=trial.number,
            state=trial.state,
            top1=top1,
            latency_ms=trial.latency.mean_ms,
        )
        for name in names
        for trial, top1 in reached
        if name in trial.params
    )


def reached_top1(trial: TrialRecord) -> float | None:
    """The top-1 (percent) of a trial that ended; that of its last epoch where it was pruned."""
    if trial.origin is Origin.ELASTIC:  # whose value is that of a whole front
        return None
    if trial.state is TrialState.COMPLETE:
        return trial.top1
    return trial.curve[-1] if trial.state is TrialState.PRUNED and trial.curve else None
