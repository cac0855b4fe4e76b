"""One search from the table to the record, with everybody who wants to know how it goes."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from latency_tables.table import LatencyTable
from search.config import ExperimentConfig
from search.experiment import validate
from search.listener import StudyListener
from search.records import StudyRecord
from search.report_files import ReportFiles
from search.study_opening import OpeningTerms

if TYPE_CHECKING:
    from search.tracking import MlflowTracker


def run_search(
    experiment: ExperimentConfig,
    table: LatencyTable,
    *,
    resume: bool = False,
    address: str | None = None,
    listeners: Sequence[StudyListener] = (),
    terms: OpeningTerms | None = None,
) -> StudyRecord:
    """Searches, showing progress on stderr and tracking in MLflow unless the experiment says otherwise.

    `listeners` are told too, before the usual ones.

    Raises:
        SpvitError: whatever ends a search early; what finished before is kept.
    """
    from search.launcher import launch

    folder = experiment.study.directory / experiment.study.name
    return launch(
        experiment,
        table,
        listeners=[*listeners, *_listeners(experiment, folder)],
        resume=resume,
        address=address,
        terms=terms or OpeningTerms(),
    )


def study_listeners(experiment: ExperimentConfig) -> list[StudyListener]:
    """Everybody who wants to know how trials of an experiment's study go."""
    return _listeners(experiment, experiment.study.directory / experiment.study.name)


def _listeners(experiment: ExperimentConfig, folder: Path) -> list[StudyListener]:
    from search.view import TerminalView

    view: list[StudyListener] = [TerminalView()]
    return [*view, _tracker(experiment, folder) if experiment.tracking.enabled else ReportFiles()]


def _tracker(experiment: ExperimentConfig, folder: Path) -> MlflowTracker:
    from search.tracking import MlflowTracker

    return MlflowTracker(folder, uri=experiment.tracking.uri, on_address=_say)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # above the live display, which takes over stderr


def stored_experiment(study: StudyRecord, folder: Path) -> ExperimentConfig:
    """The experiment that a study was made from, its folder being where the study is now.

    Raises:
        ConfigError: the study was written by another version whose experiments are different.
    """
    experiment = validate(study.experiment, source=f"the experiment stored in {folder}")
    study_config = experiment.study.model_copy(update={"directory": folder.parent})
    return experiment.model_copy(update={"study": study_config})
