"""How far a search is, as a value that grows with its events. Pure: a clock's time comes in from outside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from search.given_start import names_weights
from search.history import num_epochs_trained
from search.records import Origin, Rejection, StudyRecord, TrialRecord, TrialState
from search.search_config import SearchConfig
from search.selection import best_trial
from search.space_parts import settings_of
from search.summary import num_counted
from spvit.options import TokenForm


@dataclass(frozen=True, kw_only=True, slots=True)
class ProgressState:
    """The study as it stands, kept by listening, and when this session began (seconds).

    `num_epochs_before` epochs had been trained before this session: they took none of its time.
    """

    study: StudyRecord
    started_s: float
    num_epochs_before: int = 0

    @classmethod
    def begin(cls, study: StudyRecord, now_s: float) -> ProgressState:
        """At the start of a session."""
        return cls(study=study, started_s=now_s, num_epochs_before=num_epochs_trained(study.trials))

    def with_trial(self, trial: TrialRecord) -> ProgressState:
        """After an event of a trial."""
        return replace(self, study=self.study.with_trial(trial))

    def with_rejections(self, rejections: Mapping[Rejection, int]) -> ProgressState:
        """After proposals were rejected; how many in all, by reason."""
        return replace(self, study=replace(self.study, rejections=dict(rejections)))

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
        """Seconds left at this session's pace; None before its first epoch has ended.

        Trials to come are taken to train as many epochs as those that ended did on average, or as planned while none
        has; elastic trials to come train all of theirs. The experiment's own limit on wall time ends it sooner.
        """
        num_epochs = num_epochs_trained(self.study.trials) - self.num_epochs_before
        if num_epochs < 1:
            return None
        elapsed_s = now_s - self.started_s
        at_pace_s = elapsed_s / num_epochs * self._num_epochs_left()
        limit_s: float | None = self.study.experiment.get("search", {}).get("max_wall_time_s")
        if limit_s is None:
            return at_pace_s
        return min(at_pace_s, max(0.0, limit_s - self.study.usage.wall_s - elapsed_s))

    def _num_epochs_left(self) -> float:
        typical = self._typical_epochs()
        num_to_come = self.study.num_trials - self.num_ended - sum(map(_is_counted, self.running))
        left = [_num_left(trial, self.study, typical) for trial in self.running]
        return max(0, num_to_come) * typical + sum(left) + _elastic_epochs_to_come(self.study)

    def _typical_epochs(self) -> float:
        ended = [t for t in self.study.trials if t.state in {TrialState.COMPLETE, TrialState.PRUNED} and _is_counted(t)]
        if not ended:
            return float(_epochs_of_schedule(self.study))
        return sum(trial.num_epochs for trial in ended) / len(ended)


def _is_counted(trial: TrialRecord) -> bool:
    return trial.origin not in {Origin.BASELINE, Origin.ELASTIC}


def _num_left(trial: TrialRecord, study: StudyRecord, typical: float) -> float:
    """A trial that went on longer than is typical goes on to the end, and so does the baseline."""
    planned = planned_epochs(trial, study)
    expected = typical if _is_counted(trial) and trial.num_epochs < typical else planned
    return max(0.0, min(expected, planned) - trial.num_epochs)


def _elastic_search(study: StudyRecord) -> SearchConfig | None:
    """What a search with elastic trials was asked for; None where it has none. Studies that name no mode are older."""
    values = study.experiment.get("search", {})
    if "mode" not in values or names_weights(study.experiment):
        return None
    search, form = SearchConfig.model_validate(values), study.experiment.get("training", {}).get("form")
    return search if search.has_elastic_trials(TokenForm(form or TokenForm.GATHERED)) else None


def _epochs_of_schedule(study: StudyRecord) -> int:
    """Planned for each: in a search with elastic trials as for the last one, or from their weights before there is one.

    Where no elastic trial was trained to its end, schedules are trained from the backbone, in full.
    """
    search = _elastic_search(study)
    if search is None:
        return study.num_epochs
    begun = [trial for trial in study.trials if _is_counted(trial)]
    return planned_epochs(begun[-1], study) if begun else search.elastic.epochs_of_contender(study.num_epochs)


def _elastic_epochs_to_come(study: StudyRecord) -> int:
    """Of elastic trials that were not begun, or lost; schedules begin after the last one."""
    search = None if any(map(_is_counted, study.trials)) else _elastic_search(study)
    if search is None:
        return 0
    num_begun = sum(trial.state is not TrialState.FAIL for trial in study.elastic)
    return max(0, _num_elastic(search) - num_begun) * search.elastic.elastic_epochs(study.num_epochs)


def _num_elastic(search: SearchConfig) -> int:
    """Elastic trials at most: one where nothing but schedules is explored.

    How many settings there are is known to the driver alone; where they are fewer, so are the trials.
    """
    has_settings = not settings_of(search.space).explores_nothing
    return search.elastic.num_exploring if has_settings or search.space.explores_nothing else 1


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
