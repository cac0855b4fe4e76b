"""The Optuna study: the only truth of a search. Written by the driver alone, read by everybody."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search import study_attrs as names
from search.config import ExperimentConfig
from search.failures import Failure
from search.proposal import Proposal
from search.records import Generation, Rejection, SearchEnd, StudyRecord, TrialRecord, TrialState
from search.retries import INTERRUPTED, root_of
from search.space import SearchSpace
from search.storage import reading
from search.study_opening import OpeningTerms, StudyFacts
from search.study_reading import check_exists, list_studies, read_study, study_directory
from search.study_writer import USUAL_TERMS, StudyWriter
from search.trial_ledger import TrialLedger
from search.usage import Usage
from spvit.errors import SpvitError
from spvit.options import TokenForm
from trainers.metrics import PricedSchedule

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

__all__ = ["USUAL_TERMS", "StudyFacts", "StudyStore", "check_exists", "list_studies", "read_study", "study_directory"]


class StudyStore:
    """One study in its storage, and the same in memory so that the driver never reads back what it wrote.

    Every public method writes at once; when it returns, the change survives the driver's death. Methods may be called
    from any thread of the driver.
    """

    def __init__(self, writer: StudyWriter, space: SearchSpace) -> None:
        self._writer = writer
        self._space = space
        self._lock = threading.RLock()
        with reading(writer.directory):
            self._attrs, trials = writer.read()
            self._generations = names.generations(self._attrs)
            self._ledger = TrialLedger(names.trial_record(t, names.mlflow_run(self._attrs, t.number)) for t in trials)

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
        writer = StudyWriter.open(experiment, facts, terms)
        try:
            return cls(writer, space)
        except BaseException:
            writer.leave_seat()
            raise

    @classmethod
    def in_memory(cls, experiment: ExperimentConfig, facts: StudyFacts, space: SearchSpace) -> StudyStore:
        """A study that is written nowhere and ends with its driver: what a simulated search is kept in."""
        return cls(StudyWriter.in_memory(experiment, facts), space)

    def keep_seat(self, on_lost: Callable[[SpvitError], None]) -> None:
        """Shows other hosts that this driver is alive; `on_lost` is told once, from a thread, if one takes over."""
        self._writer.keep_seat(on_lost)

    def close(self) -> None:
        """Nothing more will be written."""
        self._writer.close()

    @property
    def directory(self) -> Path:
        """The study's folder."""
        return self._writer.directory

    @property
    def generations(self) -> tuple[Generation, ...]:
        """Those after the first."""
        return self._generations

    @property
    def trials(self) -> tuple[TrialRecord, ...]:
        """Every trial, in the order of their numbers."""
        with self._lock:
            return self._ledger.trials

    @property
    def running(self) -> tuple[TrialRecord, ...]:
        """The trials that are running."""
        with self._lock:
            return self._ledger.running

    @property
    def due(self) -> tuple[TrialRecord, ...]:
        """The last attempt of each trial that is to be run again, in the order of the first attempts."""
        with self._lock:
            return self._ledger.due

    @property
    def num_roots(self) -> int:
        """Trials, those that repeat another left out."""
        return self._ledger.num_roots

    @property
    def num_sampled(self) -> int:
        """Trials that count towards those asked for; one that waits to be run again has its place kept."""
        with self._lock:
            return self._ledger.num_sampled

    def record(self) -> StudyRecord:
        """The study as it stands."""
        with self._lock:
            return names.study_record(self._writer.name, str(self.directory), self._attrs, self.trials)

    def __contains__(self, number: int) -> bool:
        return number in self._ledger

    def trial(self, number: int) -> TrialRecord:
        """One trial as it stands."""
        return self._ledger[number]

    def attempts(self, number: int) -> tuple[TrialRecord, ...]:
        """Every attempt of a trial up to this one, in their order."""
        with self._lock:
            attempts = self._ledger.attempts(root_of(self._ledger[number]))
        return tuple(trial for trial in attempts if trial.number <= number)

    def start(self, proposal: Proposal) -> TrialRecord:
        """Makes a proposal a trial, with all that is known of it, in one transaction."""
        with self._lock:
            attrs = names.trial_attrs(proposal, generation=1 + len(self._generations))
            trial = self._writer.start_trial(proposal.params, self._distributions(proposal), attrs)
            return self._ledger.put(names.trial_record(trial))

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
        if form is not self._ledger[number].form:
            self._set(number, names.FORM, form.value, form=form)
        known = self._ledger[number].curve
        curve = (*known, *[top1] * (epoch - len(known)))
        epoch_s = _extended(self._ledger[number].epoch_s, seconds, len(curve))
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
            self._changed(number, mlflow_run_id=run_id)

    def set_mlflow_experiment(self, experiment_id: str) -> None:
        """Notes the MLflow experiment of the study."""
        self._set_study(names.MLFLOW_EXPERIMENT_ID, experiment_id)

    def _distributions(self, proposal: Proposal) -> dict[str, BaseDistribution]:
        """Those of the trial that a proposal goes on with, which may be of an earlier space, else the space's."""
        earlier = proposal.continues if proposal.retry_of is None else proposal.retry_of
        if earlier is not None:
            return self._writer.distributions(earlier)
        return (proposal.space or self._space).distributions(proposal.params) if proposal.params else {}

    def _set(self, number: int, key: str, value: Any, **changes: Any) -> TrialRecord:
        with self._lock:
            self._writer.set_trial_attr(number, key, value)
            return self._changed(number, **changes)

    def _set_study(self, key: str, value: Any) -> None:
        with self._lock:
            self._writer.set_attr(key, value)
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
        record = self._ledger[number]
        values = () if top1 is None else (top1, record.latency.mean_ms)
        attrs: dict[str, Any] = {names.REASON: reason} if reason else {}
        if failure is not None:
            attrs[names.FAILURE] = failure.value
        if any(record.epoch_s):
            attrs[names.EPOCH_S] = list(record.epoch_s)
        with self._lock:
            finished_at = self._writer.end_trial(number, state, values=values, attrs=attrs).timestamp()
            return self._changed(
                number, state=state, top1=top1, reason=reason, failure=failure, finished_at=finished_at
            )

    def _changed(self, number: int, **changes: Any) -> TrialRecord:
        return self._ledger.put(replace(self._ledger[number], **changes))


def _extended(epoch_s: tuple[float, ...], seconds: float, num_epochs: int) -> tuple[float, ...]:
    return (*epoch_s, *[seconds] * (num_epochs - len(epoch_s)))
