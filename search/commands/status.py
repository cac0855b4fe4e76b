"""`spvit-search status`: how far a study is."""

from __future__ import annotations

from pathlib import Path

import click

from search.commands.options import epilog, existing_study, json_option, runs_dir_option, study_argument
from search.commands.output import emit
from search.pareto import ParetoPoint
from search.progress_state import duration
from search.records import StudyRecord
from search.summary import StudySummary
from search.usage import Usage

MORE = "{} --trials +N, or launch with another value of the key above"


@click.command("status", epilog=epilog("spvit-search status demo", "usage", "storage"))
@study_argument
@runs_dir_option
@json_option
def command(study: str, runs_dir: Path, *, as_json: bool) -> None:
    """Say how far a study is: trials by state, rejected proposals, epochs, the best model within the budget.

    Works while the study is running, from another terminal.
    """
    from search.driver_seen import is_running
    from search.study import read_study
    from search.summary import summarise

    folder = existing_study(runs_dir, study)
    record = read_study(folder)
    summary, running = summarise(record), is_running(record, folder)
    who = {"driver": record.driver if running else None, "generations": record.generations}
    emit(
        summary.to_dict() | {"directory": folder, "is_running": running} | who,
        lambda: "\n".join([summary_text(summary, is_running=running), *_further(record, is_running=running)]),
        as_json=as_json,
    )


def _further(study: StudyRecord, *, is_running: bool) -> list[str]:
    """Who drives the study, and what changed while it was searched."""
    driver = [f"driver    {study.driver}"] if is_running and study.driver is not None else []
    return [*driver, *generation_lines(study)]


def generation_lines(study: StudyRecord) -> list[str]:
    """A line for each generation after the first: from which trial on, and what changed."""
    return [f"changed   {generation}" for generation in study.generations]


def summary_text(summary: StudySummary, *, is_running: bool) -> str:
    """A summary in a few lines for a reader."""
    counts = ", ".join(f"{count} {state.value.lower()}" for state, count in summary.counts.items() if count)
    rejected = ", ".join(f"{count} {reason.value.replace('_', ' ')}" for reason, count in summary.rejections.items())
    lines = [
        f"study     {summary.name} ({'running' if is_running else 'not running'})",
        f"trials    {counts or 'none yet'}; {summary.num_counted} of the {summary.num_trials} asked for",
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
