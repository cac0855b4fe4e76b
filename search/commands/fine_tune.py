"""`spvit-search fine-tune`: train the one schedule that an experiment names."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from search.commands.options import (
    epilog,
    experiment_argument,
    experiment_runs_dir_option,
    json_option,
    read_experiment,
    set_option,
    study_folder,
)
from search.commands.output import emit
from search.commands.progress import progress_bar

if TYPE_CHECKING:
    from trainers.fine_tune import FineTuner
    from trainers.metrics import EpochMetrics

EPILOG = epilog(
    "spvit-search fine-tune experiments/demo.toml --set training.epochs=10",
    *("usage", "config", "data", "locked", "storage", "stopped"),
)


@click.command("fine-tune", epilog=EPILOG)
@experiment_argument
@set_option
@experiment_runs_dir_option
@json_option
def command(experiment: Path, overrides: tuple[str, ...], runs_dir: Path | None, *, as_json: bool) -> None:
    """Train the schedule of [pruning] with the settings of [losses] and [training], without any search.

    A run that was stopped goes on from its newest checkpoint, in the study's folder under fine_tune, when it is called
    again.
    """
    config = read_experiment(experiment, overrides, runs_dir)
    folder = study_folder(config) / "fine_tune"
    from search.inputs import check_inputs
    from search.lock import study_lock
    from search.model_facts import trial_of
    from trainers.fine_tune import FineTuner

    check_inputs(config)
    with study_lock(folder, what=f"the fine-tuning in {folder}", again=f"spvit-search fine-tune {experiment}"):
        tuner = FineTuner(trial_of(config), folder)
        _announce(tuner, config.training.epochs)
        while not tuner.is_done:
            _run_epoch(tuner, config.training.epochs)
    last = tuner.history[-1]
    emit(
        _document(tuner, folder),
        lambda: f"{_line(last, config.training.epochs)}\ncheckpoints {folder}",
        as_json=as_json,
    )


def _announce(tuner: FineTuner, num_epochs: int) -> None:
    if tuner.epoch:
        click.echo(f"going on after epoch {tuner.epoch} of {num_epochs}", err=True)


def _run_epoch(tuner: FineTuner, num_epochs: int) -> None:
    with progress_bar(f"epoch {tuner.epoch + 1}/{num_epochs}") as progress:
        metrics = tuner.run_epoch(lambda done, steps: progress(done / steps, f"step {done} of {steps}"))
    click.echo(_line(metrics, num_epochs), err=True)


def _line(metrics: EpochMetrics, num_epochs: int) -> str:
    result = metrics.evaluation
    return (
        f"epoch {metrics.epoch}/{num_epochs}: top-1 {result.top1:.2f} %, top-5 {result.top5:.2f} %, "
        f"loss {result.loss:.4f}, {metrics.images_per_second:.0f} images/s"
    )


def _document(tuner: FineTuner, folder: Path) -> dict[str, Any]:
    return {"directory": folder, "epochs": [metrics.to_dict() for metrics in tuner.history]}
