"""How a study's front grew: hypervolume over trials, epochs and time. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from search.pareto import GrowingFront, ParetoPoint
from search.records import StudyRecord, TrialRecord, TrialState
from search.retries import root_of


@dataclass(frozen=True, kw_only=True, slots=True)
class Moment:
    """How far a study was when a trial had ended.

    Attributes:
        number: the trial that ended.
        num_trials: trials that had ended, complete or pruned.
        num_epochs: epochs that they had trained; one that an interrupted trial trained before counts once.
        elapsed_s: seconds since the first trial began, pauses between sessions included; None where unknown.
        hypervolume: percent x ms over 0 % at the dense model's latency.
        best_top1: percent, of the finished trials within the budget; None while there is none.
    """

    number: int
    num_trials: int
    num_epochs: int
    elapsed_s: float | None
    hypervolume: float
    best_top1: float | None


def history(study: StudyRecord) -> tuple[Moment, ...]:
    """One moment for each complete or pruned trial, in the order in which they ended."""
    ended = [t for t in study.trials if t.state in {TrialState.COMPLETE, TrialState.PRUNED}]
    ended.sort(key=lambda t: (t.finished_at is None, t.finished_at or 0.0, t.number))
    begun = min((t.started_at for t in study.trials if t.started_at is not None), default=None)
    front = GrowingFront(min_top1=0.0, max_latency_ms=study.dense_latency.mean_ms)
    longest: dict[int, int] = {}
    best_top1: float | None = None
    moments = []
    for count, trial in enumerate(ended, start=1):
        best_top1 = _best(trial, best_top1, study.max_latency_ms)
        if trial.is_model and trial.top1 is not None:
            front.add(ParetoPoint(number=trial.number, top1=trial.top1, latency_ms=trial.latency.mean_ms))
        _note_epochs(trial, longest)
        moments.append(
            Moment(
                number=trial.number,
                num_trials=count,
                num_epochs=sum(longest.values()),
                elapsed_s=None if begun is None or trial.finished_at is None else trial.finished_at - begun,
                hypervolume=front.hypervolume,
                best_top1=best_top1,
            )
        )
    return tuple(moments)


def num_epochs_trained(trials: Sequence[TrialRecord]) -> int:
    """Epochs of all trials together, each counted once.

    A retry's curve begins with that of the trial that it goes on with, and so does that of one that prolongs another.
    """
    longest: dict[int, int] = {}
    for trial in trials:
        _note_epochs(trial, longest)
    return sum(longest.values())


def _note_epochs(trial: TrialRecord, longest: dict[int, int]) -> None:
    """Adds a trial to the most epochs that were trained of each, under the number of the first attempt."""
    own = max(0, trial.num_epochs - trial.continues_epochs)
    longest[root_of(trial)] = max(longest.get(root_of(trial), 0), own)


def _best(trial: TrialRecord, before: float | None, max_latency_ms: float) -> float | None:
    """The best top-1 within the budget, with one more trial."""
    if not trial.is_model or not trial.top1 or trial.latency.high_ms > max_latency_ms:
        return before
    return trial.top1 if before is None else max(before, trial.top1)
