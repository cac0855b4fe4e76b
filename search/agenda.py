"""What a search runs next."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from search.continuations import epochs_asked_for, trials_to_continue
from search.proposal import Proposal
from search.proposer import Proposer
from search.records import Origin, Rejection, TrialRecord
from search.retries import root_of
from search.study import StudyStore


class Agenda:
    """First those that were interrupted, then those to be prolonged, then the baseline, then what the sampler proposes.

    Args:
        store: the study.
        proposer: makes proposals; may be another from some trial on, but the baseline is always the first one's.
        num_trials: how many of the sampler's trials are to be complete, pruned or running.
        clock: seconds; only differences count.
        on_rejections: told how many proposals were rejected so far, whenever there are more.
    """

    def __init__(
        self,
        store: StudyStore,
        proposer: Proposer,
        *,
        num_trials: int,
        clock: Callable[[], float],
        on_rejections: Callable[[Mapping[Rejection, int]], None],
    ) -> None:
        self._store, self._num_trials, self._clock, self._on_rejections = store, num_trials, clock, on_rejections
        self._is_exhausted = False
        self._rested_s: dict[int, float] = {}  # when a trial that lost its node may be run again
        self.proposer = self._first = proposer

    @property
    def is_full(self) -> bool:
        """Whether the study has as many of the sampler's trials as were asked for."""
        return self._store.num_sampled >= self._num_trials

    @property
    def is_empty(self) -> bool:
        """Whether nothing is left to be started, now or later; the baseline comes before everything else."""
        if self._store.due or trials_to_continue(self._store.trials, self._store.generations):
            return False
        return self._is_exhausted or self.is_full

    def next(self) -> Proposal | None:
        """What to run now; None where nothing is due yet or ever."""
        if rested := self.rested():
            return self.proposer.retry(rested[0], root_of(rested[0]))
        if prolonged := trials_to_continue(self._store.trials, self._store.generations):
            return self.proposer.prolong(prolonged[0], epochs_asked_for(self._store.generations))
        if (baseline := self.baseline()) is not None:
            return baseline
        return None if self._is_exhausted or self.is_full else self._proposed()

    def rest(self, number: int, delay_s: float) -> None:
        """A trial that is to be run again waits before that."""
        self._rested_s[number] = self._clock() + delay_s

    def rested(self) -> tuple[TrialRecord, ...]:
        """The trials to be run again that have waited long enough."""
        now_s = self._clock()
        return tuple(trial for trial in self._store.due if now_s >= self._rested_s.get(trial.number, -math.inf))

    def baseline(self) -> Proposal | None:
        """The file's own schedule, if it names one and it was not begun yet."""
        if any(trial.origin is Origin.BASELINE for trial in self._store.trials):
            return None
        baseline = self._first.baseline()
        if baseline is not None and self.proposer is not self._first:
            self.proposer.note(baseline)
        return baseline

    def _proposed(self) -> Proposal | None:
        before = self.proposer.rejections.total()
        try:
            proposal = self.proposer.propose(len(self._store.trials), turn=self._store.num_roots)
        finally:
            if self.proposer.rejections.total() != before:
                self._on_rejections(self.proposer.rejections)
        self._is_exhausted = proposal is None
        return proposal
