"""`spvit-search pareto`: the best trade-offs between accuracy and latency."""

from __future__ import annotations

from pathlib import Path

import click

from search.commands.options import POSITIVE, epilog, existing_study, json_option, runs_dir_option, study_argument
from search.commands.output import columns, emit
from search.records import StudyRecord, TrialRecord


@click.command("pareto", epilog=epilog("spvit-search pareto demo --max-latency-ms 12", "usage", "storage", "feasible"))
@study_argument
@click.option("--max-latency-ms", type=POSITIVE, help="Leave out what may be slower.")
@runs_dir_option
@json_option
def command(study: str, max_latency_ms: float | None, runs_dir: Path, *, as_json: bool) -> None:
    """List the Pareto front: the finished trials that no other beats in both accuracy and latency.

    Latencies are the table's predictions; `export` measures a model itself.
    """
    from search.results import trial_row
    from search.selection import front_trials
    from search.study import read_study
    from spvit.errors import NothingFeasibleError

    record = read_study(existing_study(runs_dir, study))
    limit = float("inf") if max_latency_ms is None else max_latency_ms
    front = [trial for trial in front_trials(record) if trial.latency.high_ms <= limit]
    if max_latency_ms is not None and not front:
        raise NothingFeasibleError(f"no finished trial of study {study!r} is within {max_latency_ms:g} ms")
    rows = [trial_row(trial, record) for trial in front]
    emit({"study": study, "front": rows}, lambda: _text(front, record), as_json=as_json)


def _text(front: list[TrialRecord], study: StudyRecord) -> str:
    from search.selection import keep_rates

    if not front:
        return f"no trial of study {study.name!r} is finished yet"
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
