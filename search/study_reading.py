"""A study as anybody reads it, also while a driver is running it."""

from __future__ import annotations

from pathlib import Path

from search import study_attrs as names
from search.config import ExperimentConfig
from search.records import StudyRecord
from search.storage import load, reading
from search.study_files import STUDY_FILE, read_study_file, sqlite_url
from spvit.errors import UsageError


def study_directory(experiment: ExperimentConfig) -> Path:
    """Where an experiment's study is kept; absolute, since workers run elsewhere."""
    return experiment.study.directory.resolve() / experiment.study.name


def read_study(directory: Path) -> StudyRecord:
    """A study as it stands, also while a driver is running it.

    Raises:
        UsageError: there is no such study; names those that there are.
        StorageError: its storage cannot be read.
    """
    check_exists(directory)
    file = read_study_file(directory)
    with reading(directory):
        study = load(file.name, file.storage or sqlite_url(directory))
        attrs = study.user_attrs
        stored = study.get_trials(deepcopy=False)
        trials = tuple(names.trial_record(trial, names.mlflow_run(attrs, trial.number)) for trial in stored)
        return names.study_record(file.name, str(directory), attrs, trials)


def list_studies(runs_directory: Path) -> tuple[str, ...]:
    """Names of the studies in a runs folder."""
    return tuple(sorted(path.parent.name for path in runs_directory.glob(f"*/{STUDY_FILE}")))


def check_exists(directory: Path) -> None:
    """Refuses the name of a study that is not there.

    Raises:
        UsageError: naming the studies that there are.
    """
    if (directory / STUDY_FILE).exists():
        return
    known = ", ".join(list_studies(directory.parent)) or "none yet"
    raise UsageError(f"no study {directory.name!r} in {directory.parent}; studies there: {known}")
