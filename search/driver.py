"""Decides what is tried, what goes on and what is kept. Knows no Ray: adapters and tests call the same object."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from search.agenda import Agenda
from search.decision import Decision, Idle
from search.ending import Ending, otherwise
from search.failure_log import FailureLog
from search.failures import Failure, ReportKey
from search.limits import Limits
from search.listener import StudyListener
from search.listeners import Listeners
from search.proposal import Proposal
from search.proposer import Proposer
from search.pruner import PeerPruner
from search.records import Origin, Rejection, SearchEnd, TrialRecord
from search.retries import INTERRUPTED, delay_s, is_given_up, reason_of
from search.study import StudyStore
from search.watchdog import Stuck, Watchdog
from search.worker_report import EpochReport, Fault, read_report
from spvit.errors import SpvitError, StorageError
from trainers.metrics import EpochMetrics

__all__ = ["Decision", "Failure", "Idle", "ReportKey", "SearchDriver"]

logger = logging.getLogger(__name__)

Answer = TypeVar("Answer")


class SearchDriver:
    """One search over one study, until its agenda is empty or a stopping rule ends it.

    Every method is called from one thread.
    """

    def __init__(
        self,
        *,
        store: StudyStore,
        proposer: Proposer,
        pruner: PeerPruner,
        limits: Limits,
        listeners: Sequence[StudyListener] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._agenda = Agenda(
            store, proposer, num_trials=limits.num_trials, clock=clock, on_rejections=self._note_rejections
        )
        self._pruner = pruner
        self._limits = limits
        self._listeners = Listeners(listeners)
        self._ending = Ending(store, rules=limits.rules, gpus_per_trial=limits.gpus_per_trial, clock=clock)
        self._is_stopping = False
        self._watchdog = Watchdog(factor=limits.stuck_factor, floor_s=limits.stuck_floor_s, clock=clock)
        self._failures = FailureLog(limits.max_failed_share)
        self._warnings: set[str] = set()
        self.error: SpvitError | None = None

    @property
    def directory(self) -> Path:
        """The study's folder."""
        return self._store.directory

    def knows(self, number: int) -> bool:
        """Whether the study has such a trial."""
        return number in self._store

    def start(self) -> None:
        """Takes over what the study holds: ends the trials of a driver that died, rebuilds sampler and pruner."""
        self._store.reconcile()
        self._ending.begin()
        trials, proposer = self._store.trials, self._agenda.proposer
        proposer.restore(trials, self._store.record().rejections)
        self._store.set_rejections(proposer.rejections)  # none so far is a count too
        self._pruner.restore(trials)
        self._watchdog.learn(max((max(trial.epoch_s, default=0.0) for trial in trials), default=0.0))
        if self.is_finished:
            self._ending.count_nothing()
        self._listeners.tell(lambda listener: listener.on_study_start(self._store.record()))

    def finish(self) -> None:
        """Ends what is still running as interrupted, so that it can be resumed, and keeps why the search ended."""
        if self.is_finished and not self._store.record().finished:
            self.error = self.error or self._failures.error_at_end()
        self._interrupt()
        self._ending.keep(self._otherwise())
        self._listeners.tell(lambda listener: listener.on_study_end(self._store.record()))

    def interrupt(self) -> None:
        """Ends what is running as interrupted. To be called when a stop was asked for, before Ray takes its time."""
        self._guarded(self._interrupt, otherwise=None)

    def stop(self) -> None:
        """Asks the search to end. Safe in a signal handler."""
        self._is_stopping = True

    @property
    def is_stopping(self) -> bool:
        """Whether the search was asked to end or has to."""
        return self._is_stopping or self.error is not None or self._ending.stops_running

    @property
    def is_finished(self) -> bool:
        """Whether everything that the study is to hold has ended, or a stopping rule ended it."""
        if self._store.running:
            return False
        return self._ending.end is not None or self._agenda.is_empty

    def suggest(self) -> TrialRecord | Idle:
        """Starts the next trial, if one is due and there is room for it."""
        nothing: TrialRecord | Idle = Idle.FINISHED
        return self._guarded(self._suggest, otherwise=nothing)

    def on_result(self, number: int, report: Mapping[str, Any]) -> Decision:
        """Takes a report: one epoch's `EpochMetrics.to_dict()`, or a failure and its reason; warnings with either."""
        return self._guarded(lambda: self._on_result(number, report), otherwise=Decision.STOP)

    def on_complete(self, number: int) -> None:
        """A trial's worker has nothing more to say. Nothing to do unless it fell silent before its last epoch."""
        self.on_error(number, f"ended after epoch {self._store.trial(number).num_epochs} without a reason")

    def on_error(self, number: int, text: str, failure: Failure = Failure.INFRASTRUCTURE) -> None:
        """A trial's worker was lost for good."""
        if self._store.trial(number).state.is_finished or self.is_stopping:
            return
        self._guarded(lambda: self._on_failure(number, failure, text), otherwise=None)

    def on_running(self, number: int) -> None:
        """A trial's worker is at work, not only asked for. May be told any number of times."""
        if not self._store.trial(number).state.is_finished:
            self._watchdog.begin(number)

    def stuck(self) -> tuple[Stuck, ...]:
        """The trials whose workers are to be killed: they have not reported for too long. Then tell `on_error`."""
        return self._watchdog.stuck()

    def _interrupt(self) -> None:
        for trial in self._store.running:
            self._end(self._store.fail(trial.number, INTERRUPTED, Failure.INTERRUPTED))

    def _guarded(self, action: Callable[[], Answer], *, otherwise: Answer) -> Answer:
        """Ends the search on an error for the user; Tune would bury it in a traceback of its own."""
        try:
            return action()
        except SpvitError as error:
            self.error = self.error or error
            return otherwise

    def _suggest(self) -> TrialRecord | Idle:
        num_running = len(self._store.running)
        self._ending.look(num_running)
        if self.is_stopping:
            return Idle.FINISHED
        if self._ending.end is not None:
            return Idle.WAIT if num_running else Idle.FINISHED
        if num_running >= self._limits.num_concurrent:
            return Idle.WAIT
        proposal = self._next_proposal()
        if proposal is None:
            # A running trial may still be lost and have to be run again, and one that was lost waits for its time.
            return Idle.WAIT if num_running or self._store.due else Idle.FINISHED
        return self._start(proposal)

    def _next_proposal(self) -> Proposal | None:
        return self._agenda.next()

    def _note_rejections(self, rejections: Mapping[Rejection, int]) -> None:
        self._store.set_rejections(rejections)
        self._listeners.tell(lambda listener: listener.on_rejections(dict(rejections)))

    def _on_result(self, number: int, report: Mapping[str, Any]) -> Decision:
        self._ending.look(len(self._store.running))
        self._pass_on(report.get(ReportKey.WARNINGS, ()))
        trial = self._store.trial(number)
        if trial.state.is_finished:
            return Decision.STOP
        match read_report(trial, report):
            case Fault(failure=failure, text=text):
                self._on_failure(number, failure, text)
                return Decision.STOP
            case EpochReport(metrics=metrics, further=further):
                return self._on_epoch(number, metrics, further)

    def _pass_on(self, warnings: Iterable[str]) -> None:
        """Tells each warning once: every trial reads the same data."""
        for text in (text for text in warnings if text not in self._warnings):
            self._warnings.add(text)
            logger.warning("%s", text)

    def _start(self, proposal: Proposal) -> TrialRecord:
        self._ending.advance(len(self._store.running))
        trial = self._store.start(proposal)
        if proposal.origin in {Origin.RETRY, Origin.CONTINUED}:
            self._agenda.proposer.add(trial)
        self._pruner.update(trial)
        self._listeners.tell(lambda listener: listener.on_trial_start(trial))
        return trial

    def _on_epoch(self, number: int, metrics: EpochMetrics, further: Mapping[str, Any]) -> Decision:
        self._watchdog.report(number)
        trial = self._store.trial(number)
        self._store.note_num_val_images(metrics.evaluation.num_images)
        if metrics.epoch > trial.num_epochs:  # else one that a restarted worker had to do again
            trial = self._store.report_epoch(
                number, metrics.epoch, metrics.evaluation.top1, metrics.evaluation.form, seconds=metrics.seconds
            )
            self._pruner.update(trial)
            self._listeners.tell(lambda listener: listener.on_epoch(trial, {**metrics.to_dict(), **further}))
        if metrics.epoch >= trial.config["training"]["epochs"]:
            self._end(self._store.complete(number, metrics.evaluation.top1))
            return Decision.STOP
        verdict = self._pruner.judge(trial)
        if not verdict.goes_on:
            self._end(self._store.prune(number, verdict.reason))
            return Decision.STOP
        return Decision.STOP if self.is_stopping else Decision.CONTINUE

    def _on_failure(self, number: int, failure: Failure, text: str) -> None:
        """Ends a trial as its failure asks for. One whose own fault it is stays, so that samplers learn from it."""
        reason = reason_of(failure, text)
        *earlier, last = self._store.attempts(number)
        attempts = (*earlier, replace(last, failure=failure))
        if is_given_up(attempts):
            self._end(self._store.prune(number, reason, failure))
        else:
            self._agenda.rest(number, delay_s(attempts))
            self._end(self._store.fail(number, reason, failure))
        if failure is Failure.STORAGE:
            raise StorageError(
                f"trial {number} cannot write: {text}. Every trial would fail alike, so the search ends; what finished "
                f"is kept. Free space or make the folder writable, then `spvit-search resume {self.directory.name}`"
            )
        self.error = self.error or self._failures.error()

    def _end(self, trial: TrialRecord) -> None:
        self._failures.add(trial.failure, number=trial.number, reason=trial.reason)
        self._watchdog.end(trial.number)
        self._agenda.proposer.end(trial)
        self._pruner.update(trial)
        self._ending.trial_ended(len(self._store.running))
        self._listeners.tell(lambda listener: listener.on_trial_end(trial))

    def _otherwise(self) -> SearchEnd:
        """Why the session ends where no rule ended it."""
        is_full, num_trials = self._agenda.is_full, self._limits.num_trials
        return otherwise(self.error, is_finished=self.is_finished, is_full=is_full, num_trials=num_trials)
