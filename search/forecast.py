"""What a search will cost, from what a trial's parts cost and how many epochs trials train. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from search.config import ExperimentConfig
from search.elastic_search_config import SearchMode
from search.records import StudyRecord, TrialState
from search.search_config import PrunerName
from search.shortened_training import shortened

MIN_TRIALS = 8
"""Ended trials from which a study's own share of epochs is believed."""
NUM_RESAMPLES = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class Interval:
    """From `low` to `high`; `middle` where anything speaks for a value within."""

    low: float
    high: float
    middle: float | None = None

    def __post_init__(self) -> None:
        if not self.low <= (self.low if self.middle is None else self.middle) <= self.high:
            raise ValueError(f"An interval needs low <= middle <= high, but got {self}.")

    def plus(self, other: Interval | float) -> Interval:
        """The sum of both; its middle is unknown where one of theirs is."""
        if not isinstance(other, Interval):
            other = Interval(low=other, high=other, middle=other)
        middle = None if self.middle is None or other.middle is None else self.middle + other.middle
        return Interval(low=self.low + other.low, high=self.high + other.high, middle=middle)

    def divided(self, divisor: float) -> Interval:
        """By a positive number."""
        middle = None if self.middle is None else self.middle / divisor
        return Interval(low=self.low / divisor, high=self.high / divisor, middle=middle)


@dataclass(frozen=True, kw_only=True, slots=True)
class KeptShare:
    """How much of the epochs behind the sure ones trials train (0 to 1), and how that is known."""

    share: Interval
    source: str


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialSeconds:
    """Seconds of one trial's parts, of the fastest and the slowest configuration that is likely to be trained."""

    epoch: Interval
    warm_up: float
    start: float


