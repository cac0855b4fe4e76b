"""How a driver comes to its end: asks the stopping rules, counts the time, and keeps in the study why it ended."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from search.records import EndCause, SearchEnd
from search.stopping import RunningTrials, StopRule
from search.study import StudyStore
from search.usage import Usage, UsageMeter

KEEP_EVERY_S = 10.0
"""How much time a killed driver may leave uncounted beside that of its last trials; each note is a commit."""


class Ending:
    """One session's end. `end` is why a rule ended the search, None while none has; once set it stays.

    Args:
        store: of the study.
        rules: asked in this order.
        gpus_per_trial: GPUs that a running trial holds.
        clock: seconds; only differences count.
    """

    def __init__(
        self, store: StudyStore, *, rules: Sequence[StopRule], gpus_per_trial: float, clock: Callable[[], float]
    ) -> None:
        self._store, self._rules, self._gpus_per_trial, self._clock = store, tuple(rules), gpus_per_trial, clock
        self._running_trials = RunningTrials.FINISH
        self._kept = self._usage = Usage()
        self._meter: UsageMeter | None = None
        self.end: SearchEnd | None = None

    @property
    def stops_running(self) -> bool:
        """Whether the rule that ended the search does not wait for the trials that are running."""
        return self.end is not None and self._running_trials is RunningTrials.STOP

    def begin(self) -> None:
        """A session begins: what earlier ones used counts, and so does what they found."""
        study = self._store.record()
        self._kept = self._usage = study.usage
        self._meter = UsageMeter(study.usage, gpus_per_trial=self._gpus_per_trial, clock=self._clock)
        if study.end is not None:
            self._store.set_end(None)
        self._ask(self._rules)
        if self.end is not None:
            self.count_nothing()

    def count_nothing(self) -> None:
        """Nothing is left to be started: the session takes none of the search's time."""
        self._meter = None

    def advance(self, num_running: int) -> None:
        """Counts the time since the last call, in which so many trials were running."""
        if self._meter is not None:
            self._usage = self._meter.advance(num_running)

    def look(self, num_running: int) -> None:
        """Time passed: asks the rules that stop running trials, which are those about time."""
        self.advance(num_running)
        self._ask([rule for rule in self._rules if rule.running_trials is RunningTrials.STOP])

    def trial_ended(self, num_running: int) -> None:
        """A trial ended, so many still run: asks every rule."""
        self.advance(num_running + 1)
        if self._usage.wall_s - self._kept.wall_s >= KEEP_EVERY_S:
            self._keep_usage()
        self._ask(self._rules)

    def keep(self, otherwise: SearchEnd) -> None:
        """The session ends: notes the time used and why, `otherwise` where no rule ended it."""
        self.advance(0)
        self._keep_usage()
        self._store.set_end(self.end or otherwise)

    def _keep_usage(self) -> None:
        self._store.set_usage(self._usage)
        self._kept = self._usage

    def _ask(self, rules: Sequence[StopRule]) -> None:
        if self.end is not None or not rules:
            return
        study = self._store.record()
        for rule in rules:
            if (end := rule.end(study, self._usage)) is not None:
                self.end, self._running_trials = end, rule.running_trials
                return


def otherwise(error: Exception | None, *, is_finished: bool, is_full: bool, num_trials: int) -> SearchEnd:
    """Why a session ends where no rule ended it.

    Args:
        error: that ended it.
        is_finished: nothing more is to be run.
        is_full: as many trials as were asked for have ended.
        num_trials: that were asked for.
    """
    if error is not None:
        return SearchEnd(cause=EndCause.ERROR, reason=str(error))
    if not is_finished:
        return SearchEnd(cause=EndCause.STOPPED, reason="stopped on request")
    if is_full:
        return SearchEnd(cause=EndCause.TRIALS, reason=f"search.num_trials = {num_trials} trials have ended")
    reason = "every configuration within the budget that could be found was tried"
    return SearchEnd(cause=EndCause.EXHAUSTED, reason=reason)
