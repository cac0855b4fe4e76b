"""What a search comes to: the numbers at the end of a run, as a value. Pure; drawn by `report_text`."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from search.certificate import DENSE, Certificate
from search.elastic_text import elastic_sentences
from search.export_report import EXPORTED, FIXED, ExportReport
from search.records import StudyRecord, TrialRecord
from search.selection import front_trials, keep_rates
from search.summary import StudySummary, baseline_trial, summarise


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelRow:
    """One model: accuracy in percent, predicted and measured milliseconds, times as fast as the dense one measured.

    None where something is not known; measured times are those of the device that was predicted for.
    """

    name: str
    val_top1: float | None
    test_top1: float | None
    predicted_ms: float
    measured_ms: float | None
    speed_up: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class FrontRow:
    """One trial of the Pareto front."""

    number: int
    label: str
    top1: float
    latency_ms: float
    keep_rates: tuple[float, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class FinalReport:
    """The models compared, the front, how the search went, and where everything is.

    `verdict` says whether the exported model was measured to keep the budget, and `conclusion` the same in a sentence.
    """

    summary: StudySummary
    models: tuple[ModelRow, ...]
    front: tuple[FrontRow, ...]
    verdict: str | None
    conclusion: str | None
    directory: str
    export_directory: str | None
    next_commands: tuple[str, ...]
    elastic: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self) | {"summary": self.summary.to_dict()}

    def to_text(self) -> str:
        """Tables as plain text."""
        from search.report_text import report_text

        return report_text(self)


def final_report(study: StudyRecord, export: ExportReport | None = None) -> FinalReport:
    """Put together what the study holds and what was measured when its best trial was exported."""
    summary = summarise(study)
    return FinalReport(
        summary=summary,
        models=_model_rows(study, summary, export),
        front=tuple(_front_row(trial) for trial in front_trials(study)),
        verdict=None if export is None else str(export.verdict),
        conclusion=None if export is None else export.conclusion,
        directory=study.directory,
        export_directory=None if export is None else export.directory,
        next_commands=_next_commands(study, export),
        elastic=tuple(elastic_sentences(study)),
    )


def _model_rows(study: StudyRecord, summary: StudySummary, export: ExportReport | None) -> tuple[ModelRow, ...]:
    measured = {} if export is None else export.models
    row = partial(_row, is_timed=export is not None and export.is_on_target)
    rows = [row("dense", study.dense_top1, study.dense_latency.mean_ms, measured.get(DENSE))]
    fixed = baseline_trial(study)
    best_number = None if summary.best is None else summary.best.number
    taken_number = best_number if export is None else export.trial
    if fixed is not None and fixed.number not in {best_number, taken_number}:
        rows.append(row(fixed.label or FIXED, fixed.top1, fixed.latency.mean_ms, measured.get(FIXED)))
    for budget in summary.budgets[:-1]:
        if budget.best is not None:
            name = f"best under {budget.max_latency_ms:.3g} ms (trial {budget.best.number})"
            rows.append(row(name, budget.best.top1, budget.best.latency_ms, None))
    named = {best_number: f"best under {summary.max_latency_ms:.3g} ms"}
    named.setdefault(taken_number, "exported")  # for a faster one that is equal within the noise, or named by the user
    for trial in (trial for number in named for trial in study.trials if trial.number == number):
        timed = measured.get(EXPORTED) if trial.number == taken_number else None
        rows.append(row(f"{named[trial.number]} (trial {trial.number})", trial.top1, trial.latency.mean_ms, timed))
    return tuple(rows)


def _row(
    name: str, top1: float | None, predicted_ms: float, measured: Certificate | None, *, is_timed: bool
) -> ModelRow:
    if measured is None:
        return ModelRow(
            name=name, val_top1=top1, test_top1=None, predicted_ms=predicted_ms, measured_ms=None, speed_up=None
        )
    return ModelRow(
        name=name,
        val_top1=top1 if measured.val_top1 is None else measured.val_top1,
        test_top1=measured.test_top1,
        predicted_ms=predicted_ms,
        measured_ms=measured.p50_ms if is_timed else None,
        speed_up=measured.speed_up if is_timed else None,
    )


def _front_row(trial: TrialRecord) -> FrontRow:
    return FrontRow(
        number=trial.number,
        label=trial.label,
        top1=float(trial.top1 or 0.0),
        latency_ms=trial.latency.mean_ms,
        keep_rates=keep_rates(trial),
    )


def _next_commands(study: StudyRecord, export: ExportReport | None) -> tuple[str, ...]:
    name = study.name
    last = f"spvit-search export {name}" if export is None else f"spvit-search evaluate {export.directory}"
    smaller = (f"spvit-search export {name} --max-latency-ms {_rounded_up(ms)}" for ms in study.smaller_budgets_ms)
    return (f"spvit-search dashboard {name}", f"spvit-search pareto {name}", *smaller, last)


def _rounded_up(limit_ms: float) -> str:
    """Four digits, or seven and up: a trial that just fits a budget must fit what is typed."""
    text = f"{limit_ms:.4g}"
    if float(text) >= limit_ms:
        return text
    scale = 10.0 ** (6 - math.floor(math.log10(limit_ms)))
    return f"{math.ceil(limit_ms * scale) / scale:.7g}"
