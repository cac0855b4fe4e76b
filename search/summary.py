"""How a study stands, in numbers: one value for `status`, the final report and MLflow. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from search.failures import Failure
from search.history import num_epochs_trained
from search.pareto import ParetoPoint, hypervolume, pareto_front
from search.records import Origin, Rejection, SearchEnd, StudyRecord, TrialRecord, TrialState
from search.retries import IN_ORDER, count_failures, trials_to_retry
from search.selection import best_trial, trial_points
from search.usage import Usage


@dataclass(frozen=True, kw_only=True, slots=True)
class BudgetBest:
    """The most accurate finished trial within one budget, None where there is none yet."""

    max_latency_ms: float
    best: ParetoPoint | None


@dataclass(frozen=True, kw_only=True, slots=True)
class StudySummary:
    """A study's counts, its best trial under the budget, and its front.

    `num_counted` of the `num_trials` asked for have ended; baselines, lost and interrupted trials do not count.
    `num_epochs_trained` counts an epoch once, however often its trial was interrupted.
    `num_epochs_saved` is what early stopping saved: epochs that the complete and pruned trials would have taken in
    full, less those trained. Rejected proposals are not in it; they were never trained at all.
    `hypervolume` (percent x ms) is taken over 0 % at the dense model's latency.
    `usage` is the time of all sessions, `end` why the last one ended, where that is known.
    `failures` counts attempts that could not go on by cause, and `num_to_go_on` the trials that will be run again.
    `budgets` has the best trial within each budget of the study, ascending: the last one is `best`.
    """

    name: str
    num_trials: int
    num_counted: int
    counts: Mapping[TrialState, int]
    failures: Mapping[Failure, int]
    num_to_go_on: int
    rejections: Mapping[Rejection, int]
    num_epochs_trained: int
    num_epochs_saved: int
    max_latency_ms: float
    dense_latency_ms: float
    dense_top1: float | None
    best: ParetoPoint | None
    hypervolume: float
    front: tuple[ParetoPoint, ...]
    budgets: tuple[BudgetBest, ...]
    usage: Usage
    end: SearchEnd | None

    @property
    def is_finished(self) -> bool:
        """Whether trials ended and none is running or waiting."""
        return sum(self.counts.values()) > 0 and not (
            self.counts[TrialState.RUNNING] or self.counts[TrialState.WAITING]
        )

    @property
    def num_interrupted(self) -> int:
        """Attempts that ended since the search did: they did not fail."""
        return sum(self.failures[failure] for failure in IN_ORDER)

    @property
    def num_failed(self) -> int:
        """Attempts that were lost, or given up, for any other cause."""
        return self.counts[TrialState.FAIL] - self.num_interrupted

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; `counts` has interrupted attempts among those of state FAIL, as the study keeps them."""
        return asdict(self) | {
            "num_interrupted": self.num_interrupted,
            "num_failed": self.num_failed,
            "counts": {str(state): count for state, count in self.counts.items()},
            "failures": {str(failure): count for failure, count in self.failures.items()},
            "rejections": {str(reason): count for reason, count in self.rejections.items()},
            "front": [asdict(point) for point in self.front],
            "budgets": [asdict(budget) for budget in self.budgets],
        }


def summarise(study: StudyRecord) -> StudySummary:
    """The summary of a study as it stands; works on a running one."""
    points = trial_points(study)
    budgets = tuple(BudgetBest(max_latency_ms=limit, best=_best_point(study, limit)) for limit in study.budgets_ms)
    counts = Counter(trial.state for trial in study.trials)
    failures = count_failures(study.trials)
    trained, in_full = _epochs(study)
    return StudySummary(
        name=study.name,
        num_trials=study.num_trials,
        num_counted=num_counted(study),
        counts={state: counts[state] for state in TrialState},
        failures={failure: failures[failure] for failure in Failure},
        num_to_go_on=len(trials_to_retry(study.trials)),
        rejections={reason: study.rejections.get(reason, 0) for reason in Rejection},
        num_epochs_trained=num_epochs_trained(study.trials),
        num_epochs_saved=in_full - trained,
        max_latency_ms=study.max_latency_ms,
        dense_latency_ms=study.dense_latency.mean_ms,
        dense_top1=study.dense_top1,
        best=budgets[-1].best,
        hypervolume=study_hypervolume(study),
        front=pareto_front(points),
        budgets=budgets,
        usage=study.usage,
        end=study.end,
    )


def _best_point(study: StudyRecord, max_latency_ms: float) -> ParetoPoint | None:
    best = best_trial(study, max_latency_ms)
    return next((p for p in trial_points(study) if best is not None and p.number == best.number), None)


def study_hypervolume(study: StudyRecord) -> float:
    """Hypervolume (percent x ms) of the finished trials over 0 % at the dense model's latency."""
    return hypervolume(trial_points(study), min_top1=0.0, max_latency_ms=study.dense_latency.mean_ms)


def baseline_trial(study: StudyRecord) -> TrialRecord | None:
    """The fixed schedule that the search is compared with, if it was trained to the end."""
    return next((trial for trial in study.finished if trial.origin is Origin.BASELINE), None)


def num_counted(study: StudyRecord) -> int:
    """Trials that have ended and count towards the number that was asked for."""
    counted = {TrialState.COMPLETE, TrialState.PRUNED}
    return sum(trial.state in counted and trial.origin.is_counted for trial in study.trials)


def _epochs(study: StudyRecord) -> tuple[int, int]:
    """Epochs trained by the complete and pruned trials, and what they would have taken in full."""
    ended = [t for t in study.trials if t.state in {TrialState.COMPLETE, TrialState.PRUNED}]
    trained = sum(trial.num_epochs for trial in ended)
    in_full = sum(max(_planned_epochs(trial, study), trial.num_epochs) for trial in ended)
    return trained, in_full


def _planned_epochs(trial: TrialRecord, study: StudyRecord) -> int:
    return int(trial.config.get("training", {}).get("epochs", study.num_epochs))
