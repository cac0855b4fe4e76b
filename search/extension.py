"""What an extended study is: more trials, longer ones, and the front trained on. Pure."""

from __future__ import annotations

import re

from search.config import ExperimentConfig
from search.records import StudyRecord
from search.selection import front_trials
from search.study_opening import OpeningTerms
from spvit.errors import UsageError

NUMBER = re.compile(r"(\+?)([1-9][0-9]{0,6})")


def extended(
    experiment: ExperimentConfig, study: StudyRecord, *, trials: str | None, epochs: int | None
) -> tuple[ExperimentConfig, OpeningTerms]:
    """The experiment that a study goes on with, and what is to be allowed when it is opened.

    Args:
        experiment: the study's own.
        study: as it stands.
        trials: `+20` for so many more than were asked for, `40` for so many in all; as many as before if absent.
        epochs: of new trials, and of the front's trials, which go on from their checkpoints; as before if absent.

    Raises:
        UsageError: neither is given, or it is no extension.
    """
    if trials is None and epochs is None:
        raise UsageError("give --trials (+20 for twenty more) or --epochs, or both: else there is nothing to extend")
    num_trials = study.num_trials if trials is None else _num_trials(trials, study)
    search = experiment.search.model_copy(update={"num_trials": num_trials})
    longer = experiment.model_copy(update={"search": search})
    if epochs is None or epochs == study.num_epochs:
        return longer, OpeningTerms()
    _check_epochs(experiment, study, epochs)
    training = experiment.training.model_copy(update={"epochs": epochs})
    continued = tuple(trial.number for trial in front_trials(study) if trial.num_epochs < epochs)
    return longer.model_copy(update={"training": training}), OpeningTerms(prolongs=True, continued=continued)


def _num_trials(text: str, study: StudyRecord) -> int:
    match = NUMBER.fullmatch(text)
    if match is None:
        raise UsageError(f"--trials: +20 for twenty more or 40 for forty in all was required, but got {text!r}")
    number = int(match[2]) + (study.num_trials if match[1] else 0)
    if number < study.num_trials:
        raise UsageError(
            f"--trials: study {study.name!r} was asked for {study.num_trials} trials; fewer would be no extension, but "
            f"got {number}. For so many more: +{number}"
        )
    return number


def _check_epochs(experiment: ExperimentConfig, study: StudyRecord, epochs: int) -> None:
    if "epochs" in experiment.search.space.training:
        raise UsageError(f"--epochs: study {study.name!r} explores training.epochs itself; extend it by --trials alone")
    if epochs < study.num_epochs:
        raise UsageError(
            f"--epochs: trials of study {study.name!r} are trained for {study.num_epochs} epochs; more were required, "
            f"but got {epochs}"
        )
