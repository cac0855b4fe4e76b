"""What an extended study is: more trials, longer ones, and the front trained on. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection

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
        epochs: `training.epochs` from now on, and those of the front's trials, which go on from their checkpoints; as
            before if absent. After elastic trials new schedules are trained for a share of them.

    Raises:
        UsageError: neither is given, or it is no extension.
    """
    if trials is None and epochs is None:
        raise UsageError("give --trials (+20 for twenty more) or --epochs, or both: else there is nothing to extend")
    num_trials = study.num_trials if trials is None else _num_trials(trials, study)
    search = experiment.search.model_copy(update={"num_trials": num_trials})
    longer = experiment.model_copy(update={"search": search})
    if epochs is None:
        return longer, OpeningTerms()
    _check_epochs(experiment, study, epochs)
    if epochs == study.num_epochs:
        return longer, OpeningTerms()
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
    if "epochs" in experiment.search.space.training and epochs != study.num_epochs:
        raise UsageError(f"--epochs: study {study.name!r} explores training.epochs itself; extend it by --trials alone")
    if experiment.has_elastic_trials:
        _check_front_goes_on(study, epochs)
        _check_front_is_shorter(experiment, study, epochs)
    if epochs < study.num_epochs:
        raise UsageError(
            f"--epochs: study {study.name!r} has training.epochs = {study.num_epochs}; more were required, but got "
            f"{epochs}"
        )


def _check_front_goes_on(study: StudyRecord, epochs: int) -> None:
    """Trials go on where `training.epochs` changes, and fewer than before would shorten new schedules too."""
    asked = {number for each in study.generations if each.epochs == epochs for number in each.continued}
    short = {t.num_epochs for t in front_trials(study) if t.num_epochs < epochs and t.number not in asked}
    if short and epochs <= study.num_epochs:
        raise UsageError(
            f"--epochs: the front of study {study.name!r} has trials of {_either(short)} epochs, trained further from "
            f"elastic weights, while training.epochs = {study.num_epochs}; more than {study.num_epochs} were required, "
            f"but got {epochs}. Give more, or `spvit-search finish {study.name} --epochs {epochs}` for the best of "
            "them, or --trials alone for more schedules as before"
        )


def _check_front_is_shorter(experiment: ExperimentConfig, study: StudyRecord, epochs: int) -> None:
    """What elastic weights are trained further for may be more than `training.epochs`, and no share of them."""
    least = min((trial.num_epochs for trial in front_trials(study)), default=0)
    num_new = experiment.search.elastic.epochs_of_contender
    if least >= epochs > study.num_epochs and num_new(epochs) == num_new(study.num_epochs):
        raise UsageError(
            f"--epochs: every trial on the front of study {study.name!r} has {least} epochs or more, and new schedules "
            f"would have {num_new(epochs)} as before; more than {least} were required, but got {epochs}"
        )


def _either(numbers: Collection[int]) -> str:
    return " or ".join(map(str, sorted(numbers)))
