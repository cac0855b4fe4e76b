"""The Optuna study: the only truth of a search. Written by the driver alone, read by everybody."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import TrialState as OptunaState
from optuna.trial import create_trial

from search import study_attrs as names
from search.config import ExperimentConfig
from search.driver_seat import DriverSeat, NoSeat
from search.failures import Failure
from search.proposal import Proposal
from search.records import Generation, Rejection, SearchEnd, StudyRecord, TrialRecord, TrialState
from search.retries import INTERRUPTED
from search.space import SearchSpace
from search.storage import create_in_memory, create_or_load, reading, storage_errors
from search.study_files import StudyFile, sqlite_url, write_study_file
from search.study_opening import OpeningTerms, StudyFacts, made_from, opening_attrs
from search.study_reading import check_exists, list_studies, read_study, study_directory
from search.study_storage import MemoryStorage, StudyStorage, fold_log
from search.usage import Usage
from spvit.errors import SpvitError
from spvit.options import TokenForm
from trainers.metrics import PricedSchedule

__all__ = ["StudyFacts", "StudyStore", "check_exists", "list_studies", "read_study", "study_directory"]

USUAL_TERMS = OpeningTerms()


class StudyStore:
    """One study in its storage, and the same in memory so that the driver never reads back what it wrote.

    Every public method writes at once; when it returns, the change survives the driver's death. Methods may be called
    from any thread of the driver.
    """

    def __init__(
        self,
        study: optuna.Study,
        storage: StudyStorage | MemoryStorage,
        directory: Path,
        space: SearchSpace,
        seat: DriverSeat | NoSeat,
    ) -> None:
        self._study = study
        self._storage = storage
        self._directory = directory
        self._space = space
        self._seat = seat
        self._lock = threading.RLock()
        with reading(directory):
            trials = study.get_trials(deepcopy=False)
            self._attrs = study.user_attrs
            self._generations = names.generations(self._attrs)
            self._records = {t.number: names.trial_record(t, names.mlflow_run(self._attrs, t.number)) for t in trials}
        self._ids = {trial.number: trial._trial_id for trial in trials}

    @classmethod
    def open(
        cls,
        experiment: ExperimentConfig,
        facts: StudyFacts,
        space: SearchSpace,
        terms: OpeningTerms = USUAL_TERMS,
    ) -> StudyStore:
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
        try:
            _write_facts(study, storage, experiment, facts, terms)
            write_study_file(directory, StudyFile(name=experiment.study.name, storage=experiment.study.storage))
            return cls(study, storage, directory, space, seat)
        except BaseException:
            seat.leave()
            raise

    def keep_seat(self, on_lost: Callable[[SpvitError], None]) -> None:
        """Shows other hosts that this driver is alive; `on_lost` is told once, from a thread, if one takes over."""
        self._seat.keep(on_lost)

    def close(self) -> None:
        """Nothing more will be written."""
        with storage_errors(self._directory):
            self._seat.leave()
        if isinstance(self._storage, StudyStorage) and self._storage.engine.name == "sqlite":
            fold_log(self._storage.engine)

    @classmethod
    def in_memory(cls, experiment: ExperimentConfig, facts: StudyFacts, space: SearchSpace) -> StudyStore:
        """A study that is written nowhere and ends with its driver: what a simulated search is kept in."""
        directory = study_directory(experiment)
        study, storage = create_in_memory(experiment.study.name)
        _write_facts(study, storage, experiment, facts, USUAL_TERMS)
        return cls(study, storage, directory, space, NoSeat())

    @property
    def directory(self) -> Path:
        """The study's folder."""
        return self._directory

    @property
    def generations(self) -> tuple[Generation, ...]:
        """Those after the first."""
        return self._generations

    @property
    def trials(self) -> tuple[TrialRecord, ...]:
        """Every trial, in the order of their numbers."""
        with self._lock:
            return tuple(self._records.values())

    def record(self) -> StudyRecord:
        """The study as it stands."""
        with self._lock:
            return names.study_record(self._study.study_name, str(self._directory), self._attrs, self.trials)

    def __contains__(self, number: int) -> bool:
        return number in self._records

    def trial(self, number: int) -> TrialRecord:
        """One trial as it stands."""
        return self._records[number]

    def start(self, proposal: Proposal) -> TrialRecord:
        """Makes a proposal a trial, with all that is known of it, in one transaction."""
        with self._lock, storage_errors(self._directory):
            template = create_trial(
                state=OptunaState.RUNNING,
                params=dict(proposal.params),
                distributions=self._distributions(proposal),
                user_attrs=names.trial_attrs(proposal, generation=1 + len(self._generations)),
            )
            trial = self._storage.start_trial(self._study._study_id, template)
            record = names.trial_record(trial)
            self._ids[record.number] = trial._trial_id
            self._records[record.number] = record
            return record

    def report_epoch(
        self,
        number: int,
        epoch: int,
        top1: float,
        form: TokenForm = TokenForm.GATHERED,
        *,
        seconds: float = 0.0,
    ) -> TrialRecord:
        """Notes the validation top-1 (percent) after epoch `epoch`, the first that is not noted yet.

        Epochs whose report got lost with their worker are taken to have had the same top-1 and to have taken as long.
        `form` is how the model ran, `seconds` how long the epoch took: kept in memory until the trial ends, since it
        decides nothing and a transaction for each epoch is dear.
        """
        if form is not self._records[number].form:
            self._set(number, names.FORM, form.value, form=form)
        known = self._records[number].curve
        curve = (*known, *[top1] * (epoch - len(known)))
        epoch_s = _extended(self._records[number].epoch_s, seconds, len(curve))
        return self._set(number, names.CURVE, list(curve), curve=curve, epoch_s=epoch_s)

    def note_priced(self, number: int, priced: Sequence[PricedSchedule]) -> TrialRecord:
        """Notes what an elastic trial's last epoch found schedules to be worth; their cost is in milliseconds."""
        return self._set(number, names.PRICED, [each.to_dict() for each in priced], priced=tuple(priced))

    def complete(self, number: int, top1: float) -> TrialRecord:
        """The trial was trained to the end."""
        return self._end(number, TrialState.COMPLETE, top1=top1)

    def prune(self, number: int, reason: str, failure: Failure | None = None) -> TrialRecord:
        """The trial is not worth going on with, or its configuration cannot be trained: then there is a failure."""
        return self._end(number, TrialState.PRUNED, reason=reason, failure=failure)

    def fail(self, number: int, reason: str, failure: Failure = Failure.INFRASTRUCTURE) -> TrialRecord:
        """The trial was lost through no fault of its configuration; it should be run again."""
        return self._end(number, TrialState.FAIL, reason=reason, failure=failure)

    def reconcile(self) -> tuple[TrialRecord, ...]:
        """Ends trials that no driver is running any more. They are then among those to be retried."""
        running = [t.number for t in self.trials if not t.state.is_finished]
        return tuple(self.fail(number, INTERRUPTED, Failure.INTERRUPTED) for number in running)

    def set_rejections(self, rejections: Mapping[Rejection, int]) -> None:
        """Notes how many proposals were rejected so far, by reason."""
        self._set_study(names.REJECTIONS, {str(reason): count for reason, count in rejections.items()})

    def set_usage(self, usage: Usage) -> None:
        """Notes the time that the search used so far, all sessions together."""
        self._set_study(names.USAGE, asdict(usage))

    def set_end(self, end: SearchEnd | None) -> None:
        """Notes why the search ended; None when it goes on."""
        self._set_study(names.END, None if end is None else {"cause": str(end.cause), "reason": end.reason})

    def set_dense_top1(self, top1: float) -> None:
        """Notes the validation top-1 (percent) of the unpruned model."""
        self._set_study(names.DENSE_TOP1, top1)

    def note_num_val_images(self, num_images: int) -> None:
        """Notes how many images a top-1 stands on; nothing is written where that is known or nobody knows."""
        if num_images and self._attrs.get(names.NUM_VAL_IMAGES) != num_images:
            self._set_study(names.NUM_VAL_IMAGES, num_images)

    def set_mlflow_run(self, number: int | None, run_id: str) -> None:
        """Notes the MLflow run of a trial, or of the whole study where `number` is None."""
        if number is None:
            self._set_study(names.MLFLOW_RUN_ID, run_id)
            return
        # An attribute of the study, since Optuna's finished trials cannot be changed and MLflow may lag behind.
        with self._lock:
            self._set_study(names.mlflow_run_key(number), run_id)
            self._records[number] = replace(self._records[number], mlflow_run_id=run_id)

    def set_mlflow_experiment(self, experiment_id: str) -> None:
        """Notes the MLflow experiment of the study."""
        self._set_study(names.MLFLOW_EXPERIMENT_ID, experiment_id)

    def _distributions(self, proposal: Proposal) -> dict[str, Any]:
        """Those of the trial that a proposal goes on with, which may be of an earlier space, else the space's."""
        earlier = proposal.continues if proposal.retry_of is None else proposal.retry_of
        if earlier is not None:
            return dict(self._storage.get_trial(self._ids[earlier]).distributions)
        fixed = optuna.trial.FixedTrial(dict(proposal.params))
        if proposal.params:
            (proposal.space or self._space).suggest(fixed)
        return dict(fixed.distributions)

    def _set(self, number: int, key: str, value: Any, **changes: Any) -> TrialRecord:
        with self._lock, storage_errors(self._directory):
            self._storage.set_trial_user_attr(self._ids[number], key, value)
            self._records[number] = replace(self._records[number], **changes)
            return self._records[number]

    def _set_study(self, key: str, value: Any) -> None:
        with self._lock, storage_errors(self._directory):
            self._study.set_user_attr(key, value)
            self._attrs = {**self._attrs, key: value}

    def _end(
        self,
        number: int,
        state: TrialState,
        *,
        top1: float | None = None,
        reason: str = "",
        failure: Failure | None = None,
    ) -> TrialRecord:
        record = self._records[number]
        values = () if top1 is None else (top1, record.latency.mean_ms)
        attrs: dict[str, Any] = {names.REASON: reason} if reason else {}
        if failure is not None:
            attrs[names.FAILURE] = failure.value
        if any(record.epoch_s):
            attrs[names.EPOCH_S] = list(record.epoch_s)
        with self._lock, storage_errors(self._directory):
            ended = self._storage.end_trial(self._ids[number], OptunaState[state.name], values=values, attrs=attrs)
            self._records[number] = replace(
                self._records[number],
                state=state,
                top1=top1,
                reason=reason,
                failure=failure,
                finished_at=ended.timestamp(),
            )
            return self._records[number]


def _extended(epoch_s: tuple[float, ...], seconds: float, num_epochs: int) -> tuple[float, ...]:
    return (*epoch_s, *[seconds] * (num_epochs - len(epoch_s)))


def _write_facts(
    study: optuna.Study,
    storage: StudyStorage | MemoryStorage,
    given: ExperimentConfig,
    facts: StudyFacts,
    terms: OpeningTerms,
) -> None:
    """All in one transaction: a driver that dies here leaves the study as it was, or as it is to be."""
    directory = study_directory(given)
    with storage_errors(directory):
        attrs, num_trials = study.user_attrs, len(study.get_trials(deepcopy=False))
    made = made_from(given.model_dump(mode="json"), facts.table_sha256)
    new = opening_attrs(study.study_name, attrs, made, facts, terms=terms, num_trials=num_trials)
    with storage_errors(directory):
        storage.set_study_attrs(study._study_id, new)
