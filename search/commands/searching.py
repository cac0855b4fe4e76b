"""What `launch`, `resume` and `run` have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from search.commands.options import study_folder
from search.commands.output import emit
from search.commands.status import summary_text
from search.records import StudyRecord
from search.study_files import STUDY_FILE

if TYPE_CHECKING:
    from search.config import ExperimentConfig

SEARCH_CODES = ("usage", "table", "data", "locked", "mismatch", "storage", "cluster", "failures", "feasible", "stopped")


def say_what_happens(experiment: ExperimentConfig) -> None:
    """Says on stderr what launching does where there is such a study already."""
    folder = study_folder(experiment)
    if not (folder / STUDY_FILE).is_file():
        return
    from search.again import what_happens
    from search.study import read_study

    click.echo(what_happens(read_study(folder), experiment.search.num_trials), err=True)


def emit_summary(study: StudyRecord, *, as_json: bool) -> None:
    """Prints how a search ended."""
    from search.summary import summarise

    summary = summarise(study)
    emit(
        summary.to_dict() | {"directory": study.directory, "is_running": False},
        lambda: f"{summary_text(summary, is_running=False)}\nfolder    {study.directory}",
        as_json=as_json,
    )
