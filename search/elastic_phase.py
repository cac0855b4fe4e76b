"""The elastic trials of a search: which are due, what they are worth, and whose weights are gone on from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from search.budget import LatencyBudget, Price
from search.config import ExperimentConfig
from search.draws import draws
from search.elastic_estimate import ElasticEstimate
from search.elastic_front import ElasticFront, front_of
from search.elastic_proposals import next_settings
from search.elastic_trial import elastic_trial, settings_space
from search.proposal import Proposal
from search.records import Latency, Origin, TrialRecord
from search.retries import trials_to_retry
from search.space import SearchSpace
from spvit.schedule import PruningSchedule, TokenPlan
from trainers.config import LatencyTarget, TrialConfig
from trainers.metrics import PricedSchedule

NUM_LOOKS = 64
"""Draws from which it is told whether there are as many settings as elastic trials are asked for."""


@dataclass(frozen=True, kw_only=True)
class ElasticPhase:
    """What a search does before it trains single schedules.

    Attributes:
        experiment: the search.
        space: all that it explores.
        price: of networks on the device.
        budget: what is admitted.
        dense_ms: latency of the unpruned model.
        curves: of the latency table, by which a training draws its schedules.
    """

    experiment: ExperimentConfig
    space: SearchSpace
    price: Price
    budget: LatencyBudget
    dense_ms: float
    curves: LatencyTarget | None

    def num_due(self, trials: Sequence[TrialRecord]) -> int:
        """Elastic trials that have not been begun."""
        return max(0, self._num_asked - len(_begun(trials)))

    def next(self, trials: Sequence[TrialRecord]) -> Proposal | None:
        """The next elastic trial; None where all were begun."""
        begun = _begun(trials)
        if not self.num_due(trials):
            return None
        if self._settings is None:
            return self._proposal(self.config, {})
        found = next_settings(self._settings, begun, seed=self.experiment.study.seed, turn=len(begun))
        return None if found is None else self._proposal(self._with_settings(found[1]), dict(found[0]))

    def is_over(self, trials: Sequence[TrialRecord]) -> bool:
        """Whether every elastic trial was begun and has ended for good."""
        elastic = _elastic(trials)
        running = any(not trial.state.is_finished for trial in elastic)
        return not running and not trials_to_retry(elastic) and self.next(trials) is None

    def front(self, trial: TrialRecord, priced: Sequence[PricedSchedule]) -> ElasticFront:
        """What an elastic trial's epoch found, within the budget."""
        config = TrialConfig.model_validate(trial.config)
        return front_of(
            priced,
            latency=lambda schedule: self.price(self._plan(schedule, config)),
            budget=self.budget,
            lowest_ms=self._lowest_ms,
        )

    def estimate(self, trial: TrialRecord) -> ElasticEstimate | None:
        """What an elastic trial says of any schedule; None where it evaluated too few."""
        return ElasticEstimate.of_trial(trial, self.space.geometry)

    @cached_property
    def config(self) -> TrialConfig:
        """The elastic trial with the file's own settings."""
        return elastic_trial(
            self.experiment, self.space, budget=self.budget, dense_ms=self.dense_ms, latency=self.curves
        )

    @cached_property
    def _settings(self) -> SearchSpace | None:
        return settings_space(self.experiment, self.space.geometry, self.config)

    @cached_property
    def _num_asked(self) -> int:
        """No more than there are settings: with nothing to explore one is all."""
        if self._settings is None:
            return 1
        settings = self._settings
        drawn = [draw.config for draw in draws(settings, self.price, num=NUM_LOOKS)]
        num_settings = len({settings.identity(config) for config in (settings.default, *drawn)})
        return min(self.experiment.search.elastic.num_exploring, num_settings)

    @cached_property
    def _lowest_ms(self) -> float:
        return min(self.price(self.space.network_of(trial)).mean_ms for trial in self.space.fastest())

    def _with_settings(self, drawn: TrialConfig) -> TrialConfig:
        """The elastic trial with the settings that were drawn; its epochs and its schedule are its own."""
        own = self.config
        schedule = {"schedule": own.pruning.schedule}
        epochs = {"epochs": own.training.epochs, "warmup_epochs": own.training.warmup_epochs}
        if "freeze_epochs" not in self._settings_names:
            epochs["freeze_epochs"] = own.training.freeze_epochs
        return own.model_copy(
            update={
                "pruning": drawn.pruning.model_copy(update=schedule),
                "losses": drawn.losses,
                "training": drawn.training.model_copy(update=epochs),
                "elastic": drawn.elastic,
            }
        )

    @property
    def _settings_names(self) -> tuple[str, ...]:
        return () if self._settings is None else self._settings.names

    def _proposal(self, config: TrialConfig, params: dict[str, object]) -> Proposal:
        cap_ms = self.budget.max_ms
        return Proposal(
            config=config,
            plan=self.space.network_of(config),
            latency=Latency(mean_ms=cap_ms, low_ms=cap_ms, high_ms=cap_ms),  # it serves everything up to the budget
            params=params,
            origin=Origin.ELASTIC,
            label="elastic",
            space=self._settings,
        )

    def _plan(self, schedule: PruningSchedule, config: TrialConfig) -> TokenPlan:
        return schedule.plan(self.space.geometry, config.pruning.package, config.pruning.selector)


def _elastic(trials: Sequence[TrialRecord]) -> list[TrialRecord]:
    return [trial for trial in trials if trial.origin is Origin.ELASTIC]


def _begun(trials: Sequence[TrialRecord]) -> list[TrialRecord]:
    return [trial for trial in _elastic(trials) if trial.retry_of is None]
