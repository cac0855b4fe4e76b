"""`spvit-search trials`: every trial of a study."""

from __future__ import annotations

from pathlib import Path

import click

from search.commands.csv_text import emit_rows
from search.commands.options import csv_option, epilog, existing_study, json_option, runs_dir_option, study_argument
from search.commands.output import columns
from search.records import StudyRecord, TrialRecord


@click.command("trials", epilog=epilog("spvit-search trials demo", "usage", "storage"))
@study_argument
@runs_dir_option
@json_option
@csv_option
def command(study: str, runs_dir: Path, *, as_json: bool, as_csv: bool) -> None:
    """List every trial of a study: state, accuracy, predicted latency, keep rates and why it was stopped."""
    from search.results import trial_row
    from search.study import read_study

    record = read_study(existing_study(runs_dir, study))
    rows = [trial_row(trial, record) for trial in record.trials]
    emit_rows({"study": study, "trials": rows}, rows, lambda: _text(record), as_json=as_json, as_csv=as_csv)


def _text(study: StudyRecord) -> str:
    if not study.trials:
        return f"study {study.name!r} has no trials yet"
    heading = ["trial", "state", "top-1 %", "latency ms", "epochs", "keep rates", "reason"]
    return columns([heading, *(_row(trial) for trial in study.trials)])


def _row(trial: TrialRecord) -> list[str]:
    from search.selection import keep_rates

    last = trial.top1 if trial.top1 is not None else (trial.curve[-1] if trial.curve else None)
    return [
        str(trial.number),
        trial.state.value.lower(),
        "-" if last is None else f"{last:.2f}",
        f"{trial.latency.mean_ms:.3f}",
        str(trial.num_epochs),
        " ".join(f"{rate:.3f}" for rate in keep_rates(trial)),
        trial.label or trial.reason,
    ]
