"""How far a search is, as a value that grows with its events. Pure: a clock's time comes in from outside."""

from __future__ import annotations

from dataclasses import dataclass, replace

from search.records import StudyRecord, TrialRecord, TrialState
from search.selection import best_trial
from search.summary import num_counted


@dataclass(frozen=True, kw_only=True, slots=True)
class ProgressState:
    """The study as it stands, kept by listening, and when this session began (seconds).

    `num_ended_before` trials had ended before this session: they took none of its time.
    """

    study: StudyRecord
    started_s: float
    num_ended_before: int = 0

    @classmethod
    def begin(cls, study: StudyRecord, now_s: float) -> ProgressState:
        """At the start of a session."""
        return cls(study=study, started_s=now_s, num_ended_before=num_counted(study))

    def with_trial(self, trial: TrialRecord) -> ProgressState:
        """After an event of a trial."""
        others = [known for known in self.study.trials if known.number != trial.number]
        trials = tuple(sorted([*others, trial], key=lambda known: known.number))
        return replace(self, study=replace(self.study, trials=trials))

    @property
    def running(self) -> tuple[TrialRecord, ...]:
        """Trials that are being trained."""
        return tuple(trial for trial in self.study.trials if trial.state is TrialState.RUNNING)

    @property
    def num_ended(self) -> int:
        """Trials, other than baselines, that count towards the study's number and have ended."""
        return num_counted(self.study)

    def best(self, max_latency_ms: float) -> TrialRecord | None:
        """The best finished trial within a budget."""
        return best_trial(self.study, max_latency_ms)

    def count(self, state: TrialState) -> int:
        """Trials in a state."""
        return sum(trial.state is state for trial in self.study.trials)

    def remaining_s(self, now_s: float) -> float | None:
        """Seconds left at this session's pace; None before its first trial has ended."""
        ended = self.num_ended - self.num_ended_before
        if ended < 1:
            return None
        return (now_s - self.started_s) / ended * max(0, self.study.num_trials - self.num_ended)


def planned_epochs(trial: TrialRecord, study: StudyRecord) -> int:
    """Epochs of a trial that is not stopped early."""
    return int(trial.config.get("training", {}).get("epochs", study.num_epochs))


def duration(seconds: float) -> str:
    """`45 s`, `3 min 05 s`, `2 h 10 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
