"""Which interrupted trials are still to be run again. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from search.records import TrialRecord, TrialState

INTERRUPTED = "interrupted: the search stopped before the trial ended"
LOST = "lost"
MAX_LOSSES = 3
"""Times that a trial may lose its worker for good before it is left alone. Interruptions of the search do not count."""


def root_of(trial: TrialRecord) -> int:
    """The trial that a trial repeats, or itself."""
    return trial.number if trial.retry_of is None else trial.retry_of


def trials_to_retry(trials: Iterable[TrialRecord]) -> tuple[TrialRecord, ...]:
    """The last attempt of each trial whose attempts all failed, in the order of the first attempts."""
    attempts: dict[int, list[TrialRecord]] = {}
    for trial in sorted(trials, key=lambda t: t.number):
        attempts.setdefault(root_of(trial), []).append(trial)
    return tuple(tries[-1] for tries in attempts.values() if _is_due(tries))


def _is_due(attempts: list[TrialRecord]) -> bool:
    if any(trial.state is not TrialState.FAIL for trial in attempts):
        return False
    return sum(trial.reason.startswith(LOST) for trial in attempts) < MAX_LOSSES
