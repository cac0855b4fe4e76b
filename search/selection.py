"""Which trial is meant: the best under a budget, or the one that the user names. Pure."""

from __future__ import annotations

from search.pareto import ParetoPoint, best_under, nearest, pareto_front
from search.records import StudyRecord, TrialRecord, TrialState
from spvit.errors import NothingFeasibleError, UsageError


def trial_points(study: StudyRecord) -> tuple[ParetoPoint, ...]:
    """Every trial that was trained to the end, at its predicted mean latency."""
    return tuple(
        ParetoPoint(number=trial.number, top1=trial.top1, latency_ms=trial.latency.mean_ms)
        for trial in study.finished
        if trial.top1 is not None
    )


def front_trials(study: StudyRecord) -> tuple[TrialRecord, ...]:
    """The trials on the Pareto front, from the fastest to the most accurate."""
    by_number = {trial.number: trial for trial in study.trials}
    return tuple(by_number[point.number] for point in pareto_front(trial_points(study)))


def best_trial(study: StudyRecord, max_latency_ms: float | None = None) -> TrialRecord | None:
    """The most accurate finished trial within a latency; the study's own budget where none is given.

    As in the search, a trial is within a budget when the upper end of its predicted interval is.
    """
    budget_ms = study.max_latency_ms if max_latency_ms is None else max_latency_ms
    by_number = {trial.number: trial for trial in study.trials}
    best = best_under(_upper_points(study), budget_ms)
    return None if best is None else by_number[best.number]


def choose_trial(study: StudyRecord, *, number: int | None = None, max_latency_ms: float | None = None) -> TrialRecord:
    """The trial that a user asks for: by number, or as the best within a latency (the study's budget by default).

    Raises:
        UsageError: there is no such trial, or it was not trained to the end.
        NothingFeasibleError: no finished trial is within the latency.
    """
    if number is not None:
        return _finished_trial(study, number)
    trial = best_trial(study, max_latency_ms)
    if trial is None:
        raise NothingFeasibleError(_nothing_within(study, max_latency_ms))
    return trial


def find_trial(study: StudyRecord, number: int) -> TrialRecord:
    """The trial of this number, in whatever state it is.

    Raises:
        UsageError: there is none.
    """
    trial = next((trial for trial in study.trials if trial.number == number), None)
    if trial is None:
        known = f"0 to {max(t.number for t in study.trials)}" if study.trials else "none yet"
        raise UsageError(f"study {study.name!r} has no trial {number}; its trials are: {known}")
    return trial


def keep_rates(trial: TrialRecord) -> tuple[float, ...]:
    """Cumulative keep rate of each stage of a trial's schedule; none for a dense model."""
    stages = trial.config.get("pruning", {}).get("schedule", {}).get("stages", ())
    return tuple(float(stage["keep_rate"]) for stage in stages)


def _finished_trial(study: StudyRecord, number: int) -> TrialRecord:
    trial = find_trial(study, number)
    if trial.state is not TrialState.COMPLETE:
        why = f" ({trial.reason})" if trial.reason else ""
        complete = ", ".join(str(t.number) for t in study.finished) or "none yet"
        raise UsageError(
            f"trial {number} of study {study.name!r} was not trained to the end: it is {trial.state}{why}; "
            f"complete trials: {complete}"
        )
    if not trial.is_model:
        raise UsageError(
            f"trial {number} of study {study.name!r} trained one set of weights for many schedules and is no model by "
            f"itself: `spvit-search finish {study.name}` trains schedules on from it, `spvit-search export "
            f"{study.name} --schedules 3` takes several of them home"
        )
    return trial


def nothing_as_accurate(study: StudyRecord, min_top1: float) -> str:
    """What to say where no finished trial has a top-1 (percent): the nearest, by how much it misses, what to do."""
    closest = max(trial_points(study), key=lambda p: (p.top1, -p.latency_ms, -p.number), default=None)
    if closest is None:
        return _nothing_finished(study)
    return (
        f"no finished trial of study {study.name!r} has {min_top1:g} % top-1; the closest is trial {closest.number}: "
        f"{closest.top1:.2f} % at {closest.latency_ms:.2f} ms, {min_top1 - closest.top1:.2f} points too little; "
        f"lower --min-top1, or search with more trials, more epochs or a larger budget"
    )


def _nothing_within(study: StudyRecord, max_latency_ms: float | None) -> str:
    budget_ms = study.max_latency_ms if max_latency_ms is None else max_latency_ms
    closest = nearest(_upper_points(study), budget_ms)
    if closest is None:
        return _nothing_finished(study)
    trial = next(t for t in study.finished if t.number == closest.number)
    miss_ms = trial.latency.high_ms - budget_ms
    return (
        f"no finished trial of study {study.name!r} is within {budget_ms:.2f} ms (upper end of its prediction); "
        f"the closest is trial {trial.number}: {closest.top1:.2f} % at {trial.latency.mean_ms:.2f} ms, up to "
        f"{trial.latency.high_ms:.2f} ms: {miss_ms:.2f} ms ({miss_ms / budget_ms:.0%}) too much; "
        f"raise --max-latency-ms or search again with a lower budget"
    )


def _nothing_finished(study: StudyRecord) -> str:
    return f"study {study.name!r} has no trial that was trained to the end; look at `spvit-search status {study.name}`"


def _upper_points(study: StudyRecord) -> tuple[ParetoPoint, ...]:
    """The finished trials at the upper end of their predicted intervals, which is what a budget is held against."""
    return tuple(
        ParetoPoint(number=trial.number, top1=trial.top1, latency_ms=trial.latency.high_ms)
        for trial in study.finished
        if trial.top1 is not None
    )
