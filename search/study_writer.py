"""One study in its Optuna storage, for the driver that writes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, create_trial
from optuna.trial import TrialState as OptunaState

from search.config import ExperimentConfig
from search.driver_seat import DriverSeat, NoSeat
from search.records import TrialState
from search.storage import create_in_memory, create_or_load, storage_errors
from search.study_files import StudyFile, sqlite_url, write_study_file
from search.study_opening import OpeningTerms, StudyFacts, made_from, opening_attrs
from search.study_reading import study_directory
from search.study_storage import MemoryStorage, StudyStorage, fold_log
from spvit.errors import SpvitError

USUAL_TERMS = OpeningTerms()


class StudyWriter:
    """Writes at once, each method in one transaction; trials go by their numbers.

    Every method raises a `StorageError` where the storage cannot be written, and a `StudyLockedError` where another
    driver has taken over.
    """

    def __init__(
        self,
        study: optuna.Study,
        storage: StudyStorage | MemoryStorage,
        directory: Path,
        seat: DriverSeat | NoSeat,
    ) -> None:
        self._study, self._storage, self._seat = study, storage, seat
        self.directory = directory
        self._ids: dict[int, int] = {}

    @classmethod
    def open(cls, experiment: ExperimentConfig, facts: StudyFacts, terms: OpeningTerms = USUAL_TERMS) -> StudyWriter:
        """Creates the study of an experiment, or goes on with the one that there is.

        Raises:
            StudyMismatchError: it was made from another experiment, latency table or program.
            StudyLockedError: another driver runs it, and it is to be this driver's (`terms`).
            StorageError: the storage cannot be read or written.
        """
        directory = study_directory(experiment)
        url = experiment.study.storage or sqlite_url(directory)
        with storage_errors(directory):
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            study, storage = create_or_load(experiment.study.name, url)
            seat = DriverSeat.take(storage, study._study_id, study.study_name, terms) if terms.as_driver else NoSeat()
        writer = cls(study, storage, directory, seat)
        try:
            writer._write_facts(experiment, facts, terms)
            write_study_file(directory, StudyFile(name=experiment.study.name, storage=experiment.study.storage))
        except BaseException:
            seat.leave()
            raise
        return writer

    @classmethod
    def in_memory(cls, experiment: ExperimentConfig, facts: StudyFacts) -> StudyWriter:
        """A study that is written nowhere and ends with its driver."""
        study, storage = create_in_memory(experiment.study.name)
        writer = cls(study, storage, study_directory(experiment), NoSeat())
        writer._write_facts(experiment, facts, USUAL_TERMS)
        return writer

    def keep_seat(self, on_lost: Callable[[SpvitError], None]) -> None:
        """Shows other hosts that this driver is alive; `on_lost` is told once, from a thread, if one takes over."""
        self._seat.keep(on_lost)

    def leave_seat(self) -> None:
        """Gives the driver's place back; `close` does too."""
        self._seat.leave()

    def close(self) -> None:
        """Nothing more will be written."""
        with storage_errors(self.directory):
            self._seat.leave()
        if isinstance(self._storage, StudyStorage) and self._storage.engine.name == "sqlite":
            fold_log(self._storage.engine)

    @property
    def name(self) -> str:
        """The study's, in its storage."""
        name: str = self._study.study_name
        return name

    def read(self) -> tuple[Mapping[str, Any], Sequence[FrozenTrial]]:
        """The study's attributes and its trials, as they are when it is opened."""
        trials = self._study.get_trials(deepcopy=False)
        self._ids = {trial.number: trial._trial_id for trial in trials}
        return self._study.user_attrs, trials

    def start_trial(
        self, params: Mapping[str, Any], distributions: Mapping[str, BaseDistribution], attrs: Mapping[str, Any]
    ) -> FrozenTrial:
        """A new trial, which is running, with all that is known of it."""
        template = create_trial(
            state=OptunaState.RUNNING, params=dict(params), distributions=dict(distributions), user_attrs=dict(attrs)
        )
        with storage_errors(self.directory):
            trial = self._storage.start_trial(self._study._study_id, template)
        self._ids[trial.number] = trial._trial_id
        return trial

    def distributions(self, number: int) -> dict[str, BaseDistribution]:
        """What the parameters of a trial were drawn from."""
        with storage_errors(self.directory):
            return dict(self._storage.get_trial(self._ids[number]).distributions)

    def set_trial_attr(self, number: int, key: str, value: Any) -> None:
        """Notes something of a running trial."""
        with storage_errors(self.directory):
            self._storage.set_trial_user_attr(self._ids[number], key, value)

    def end_trial(
        self, number: int, state: TrialState, *, values: Sequence[float] = (), attrs: Mapping[str, Any]
    ) -> datetime:
        """Notes how a trial ended; returns when that was."""
        with storage_errors(self.directory):
            return self._storage.end_trial(self._ids[number], OptunaState[state.name], values=values, attrs=attrs)

    def set_attr(self, key: str, value: Any) -> None:
        """Notes something of the study."""
        with storage_errors(self.directory):
            self._study.set_user_attr(key, value)

    def _write_facts(self, given: ExperimentConfig, facts: StudyFacts, terms: OpeningTerms) -> None:
        """All in one transaction: a driver that dies here leaves the study as it was, or as it is to be."""
        with storage_errors(self.directory):
            attrs, num_trials = self._study.user_attrs, len(self._study.get_trials(deepcopy=False))
        made = made_from(given.model_dump(mode="json"), facts.table_sha256)
        new = opening_attrs(self.name, attrs, made, facts, terms=terms, num_trials=num_trials)
        with storage_errors(self.directory):
            self._storage.set_study_attrs(self._study._study_id, new)
