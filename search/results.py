"""A study's trials as pandas tables, for people who go on in a notebook or a spreadsheet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from search.records import StudyRecord, TrialRecord
from search.selection import front_trials, keep_rates

if TYPE_CHECKING:
    from pandas import DataFrame


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
    rates = {f"keep{stage}": rate for stage, rate in enumerate(keep_rates(trial), start=1)}
    # The schedule's own rates win over parameters of the same name, which may be relative to the stage before.
    return row | dict(trial.params) | rates | {"reason": trial.reason}


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