@dataclass(frozen=True, kw_only=True, slots=True)
class ElasticLoad:
    """Elastic trials that are still to come: how many, of how many epochs, and the seconds of their parts."""

    num_trials: int
    num_epochs: int
    epoch: Interval
    start: float
    pricing: float

    @property
    def seconds(self) -> Interval:
        """Of all of them, one after the other; they are taken to be trained in full."""

        def at(epoch_s: float) -> float:
            return self.num_trials * (self.num_epochs * epoch_s + self.start + self.pricing)

        epoch = self.epoch
        return Interval(
            low=at(epoch.low), high=at(epoch.high), middle=None if epoch.middle is None else at(epoch.middle)
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Forecast:
    """Trials that will end, epochs that they will train together, and hours until the last one does."""

    num_trials: int
    num_epochs: Interval
    trial_hours: Interval
    hours: Interval
    kept: KeptShare


def as_trained(experiment: ExperimentConfig) -> ExperimentConfig:
    """The experiment as its schedules are trained: from elastic weights they have fewer epochs."""
    search, training = experiment.search, experiment.training
    if search.mode is SearchMode.ELASTIC or not experiment.has_elastic_trials:
        return experiment
    return experiment.model_copy(
        update={"training": shortened(training, search.elastic.epochs_of_contender(training.epochs))}
    )


def sure_epochs(experiment: ExperimentConfig) -> int:
    """Epochs that every trial trains: those of grace and the one after which it is judged first, or all unpruned."""
    search, epochs = experiment.search, experiment.training.epochs
    if search.pruner is PrunerName.NONE:
        return epochs
    return min(search.grace(experiment.training.freeze_epochs) + 1, epochs)


def prior_kept_share(experiment: ExperimentConfig) -> KeptShare:
    """Before anything is known: from trials that are all stopped as early as can be to trials that none is."""
    if sure_epochs(experiment) >= experiment.training.epochs:
        return KeptShare(share=Interval(low=1.0, high=1.0, middle=1.0), source="nothing can be stopped early")
    return KeptShare(
        share=Interval(low=0.0, high=1.0),
        source="nothing is known of it yet: from all trials, as early as can be, to none",
    )


def kept_share_of(num_epochs: Iterable[float], *, sure: int, epochs: int, source: str) -> KeptShare | None:
    """From the epochs that trials trained, with the 90 % interval of their mean; None where that says too little.

    Args:
        num_epochs: of each trial that ended by itself or by the pruner.
        sure: epochs that each of them trained unless it could not be trained at all.
        epochs: of one that is trained to the end.
        source: where they come from.
    """
    shares = np.array([(min(num, epochs) - sure) / (epochs - sure) for num in num_epochs if num >= sure < epochs])
    if len(shares) < MIN_TRIALS:
        return None
    rng = np.random.default_rng(0)
    means = rng.choice(shares, size=(NUM_RESAMPLES, len(shares))).mean(axis=1)
    low, high = np.quantile(means, [0.05, 0.95])
    middle = float(np.clip(shares.mean(), low, high))
    return KeptShare(share=Interval(low=float(low), high=float(high), middle=middle), source=source)


def kept_share_of_study(study: StudyRecord, experiment: ExperimentConfig) -> KeptShare | None:
    """From the study's own trials, if enough of them have ended."""
    ended = {TrialState.COMPLETE, TrialState.PRUNED}
    counted = [t for t in study.trials if t.state in ended and t.origin.is_counted]
    return kept_share_of(
        (trial.num_epochs for trial in counted),
        sure=sure_epochs(experiment),
        epochs=experiment.training.epochs,
        source=f"the {len(counted)} trials of this study that have ended",
    )


def forecast(
    experiment: ExperimentConfig,
    seconds: TrialSeconds,
    kept: KeptShare,
    *,
    num_at_once: float,
    num_done: int = 0,
    elastic: ElasticLoad | None = None,
) -> Forecast:
    """The cost of the trials that are still to come, the fixed schedule's among them.

    Elastic trials run first and by themselves, as many at once as there are of them; schedules follow.

    Args:
        experiment: how many trials, with how many epochs.
        seconds: what the parts of a schedule's trial take.
        kept: how many of the epochs schedules train.
        num_at_once: trials that run side by side at full speed.
        num_done: trials that have ended already.
        elastic: the elastic trials of a search that has some.
    """
    search, trained = experiment.search, as_trained(experiment)
    sure, epochs = sure_epochs(trained), trained.training.epochs
    num_sampled = max(0, search.num_schedules - num_done)
    num_fixed = 0 if num_done or not experiment.pruning.schedule(depth=1000).stages else 1
    num_trials = num_sampled + num_fixed

    def epochs_at(share: float) -> float:
        return num_fixed * experiment.training.epochs + num_sampled * (sure + share * (epochs - sure))

    def hours_at(share: float, epoch_s: float) -> float:
        return (epochs_at(share) * epoch_s + num_trials * seconds.start + seconds.warm_up) / 3600.0

    num_epochs = Interval(
        low=epochs_at(kept.share.low),
        high=epochs_at(kept.share.high),
        middle=None if kept.share.middle is None else epochs_at(kept.share.middle),
    )
    trial_hours = Interval(
        low=hours_at(kept.share.low, seconds.epoch.low),
        high=hours_at(kept.share.high, seconds.epoch.high),
        middle=None
        if kept.share.middle is None or seconds.epoch.middle is None
        else hours_at(kept.share.middle, seconds.epoch.middle),
    )
    hours = trial_hours.divided(min(num_at_once, max(1, num_trials)))
    if elastic is not None:
        elastic_hours = elastic.seconds.divided(3600.0)
        num_trials += elastic.num_trials
        num_epochs = num_epochs.plus(elastic.num_trials * elastic.num_epochs)
        trial_hours = trial_hours.plus(elastic_hours)
        hours = hours.plus(elastic_hours.divided(min(num_at_once, max(1, elastic.num_trials))))
    return Forecast(
        num_trials=num_trials,
        num_epochs=num_epochs,
        trial_hours=trial_hours,
        hours=hours,
        kept=kept,
    )
