"""`spvit-search finish`: train a search's best configurations to full length."""

from __future__ import annotations

from pathlib import Path

import click

from search.commands.options import (
    POSITIVE,
    address_option,
    epilog,
    existing_study,
    json_option,
    runs_dir_option,
    study_argument,
)
from search.commands.output import columns, emit
from search.commands.pricing import priced_by
from search.records import TrialRecord
from spvit.errors import UsageError

CODES = ("usage", "table", "data", "locked", "mismatch", "storage", "cluster", "failures", "feasible", "stopped")


@click.command("finish", epilog=epilog("spvit-search finish demo --max-latency-ms 12 --epochs 30 --top 3", *CODES))
@study_argument
@click.option("--epochs", type=click.IntRange(min=1), required=True, help="Epochs that they are trained to, in all.")
@click.option("--trial", "numbers", type=click.IntRange(min=0), multiple=True, help="This trial; repeatable.")
@click.option("--max-latency-ms", type=POSITIVE, help="The best within this latency instead of the study's budget.")
@click.option("--top", type=click.IntRange(min=1), default=1, show_default=True, help="So many of the best.")
@address_option
@runs_dir_option
@json_option
def command(
    *,
    study: str,
    epochs: int,
    numbers: tuple[int, ...],
    max_latency_ms: float | None,
    top: int,
    address: str | None,
    runs_dir: Path,
    as_json: bool,
) -> None:
    """Train the best trials of a search on from their checkpoints, with its workers, and record them in the study.

    Schedules that elastic weights priced are candidates too, trained from those weights. Each becomes a trial of its
    own under the same run in MLflow, which samplers do not learn from; `export` then picks the best of all. What was
    interrupted goes on when the command is given again.
    """
    if numbers and max_latency_ms is not None:
        raise UsageError("--trial and --max-latency-ms were both given; one of them says which trials to finish.")
    from search.finish_run import run_finish
    from search.finishing import finished_trials, trials_to_finish
    from search.inputs import check_search_inputs
    from search.priced_candidates import with_priced
    from search.searching import stored_experiment
    from search.study import read_study

    folder = existing_study(runs_dir, study)
    record = read_study(folder)
    experiment = stored_experiment(record, folder)
    known = record if numbers else with_priced(record, experiment, epochs=epochs, max_latency_ms=max_latency_ms)
    chosen = trials_to_finish(known, epochs=epochs, numbers=numbers, max_latency_ms=max_latency_ms, top=top)
    check_search_inputs(experiment)
    table = priced_by(experiment, folder, may_measure=False)
    after = run_finish(experiment, table, chosen=chosen, epochs=epochs, address=address)
    finished = finished_trials(after, chosen, epochs)
    emit({"study": study, "finished": finished}, lambda: _text(study, chosen, finished), as_json=as_json)


def _text(study: str, chosen: tuple[TrialRecord, ...], finished: tuple[TrialRecord, ...]) -> str:
    before = {trial.number: trial for trial in chosen}
    rows = [["trial", "goes on from", "epochs", "top-1 before", "top-1 %", "latency ms"]]
    for trial in finished:
        origin = next((t for t in before.values() if trial.continues in {t.number, t.retry_of}), None)
        rows.append(
            [
                str(trial.number),
                trial.label if trial.continues is None else str(trial.continues),
                str(trial.num_epochs),
                _percent(trial.estimated_top1 if origin is None else origin.top1),
                _percent(trial.top1) if trial.top1 is not None else trial.reason,
                f"{trial.latency.mean_ms:.3f}",
            ]
        )
    return f"{columns(rows)}\nexport the best: spvit-search export {study}"


def _percent(top1: float | None) -> str:
    return "" if top1 is None else f"{top1:.2f}"
