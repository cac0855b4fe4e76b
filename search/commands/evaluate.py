"""`spvit-search evaluate`: accuracy, cost and measured latency of one model."""

from __future__ import annotations

from pathlib import Path

import click

from search.commands.options import (
    epilog,
    experiment_runs_dir_option,
    json_option,
    read_experiment,
    set_option,
    study_folder,
)
from search.commands.output import emit
from search.commands.progress import progress_bar
from spvit.errors import UsageError

EPILOG = epilog("spvit-search evaluate runs/demo/export/best", "usage", "config", "data", "storage")


@click.command("evaluate", epilog=EPILOG)
@click.argument("experiment_or_export", type=click.Path(path_type=Path))
@set_option
@experiment_runs_dir_option
@json_option
def command(experiment_or_export: Path, overrides: tuple[str, ...], runs_dir: Path | None, *, as_json: bool) -> None:
    """Evaluate an exported folder, or the schedule of an experiment file as far as it was fine-tuned.

    Tells top-1, top-5 and loss on the validation images, the tokens that enter each block, multiply-accumulates, and
    the time of a batch measured here side by side with the dense model.
    """
    from search.evaluation import evaluate_experiment, evaluate_export

    if experiment_or_export.is_dir():
        if overrides:
            raise UsageError("--set changes an experiment file; an exported folder is evaluated as it is.")
        with progress_bar("evaluating") as progress:
            report = evaluate_export(experiment_or_export, progress)
    else:
        config = read_experiment(experiment_or_export, overrides, runs_dir)
        with progress_bar("evaluating") as progress:
            report = evaluate_experiment(config, study_folder(config), progress)
    emit(report.to_dict(), report.to_text, as_json=as_json)
