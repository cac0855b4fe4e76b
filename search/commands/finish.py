"""`spvit-search finish`: train a search's best configurations to full length."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from search.commands.choice_text import choice_document, point_text, taken_lines
from search.commands.comparing import comparing
from search.commands.options import (
    POSITIVE,
    address_option,
    epilog,
    evaluate_option,
    existing_study,
    json_option,
    opening_options,
    runs_dir_option,
    study_argument,
)
from search.commands.output import columns, emit
from search.commands.pricing import priced_by
from search.records import StudyRecord, TrialRecord
from spvit.errors import UsageError

if TYPE_CHECKING:
    from search.choosing import Choice

CODES = ("usage", "table", "data", "locked", "mismatch", "storage", "cluster", "failures", "feasible", "stopped")


@click.command("finish", epilog=epilog("spvit-search finish demo --max-latency-ms 12 --epochs 30 --top 3", *CODES))
@study_argument
@click.option("--epochs", type=click.IntRange(min=1), required=True, help="Epochs that they are trained to, in all.")
@click.option("--trial", "numbers", type=click.IntRange(min=0), multiple=True, help="This trial; repeatable.")
@click.option("--max-latency-ms", type=POSITIVE, help="What `pareto` takes within this; else the study's budget.")
@click.option(
    "--top", type=click.IntRange(min=1), default=1, show_default=True, help="So many: what it takes, then of the rest."
)
@evaluate_option
@address_option
@opening_options
@runs_dir_option
@json_option
def command(
    *,
    study: str,
    epochs: int,
    numbers: tuple[int, ...],
    max_latency_ms: float | None,
    top: int,
    evaluate: bool,
    address: str | None,
    runs_dir: Path,
    accept_change: bool,
    takeover: bool,
    as_json: bool,
) -> None:
    """Train the best trials of a search on from their checkpoints, with its workers, and record them in the study.

    Of trials that the validation images cannot tell apart it is the fastest, as `pareto` says; --trial names others.
    Schedules that elastic weights priced are candidates too, trained from those weights. Each becomes a trial of its
    own under the same run in MLflow, which samplers do not learn from; `export` then picks the best of all. What was
    interrupted goes on when the command is given again.
    """
    if numbers and max_latency_ms is not None:
        raise UsageError("--trial and --max-latency-ms were both given; one of them says which trials to finish.")
    if numbers and top > 1:
        raise UsageError("--top says how many are chosen: there is no choice with --trial.")
    if numbers and evaluate:
        raise UsageError("--evaluate compares what may be chosen: there is no choice with --trial.")
    from search.finish_run import run_finish
    from search.finishing import choices_to_finish, finished_trials
    from search.inputs import check_search_inputs
    from search.priced_candidates import with_priced
    from search.searching import stored_experiment
    from search.study import read_study
    from search.study_opening import OpeningTerms

    folder = existing_study(runs_dir, study)
    record = read_study(folder)
    experiment = stored_experiment(record, folder)
    known = record if numbers else with_priced(record, experiment, epochs=epochs, max_latency_ms=max_latency_ms)
    with comparing(record, evaluate=evaluate) as compare:
        choices = choices_to_finish(
            known, compare, epochs=epochs, numbers=numbers, max_latency_ms=max_latency_ms, top=top
        )
    for choice in choices:  # before hours of training, and not on stdout
        click.echo("\n".join([_announcement(choice, known, epochs), *taken_lines(choice, known, "finish")]), err=True)
    chosen = tuple(choice.trial for choice in choices)
    check_search_inputs(experiment)
    table = priced_by(experiment, folder, may_measure=False)
    terms = OpeningTerms(accept_change=accept_change, takeover=takeover)
    after = run_finish(experiment, table, chosen=chosen, epochs=epochs, address=address, terms=terms)
    finished = finished_trials(after, chosen, epochs)
    document = {
        "study": study,
        "finished": finished,
        "choices": [choice_document(choice, known) for choice in choices],
    }
    emit(document, lambda: _text(study, chosen, finished), as_json=as_json)


def _announcement(choice: Choice, study: StudyRecord, epochs: int) -> str:
    return f"to be trained from {choice.trial.num_epochs} to {epochs} epochs: {point_text(choice.trial, study)}"


def _text(study: str, chosen: tuple[TrialRecord, ...], finished: tuple[TrialRecord, ...]) -> str:
    rows = [["trial", "goes on from", "epochs", "top-1 before", "top-1 %", "latency ms"]]
    for trial in finished:
        origin = None if trial.continues is None else _origin(trial.continues, chosen)
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


def _origin(root: int, chosen: tuple[TrialRecord, ...]) -> TrialRecord | None:
    return next((trial for trial in chosen if root in {trial.number, trial.retry_of}), None)


def _percent(top1: float | None) -> str:
    return "" if top1 is None else f"{top1:.2f}"
