"""`spvit-search progressive`: the paper's own strategy, to compare the search with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

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
from search.commands.pricing import priced_by
from search.commands.progress import progress_bar
from spvit.errors import NothingFeasibleError, StoppedError

if TYPE_CHECKING:
    from search.config import ExperimentConfig
    from search.progressive import Step
    from search.progressive_report import ProgressiveReport

EPILOG = epilog(
    "spvit-search progressive experiments/demo.toml --set progressive.max_top1_drop=2",
    *("usage", "config", "table", "data", "locked", "storage", "feasible", "stopped"),
)


@click.command("progressive", epilog=EPILOG)
@experiment_argument
@set_option
@click.option(
    "--profile/--no-profile", "may_measure", default=True, help="Measure the latency table first if there is none."
)
@experiment_runs_dir_option
@json_option
def command(
    experiment: Path, overrides: tuple[str, ...], runs_dir: Path | None, *, may_measure: bool, as_json: bool
) -> None:
    """Insert selectors from the last block forward and lower their keep rates until the latency limit holds.

    SPViT's own strategy, with the settings of [progressive] and the budget of [latency]: a rate goes down while a short
    fine-tuning loses no more accuracy than allowed. Similar neighbours become one stage, and the schedule found is
    trained in full. Called again it goes on, and makes no training twice, also where thresholds were changed. All is
    kept in the study's folder under progressive.
    """
    config = read_experiment(experiment, overrides, runs_dir)
    with _stoppable(f"spvit-search progressive {experiment}"):
        report = _run(config, f"spvit-search progressive {experiment}", may_measure=may_measure)
    if report.final is None:
        raise NothingFeasibleError(
            f"{report.shortfall()}. Raise progressive.max_top1_drop, progressive.epochs_per_step or the budget; steps "
            f"that were trained are not trained again unless their epochs change"
        )
    emit(report.to_dict(), report.to_text, as_json=as_json)


def _run(config: ExperimentConfig, again: str, *, may_measure: bool) -> ProgressiveReport:
    from search.inputs import check_inputs
    from search.lock import study_lock
    from search.progressive_inputs import check_progressive_inputs
    from search.progressive_run import FOLDER, ProgressiveRun
    from search.progressive_target import make_target
    from search.table_files import keep_rescaled

    check_progressive_inputs(config)
    check_inputs(config)
    study = study_folder(config)
    with study_lock(study / FOLDER, what=f"the progressive insertion in {study / FOLDER}", again=again):
        table = priced_by(config, study, may_measure=may_measure)
        target = make_target(config, table)
        keep_rescaled(table, study)
        run = ProgressiveRun(config, target, study / FOLDER, table=table, bar=progress_bar, on_step=_tell)
        report = run.run()
    if config.tracking.enabled:
        from search.progressive_tracking import track

        track(report, study, uri=config.tracking.uri)
    return report


def _tell(step: Step) -> None:
    from search.progressive_report import step_line

    click.echo(step_line(step), err=True)


@contextmanager
def _stoppable(again: str) -> Iterator[None]:
    """Ends on SIGINT and SIGTERM between two bytecodes: whatever is written is written whole, so no place is bad."""
    from search.signals import stop_on_signals

    try:
        with stop_on_signals(_interrupt):
            yield
    except KeyboardInterrupt:
        raise StoppedError(f"stopped; finished steps and epochs are kept: `{again}` goes on") from None


def _interrupt() -> None:
    raise KeyboardInterrupt
