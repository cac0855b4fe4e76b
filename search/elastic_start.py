"""The weights of an elastic trial, for the trials that go on from them."""

from __future__ import annotations

from pathlib import Path

from search.config import ExperimentConfig
from search.given_start import GivenStart
from search.published_trials import bring_published
from search.records import TrialRecord
from search.study_files import trial_directory
from spvit.errors import CheckpointError
from trainers.config import TrialConfig
from trainers.start_weights import digest_of

NO_START = GivenStart()


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


def start_within(study_directory: Path, config: TrialConfig, given: GivenStart = NO_START) -> TrialConfig:
    """A configuration whose start is where its file is now: the study, or what `[start]` names, may have been moved.

    Args:
        study_directory: where the study is now.
        config: of a trial, as it was noted.
        given: what the experiment says now.
    """
    start = config.start
    if start is None:
        return config
    own = study_directory.absolute().joinpath(*start.path.parts[-4:])  # trials/0/checkpoint-000001/FILE
    if own == start.path:
        return config
    if own.is_file() and digest_of(own) == start.sha256:
        return config.model_copy(update={"start": start.model_copy(update={"path": own})})
    if given.path is not None and given.sha256 == start.sha256:
        return config.model_copy(update={"start": start.model_copy(update={"path": given.path})})
    return config
