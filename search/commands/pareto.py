"""`spvit-search pareto`: the best trade-offs between accuracy and latency, and the one to take."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from search.commands.comparing import comparing
from search.commands.csv_text import emit_rows
from search.commands.options import (
    POSITIVE,
    csv_option,
    epilog,
    evaluate_option,
    existing_study,
    json_option,
    runs_dir_option,
    study_argument,
)
from search.commands.output import columns
from search.records import StudyRecord, TrialRecord
from spvit.errors import UsageError

if TYPE_CHECKING:
    from search.choosing import Choice

EPILOG = epilog("spvit-search pareto demo --max-latency-ms 12", "usage", "data", "storage", "feasible")


@click.command("pareto", epilog=EPILOG)
@study_argument
@click.option("--max-latency-ms", type=POSITIVE, help="Choose the most accurate within this; leave out what is slower.")
@click.option("--min-top1", type=click.FloatRange(0, 100), help="Choose the fastest with this top-1 in percent.")
@click.option("--knee", is_flag=True, help="Choose the bend: beyond it a little more accuracy costs much latency.")
@evaluate_option
@runs_dir_option
@json_option
@csv_option
def command(
    *,
    study: str,
    max_latency_ms: float | None,
    min_top1: float | None,
    knee: bool,
    evaluate: bool,
    runs_dir: Path,
    as_json: bool,
    as_csv: bool,
) -> None:
    """List the Pareto front (finished trials that no other beats in both accuracy and latency), and choose from it.

    Trials that the validation images cannot tell apart are said to be equal, and the fastest of them is chosen, the
    simplest of those about as fast. Latencies are the table's predictions; `export` measures a model itself.
    """
    from search.commands.choice_text import choice_document
    from search.results import trial_row
    from search.selection import front_trials
    from search.study import read_study

    given = {"--max-latency-ms": max_latency_ms is not None, "--min-top1": min_top1 is not None, "--knee": knee}
    _check_one(given, evaluate=evaluate)
    record = read_study(existing_study(runs_dir, study))
    choice = _choose(record, max_latency_ms, min_top1, evaluate=evaluate) if any(given.values()) else None
    limit = float("inf") if max_latency_ms is None else max_latency_ms
    front = [trial for trial in front_trials(record) if trial.latency.high_ms <= limit]
    rows = [trial_row(trial, record) for trial in front]
    emit_rows(
        {"study": study, "front": rows} | ({} if choice is None else {"choice": choice_document(choice, record)}),
        rows if choice is None else [trial_row(choice.trial, record)],
        lambda: _text(front, record, choice),
        as_json=as_json,
        as_csv=as_csv,
    )


def _check_one(given: dict[str, bool], *, evaluate: bool) -> None:
    chosen = [name for name, is_given in given.items() if is_given]
    if len(chosen) > 1:
        raise UsageError(f"{' and '.join(chosen)} were both given; one of them says which trial to choose.")
    if evaluate and not chosen:
        raise UsageError(f"--evaluate compares what may be chosen; give one of {', '.join(given)} with it.")


def _choose(study: StudyRecord, max_latency_ms: float | None, min_top1: float | None, *, evaluate: bool) -> Choice:
    from search.choosing import choose

    with comparing(study, evaluate=evaluate) as compare:
        return choose(study, compare, max_latency_ms=max_latency_ms, min_top1=min_top1)


def _text(front: Sequence[TrialRecord], study: StudyRecord, choice: Choice | None) -> str:
    from search.commands.choice_text import choice_lines

    if not study.finished:
        return f"no trial of study {study.name!r} is finished yet"
    return "\n".join([_table(front, study), *([] if choice is None else ["", *choice_lines(choice, study)])])


def _table(front: Sequence[TrialRecord], study: StudyRecord) -> str:
    from search.selection import keep_rates

    heading = ["trial", "top-1 %", "latency ms", "speed-up", "keep rates"]
    rows = [
        [
            str(trial.number),
            f"{trial.top1:.2f}",
            f"{trial.latency.mean_ms:.3f}",
            f"{study.dense_latency.mean_ms / trial.latency.mean_ms:.2f}",
            " ".join(f"{rate:.3f}" for rate in keep_rates(trial)),
        ]
        for trial in front
    ]
    return columns([heading, *rows])
