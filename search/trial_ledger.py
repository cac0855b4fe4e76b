"""The trials of a study by what its driver asks at every turn, kept as they change. Pure.

At a thousand trials, finding those to be run again among them all takes 1 ms, and a driver asks several times a turn.
"""

from __future__ import annotations

from collections.abc import Iterable

from search.records import TrialRecord, TrialState
from search.retries import is_due, root_of

SAMPLED = frozenset({TrialState.RUNNING, TrialState.COMPLETE, TrialState.PRUNED})


class TrialLedger:
    """Every trial as it stands. Trials are told in the order of their numbers, and again whenever one changes."""

    def __init__(self, trials: Iterable[TrialRecord] = ()) -> None:
        self._trials: dict[int, TrialRecord] = {}
        self._attempts: dict[int, dict[int, TrialRecord]] = {}
        self._running: dict[int, TrialRecord] = {}
        self._due: dict[int, TrialRecord] = {}
        self._num_sampled = 0
        for trial in trials:
            self.put(trial)

    def put(self, trial: TrialRecord) -> TrialRecord:
        """Takes a trial as it stands now, new or known; returns it."""
        self._num_sampled += _is_sampled(trial) - _is_sampled(self._trials.get(trial.number))
        self._trials[trial.number] = trial
        self._attempts.setdefault(root_of(trial), {})[trial.number] = trial
        if trial.state is TrialState.RUNNING:
            self._running[trial.number] = trial
        else:
            self._running.pop(trial.number, None)
        self._note_due(root_of(trial))
        return trial

    def __contains__(self, number: int) -> bool:
        return number in self._trials

    def __getitem__(self, number: int) -> TrialRecord:
        return self._trials[number]

    @property
    def trials(self) -> tuple[TrialRecord, ...]:
        """Every trial, in the order of their numbers."""
        return tuple(self._trials.values())

    @property
    def running(self) -> tuple[TrialRecord, ...]:
        """Those that are running, in the order of their numbers."""
        return tuple(self._running.values())

    @property
    def due(self) -> tuple[TrialRecord, ...]:
        """What `search.retries.trials_to_retry` says of all of them."""
        return tuple(self._due[root] for root in sorted(self._due))

    @property
    def num_roots(self) -> int:
        """Trials, those that repeat another left out."""
        return len(self._attempts)

    @property
    def num_sampled(self) -> int:
        """Trials that count towards those asked for; one that waits to be run again has its place kept."""
        return self._num_sampled + sum(trial.origin.is_counted for trial in self._due.values())

    def attempts(self, root: int) -> tuple[TrialRecord, ...]:
        """Every attempt of a trial, in their order, by the number of the first."""
        return tuple(self._attempts.get(root, {}).values())

    def _note_due(self, root: int) -> None:
        attempts = self.attempts(root)
        if is_due(attempts):
            self._due[root] = attempts[-1]
        else:
            self._due.pop(root, None)


def _is_sampled(trial: TrialRecord | None) -> bool:
    return trial is not None and trial.state in SAMPLED and trial.origin.is_counted
