"""The weights of an elastic trial, for the trials that go on from them."""

from __future__ import annotations

from pathlib import Path

from search.config import ExperimentConfig
from search.published_trials import bring_published
from search.records import TrialRecord
from search.study_files import trial_directory
from spvit.errors import CheckpointError
from trainers.config import TrialConfig


def elastic_start(experiment: ExperimentConfig, trial: TrialRecord, study_directory: Path) -> TrialConfig:
    """An elastic trial's configuration, with its weights as the start of those that go on from it.

    Where checkpoints are published, its newest one is fetched into the study's folder first.

    Raises:
        CheckpointError: there are no weights.
        StorageError: they were published, and cannot be fetched.
    """
    from trainers.elastic_weights import elastic_weights

    folder = trial_directory(study_directory, trial)
    bring_published(experiment, folder)
    start = elastic_weights(folder.absolute())
    if start is None:
        raise CheckpointError(
            f"schedules were to be trained from the weights of elastic trial {trial.number}, but {folder} holds no "
            "whole checkpoint; search under another study.name, or train what was trained before: set "
            "search.mode = 'schedule', or name trials with `finish --trial`"
        )
    return TrialConfig.model_validate(trial.config).model_copy(update={"start": start})


def start_within(study_directory: Path, config: TrialConfig) -> TrialConfig:
    """A configuration whose start is in the study's folder where that is now: it may have been moved."""
    if config.start is None or config.start.path.is_file():
        return config
    moved = study_directory.absolute().joinpath(*config.start.path.parts[-4:])  # trials/0/checkpoint-000001/FILE
    if not moved.is_file():
        return config
    return config.model_copy(update={"start": config.start.model_copy(update={"path": moved})})
