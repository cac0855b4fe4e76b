"""`spvit-search compare`: two trials side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from search.commands.csv_text import emit_rows
from search.commands.options import csv_option, epilog, existing_study, json_option, runs_dir_option, study_argument
from search.commands.output import columns
from search.commands.progress import progress_bar
from search.commands.show import curve_text
from search.records import StudyRecord, TrialRecord

if TYPE_CHECKING:
    from search.noise import Difference
    from search.trial_pair import TrialPair

NUMBER = click.IntRange(min=0)


@click.command("compare", epilog=epilog("spvit-search compare demo 3 7", "usage", "data", "storage"))
@study_argument
@click.argument("first", type=NUMBER)
@click.argument("second", type=NUMBER)
@click.option("--evaluate", is_flag=True, help="Compare image by image, from the trials' checkpoints.")
@runs_dir_option
@json_option
@csv_option
def command(
    *, study: str, first: int, second: int, evaluate: bool, runs_dir: Path, as_json: bool, as_csv: bool
) -> None:
    """Compare two trials: configurations, accuracy and latency with intervals, curves.

    Where the answers of both are not known yet, and without --evaluate, only the top-1s are compared, as if each stood
    on images of its own: what that tells apart differs, what it does not may still.
    """
    from search.selection import find_trial
    from search.study import read_study
    from search.trial_pair import check_comparable, trial_pair

    record = read_study(existing_study(runs_dir, study))
    trials = find_trial(record, first), find_trial(record, second)
    check_comparable(record, *trials)
    pair = trial_pair(record, *trials, _difference(record, *trials, evaluate=evaluate))
    emit_rows(
        _document(pair, record),
        [{"key": d.key, f"trial_{first}": d.first, f"trial_{second}": d.second} for d in pair.differences],
        lambda: pair_text(pair, record),
        as_json=as_json,
        as_csv=as_csv,
    )


def _difference(study: StudyRecord, first: TrialRecord, second: TrialRecord, *, evaluate: bool) -> Difference | None:
    from search.answers import by_answers, evaluated_answers
    from search.noise import paired_difference

    if not evaluate:
        return by_answers(study)(first, second)
    with progress_bar("comparing") as progress:
        return paired_difference(*(evaluated_answers(study, trial, progress) for trial in (first, second)))


def _document(pair: TrialPair, study: StudyRecord) -> dict[str, object]:
    from search.results import trial_row

    return {
        "study": study.name,
        "trials": [trial_row(trial, study) | {"curve": trial.curve} for trial in (pair.first, pair.second)],
        "config": pair.differences,
        "top1": pair.top1,
        "latency_ratio": pair.latency,
        "dominates": pair.dominates,
    }


def pair_text(pair: TrialPair, study: StudyRecord) -> str:
    """Two trials for a reader."""
    heading = ["", f"trial {pair.first.number}", f"trial {pair.second.number}"]
    trials = (pair.first, pair.second)
    rows = [
        ["state", *(trial.state.lower() for trial in trials)],
        ["top-1 %", *("-" if trial.top1 is None else f"{trial.top1:.2f}" for trial in trials)],
        ["latency ms", *(_latency(trial) for trial in trials)],
        ["speed-up", *(f"{study.dense_latency.mean_ms / trial.latency.mean_ms:.2f}" for trial in trials)],
        ["curve", *(curve_text(trial.curve) for trial in trials)],
        *([d.key, _value(d.first), _value(d.second)] for d in pair.differences),
    ]
    return "\n".join([columns([heading, *rows]), "", _top1_sentence(pair, study), _latency_sentence(pair)])


def _top1_sentence(pair: TrialPair, study: StudyRecord) -> str:
    if pair.top1 is None:
        if pair.first.top1 is None or pair.second.top1 is None:
            return "accuracy: not both are trained to the end"
        return f"accuracy: {pair.first.top1 - pair.second.top1:+.2f} points; on how many images, the study does not say"
    verdict = "equal within the noise" if pair.top1.is_noise else f"trial {_better(pair).number} is more accurate"
    again = f"compare {study.name} {pair.first.number} {pair.second.number} --evaluate"
    how = "image by image" if pair.top1.is_paired else f"by top-1 alone; sharper: spvit-search {again}"
    return f"accuracy: {verdict}: {pair.top1.to_text()}, {how}"


def _better(pair: TrialPair) -> TrialRecord:
    return pair.first if pair.top1 is not None and pair.top1.points > 0 else pair.second


def _latency_sentence(pair: TrialPair) -> str:
    ratio = pair.latency
    faster = pair.first if ratio.ratio < 1 else pair.second
    surely = ", but the intervals overlap" if ratio.is_noise else ""
    verdict = f"trial {faster.number} is faster{surely}"
    return (
        f"latency: {verdict}: trial {pair.first.number} takes {ratio.ratio:.3f} times as long as trial "
        f"{pair.second.number} ({ratio.low:.3f} to {ratio.high:.3f}, as predicted)"
    )


def _latency(trial: TrialRecord) -> str:
    return f"{trial.latency.mean_ms:.3f} ({trial.latency.low_ms:.3f} to {trial.latency.high_ms:.3f})"


def _value(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
