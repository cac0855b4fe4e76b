"""A study's trials as pandas tables, for people who go on in a notebook or a spreadsheet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

from search.history import Moment, history
from search.pareto import knee, pareto_front
from search.records import Origin, StudyRecord, TrialRecord
from search.selection import front_trials, keep_rates, trial_points
from search.slices import SlicePoint, slices

if TYPE_CHECKING:
    from pandas import DataFrame

    from search.importance import Importances


def trials_frame(study: StudyRecord) -> DataFrame:
    """Every trial of a study, one row each, in the order of their numbers.

    Columns: number, state, origin, label, top1 (percent), latency_ms, latency_low_ms, latency_high_ms, speed_up (the
    dense model's latency over the trial's), num_epochs, form (how the model ran for its top-1), training_form, keep1..
    (cumulative keep rates), then the parameters that the search explored under their own names, and the reason of its
    state.
    """
    return _frame([trial_row(trial, study) for trial in study.trials])


def front_frame(study: StudyRecord) -> DataFrame:
    """The trials on the Pareto front, fastest first; columns as in `trials_frame`."""
    return _frame([trial_row(trial, study) for trial in front_trials(study)])


def history_frame(study: StudyRecord) -> DataFrame:
    """How the front grew: one row for each complete or pruned trial, in the order in which they ended.

    Columns: number, num_trials, num_epochs, elapsed_s, hypervolume (percent x ms), best_top1 (percent, within the
    budget); see `search.history.Moment`.
    """
    return _plain_frame(history(study), Moment).astype({"elapsed_s": "float64", "best_top1": "float64"})


def importance_frame(study: StudyRecord, found: Importances | None = None) -> DataFrame:
    """Which parameters made a difference (fANOVA), the most important at equal latency first.

    Columns: name, top1, beyond_latency: shares of the variance that the parameter explains by itself. Empty where too
    few trials are trained; `frame.attrs["note"]` says what is missing, and `frame.attrs["num_trials"]` how many count.
    `found` saves computing them where they are known.
    """
    from search.importance import Importance, importances

    found = importances(study) if found is None else found
    frame = _plain_frame(found.rows, Importance)
    frame.attrs.update(note=found.note, num_trials=found.num_trials)
    return frame


def slices_frame(study: StudyRecord) -> DataFrame:
    """Every parameter by itself: one row for each trial that was trained and each of its parameters.

    Columns: parameter, value, number, state, top1 (percent; of a pruned trial what it was stopped at), latency_ms.
    """
    return _plain_frame(slices(study), SlicePoint)


def knee_trial(study: StudyRecord) -> TrialRecord | None:
    """The trial at the bend of the Pareto front; None while there are fewer than three on it.

    Beyond it a little more accuracy costs much latency (`search.pareto.knee`).
    """
    front = front_trials(study)
    point = knee(pareto_front(trial_points(study))) if len(front) > 2 else None
    return next((trial for trial in front if point is not None and trial.number == point.number), None)


def trial_row(trial: TrialRecord, study: StudyRecord) -> dict[str, Any]:
    """One trial as a flat row of plain values."""
    row: dict[str, Any] = {
        "number": trial.number,
        "state": str(trial.state),
        "origin": str(trial.origin),
        "label": trial.label,
        "top1": trial.top1,
        "latency_ms": trial.latency.mean_ms,
        "latency_low_ms": trial.latency.low_ms,
        "latency_high_ms": trial.latency.high_ms,
        "speed_up": study.dense_latency.mean_ms / trial.latency.mean_ms,
        "num_epochs": trial.num_epochs,
        "form": str(trial.form),
        "training_form": trial.training_form,
    }
    own = () if trial.origin is Origin.ELASTIC else keep_rates(trial)  # which serves every schedule
    rates = {f"keep{stage}": rate for stage, rate in enumerate(own, start=1)}
    # The schedule's own rates win over parameters of the same name, which may be relative to the stage before.
    return row | dict(trial.params) | rates | {"reason": trial.reason}


def _plain_frame(rows: Sequence[Any], kind: type[Any]) -> DataFrame:
    import pandas as pd

    return pd.DataFrame([asdict(row) for row in rows], columns=[field.name for field in fields(kind)])


def _frame(rows: list[dict[str, Any]]) -> DataFrame:
    import pandas as pd

    keys = dict.fromkeys(key for row in rows for key in row if key != "reason")
    frame = pd.DataFrame(rows, columns=[*keys, "reason"] if rows else _EMPTY_COLUMNS)
    return frame.astype({"top1": "float64"})


_EMPTY_COLUMNS = [
    "number",
    "state",
    "origin",
    "label",
    "top1",
    "latency_ms",
    "latency_low_ms",
    "latency_high_ms",
    "speed_up",
    "num_epochs",
    "form",
    "training_form",
    "reason",
]
