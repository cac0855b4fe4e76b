"""`spvit-search status`: how far a study is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from search.commands.csv_text import emit_rows
from search.commands.options import csv_option, epilog, existing_study, json_option, runs_dir_option, study_argument
from search.pareto import ParetoPoint
from search.plain_json import plain
from search.progress_state import duration, planned_epochs
from search.records import StudyRecord, TrialRecord, TrialState
from search.retries import IN_ORDER
from search.summary import StudySummary
from search.usage import Usage

MORE = "{} --trials +N, or launch with another value of the key above"


@click.command("status", epilog=epilog("spvit-search status demo", "usage", "storage"))
@study_argument
@runs_dir_option
@json_option
@csv_option
def command(study: str, runs_dir: Path, *, as_json: bool, as_csv: bool) -> None:
    """Say how far a study is: trials by state, rejected proposals, epochs, what is running, the best within the budget.

    Works while the study is running, from another terminal.
    """
    from search.driver_seen import is_running
    from search.study import read_study
    from search.summary import summarise

    folder = existing_study(runs_dir, study)
    record = read_study(folder)
    summary, running_now = summarise(record), is_running(record, folder)
    running = [trial for trial in record.trials if running_now and trial.state is TrialState.RUNNING]
    who = {"driver": record.driver if running_now else None, "generations": record.generations}
    document = summary.to_dict() | {"directory": folder, "is_running": running_now}
    lines = [summary_text(summary, is_running=running_now), *_further(record, is_running=running_now)]
    emit_rows(
        document | who | {"running": [_running_row(trial, record) for trial in running]},
        [_flat(document)],
        lambda: "\n".join([*lines, *_running_lines(running, record)]),
        as_json=as_json,
        as_csv=as_csv,
    )


def _running_row(trial: TrialRecord, study: StudyRecord) -> dict[str, Any]:
    from search.results import trial_row

    return trial_row(trial, study) | {"num_planned_epochs": planned_epochs(trial, study), "curve": trial.curve}


def _running_lines(running: Sequence[TrialRecord], study: StudyRecord) -> list[str]:
    from search.view_lines import running_line

    return [f"running   {running_line(trial, study)}" for trial in running]


def _flat(document: Mapping[str, Any]) -> dict[str, Any]:
    """One row: numbers by their dotted names; the front and the budgets have commands of their own."""
    from search.trial_pair import flattened

    return flattened({key: value for key, value in plain(document).items() if key not in {"front", "budgets"}})


def _further(study: StudyRecord, *, is_running: bool) -> list[str]:
    """Who drives the study, and what changed while it was searched."""
    driver = [f"driver    {study.driver}"] if is_running and study.driver is not None else []
    return [*driver, *generation_lines(study)]


def generation_lines(study: StudyRecord) -> list[str]:
    """A line for each generation after the first: from which trial on, and what changed."""
    return [f"changed   {generation}" for generation in study.generations]


def summary_text(summary: StudySummary, *, is_running: bool) -> str:
    """A summary in a few lines for a reader."""
    counts = ", ".join(f"{count} {name}" for name, count in _counts(summary).items() if count)
    rejected = ", ".join(f"{count} {reason.value.replace('_', ' ')}" for reason, count in summary.rejections.items())
    lines = [
        f"study     {summary.name} ({'running' if is_running else 'not running'})",
        f"trials    {counts or 'none yet'}; {summary.num_counted} of the {summary.num_trials} asked for",
        *_failures(summary),
        f"rejected  {rejected} (before any training)",
        f"epochs    {summary.num_epochs_trained} trained, {summary.num_epochs_saved} saved by stopping early",
        f"time      {_used(summary.usage)}",
        f"budget    {summary.max_latency_ms:.3f} ms (dense model: {summary.dense_latency_ms:.3f} ms)",
        *(
            f"within    {budget.max_latency_ms:.3f} ms: {_best(budget.best, summary)}"
            for budget in summary.budgets[:-1]
        ),
        f"best      {_best(summary.best, summary)}",
    ]
    return "\n".join([*lines, *([] if is_running else _ending(summary))])


def _counts(summary: StudySummary) -> dict[str, int]:
    """Attempts by how they ended; one that was interrupted did not fail."""
    counts = {state.value.lower(): count for state, count in summary.counts.items() if state is not TrialState.FAIL}
    return counts | {"interrupted": summary.num_interrupted, "failed": summary.num_failed}


def _failures(summary: StudySummary) -> list[str]:
    """What could not go on by cause, and how much of it will."""
    causes = {cause: count for cause, count in summary.failures.items() if count and cause not in IN_ORDER}
    told = [f"{count} {cause.value.replace('_', ' ')}" for cause, count in causes.items()]
    told += [f"{summary.num_to_go_on} to be run again"] if summary.num_to_go_on else []
    return [f"failures  {', '.join(told)}"] if told else []


def _ending(summary: StudySummary) -> list[str]:
    """Why the search ended, where that is known, and how to go on."""
    ended = [] if summary.end is None else [f"ended     {summary.end.reason}"]
    if summary.end is not None and summary.end.is_final:
        return [*ended, f"continue  {MORE.format(f'spvit-search extend {summary.name}')}"]
    if summary.num_counted < summary.num_trials:
        return [*ended, f"continue  spvit-search resume {summary.name}"]
    return ended


def _used(usage: Usage) -> str:
    gpus = f", {usage.gpu_hours:.2f} GPU-hours" if usage.gpu_s else ""
    return f"{duration(usage.wall_s)} of searching{gpus}"


def _best(best: ParetoPoint | None, summary: StudySummary) -> str:
    if best is None:
        return "none within the budget yet"
    speed_up = summary.dense_latency_ms / best.latency_ms
    return (
        f"trial {best.number}: {best.top1:.2f} % top-1 at {best.latency_ms:.3f} ms "
        f"({speed_up:.2f} times as fast as dense)"
    )
