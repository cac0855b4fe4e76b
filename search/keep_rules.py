"""How many checkpoints each trial of a study keeps. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from search.choosing import binomial, choose_within, only_faster
from search.pareto import pareto_front
from search.records import Origin, StudyRecord, TrialRecord, TrialState
from search.retries import attempts_by_root, trials_to_retry
from search.search_config import KeepCheckpoints
from search.selection import best_trial, trial_points

NUM_TO_GO_ON = 2
"""Of a trial that is or will be trained: the newest, and the one before should the newest turn out damaged."""


def checkpoints_to_keep(study: StudyRecord, keep: KeepCheckpoints) -> Mapping[int, int]:
    """How many of its newest checkpoints each trial keeps, by the number of its first attempt, which names its folder.

    What is running or will be run again keeps two. Of trials that were trained in full the rule says which keep their
    last. Stopped, diverged and given up trials keep none: what is known of them is in the study.
    """
    due = {trial.number for trial in trials_to_retry(study.trials)}
    wanted = _wanted(study, keep)
    return {root: _number(tries, due, wanted) for root, tries in attempts_by_root(study.trials).items()}


def _number(attempts: Sequence[TrialRecord], due: set[int], wanted: set[int]) -> int:
    if any(not trial.state.is_finished or trial.number in due for trial in attempts):
        return NUM_TO_GO_ON
    return int(any(trial.number in wanted for trial in attempts))


def _wanted(study: StudyRecord, keep: KeepCheckpoints) -> set[int]:
    """Finished trials whose weights may still be asked for.

    Every export is compared with the baseline, and trials go on from elastic weights.
    """
    elastic = {trial.number for trial in study.elastic if trial.state is TrialState.COMPLETE}
    if keep is KeepCheckpoints.ALL:
        return elastic | {trial.number for trial in study.finished}
    numbers = elastic | {trial.number for trial in study.finished if trial.origin is Origin.BASELINE}
    on_front = _on_front(study)
    for limit_ms in study.budgets_ms:
        numbers |= _takeable(study, limit_ms, on_front)
    return numbers if keep is KeepCheckpoints.NONE else numbers | on_front


def _takeable(study: StudyRecord, limit_ms: float, on_front: set[int]) -> set[int]:
    """The best within a budget, what is preferred to it, and what may be once its answers are known."""
    if best_trial(study, limit_ms) is None:
        return set()
    choice = choose_within(study, limit_ms, only_faster(binomial(study)))
    equals = {equal.trial.number for equal in choice.equals}
    return {choice.best.number, choice.trial.number} | equals & on_front


def _on_front(study: StudyRecord) -> set[int]:
    """On the front of mean latencies, which is shown, or on that of upper ends, by which budgets judge."""
    points = trial_points(study)
    high_ms = {trial.number: trial.latency.high_ms for trial in study.finished}
    upper = tuple(replace(point, latency_ms=high_ms[point.number]) for point in points)
    return {point.number for point in (*pareto_front(points), *pareto_front(upper))}
