"""`spvit-search record`: a study as a table for searches to be replayed on."""

from __future__ import annotations

from pathlib import Path

import click

from search.commands.options import epilog, existing_study, json_option, runs_dir_option, study_argument
from search.commands.output import emit

FILE = "recorded.parquet"


@click.command("record", epilog=epilog("spvit-search record demo", "usage", "config", "table", "storage"))
@study_argument
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    default=None,
    help=f"The table's file instead of {FILE} in the study's folder.",
)
@runs_dir_option
@json_option
def command(study: str, output: Path | None, runs_dir: Path, *, as_json: bool) -> None:
    """Write a study as a table: what each configuration costs, and its accuracy after every epoch.

    Holds the trials that were trained to the end, for `spvit-search simulate`. Best of a study with random sampling
    and no pruner.
    """
    from search.recording import record_study

    folder = existing_study(runs_dir, study)
    path = output or folder / FILE
    recorded = record_study(folder, path)
    recorded.save(path)
    document = {
        "file": str(path),
        "num_recorded": len(recorded.trials),
        "num_epochs": recorded.epochs,
        "num_bytes": path.stat().st_size,
        "provenance": dict(recorded.provenance),
    }
    emit(document, lambda: f"{path}: {len(recorded.trials)} configurations x {recorded.epochs} epochs", as_json=as_json)
