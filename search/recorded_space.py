"""The search space of a recorded study: parameters that were recorded mean the trial that was trained with them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any

from search.conditions import Values
from search.config import ExperimentConfig
from search.recorded import RecordedStudy, RecordedTrial
from search.records import Latency
from search.space import SearchSpace
from spvit.schedule import TokenPlan
from trainers.config import TrialConfig

NEVER = Latency(mean_ms=math.inf, low_ms=math.inf, high_ms=math.inf)


def params_key(params: Mapping[str, Any]) -> str:
    """Equal for equal parameters, in whatever order they are."""
    return json.dumps(dict(params), sort_keys=True)


class RecordedSpace(SearchSpace):
    """A study may have trained another network than its sampler drew, one widened to its budget: that one counts.

    Trials whose training would have been a waste, since it repeats an earlier one's, are left out.

    Args:
        config: the experiment that is replayed.
        recorded: the study.
    """

    def __init__(self, config: ExperimentConfig, recorded: RecordedStudy) -> None:
        self._configs: dict[str, TrialConfig] = {}
        super().__init__(config, recorded.geometry)
        self.trials = self._distinct(recorded)
        self._by_params = {params_key(trial.params): trial for trial in self.trials}

    def network_of_params(self, params: Mapping[str, Any]) -> TokenPlan:
        """The network of the trial that parameters mean."""
        return self.network_of(self.trial_config(params))

    def identity_of_params(self, params: Mapping[str, Any], network: TokenPlan) -> str:
        """The identity of the trial that parameters mean."""
        del network
        return self.identity(self.trial_config(params))

    def recorded(self, params: Mapping[str, Any]) -> RecordedTrial:
        """The trial with these parameters.

        Raises:
            KeyError: there is none.
        """
        return self._by_params[params_key(params)]

    def price(self, plan: TokenPlan) -> Latency:
        """What a network was recorded to cost; more than any budget for others."""
        return self._prices.get(plan, NEVER)

    @cached_property
    def _prices(self) -> dict[TokenPlan, Latency]:
        return {self.network_of(self.trial_config(trial.params)): trial.latency for trial in self.trials}

    def _config(self, params: Mapping[str, Any], values: Values) -> TrialConfig:
        """The trial that was trained; what the parameters mean by themselves where they were not recorded."""
        return self._configs.get(params_key(params)) or super()._config(params, values)

    def _distinct(self, recorded: RecordedStudy) -> tuple[RecordedTrial, ...]:
        kept: dict[str, RecordedTrial] = {}
        for whole in recorded.trials:
            config = TrialConfig.model_validate(whole.config)
            # A study may have asked for what has no effect; a search does not.
            trial = replace(whole, params=self._asked(whole.params))
            if kept.setdefault(self.identity(config), trial) is trial:
                self._configs[params_key(trial.params)] = config
        return tuple(kept.values())
