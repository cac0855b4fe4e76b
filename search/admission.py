"""Which configurations may become trials: those within the budget that were not tried before."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from search.budget import LatencyBudget, Price
from search.proposal import Proposal
from search.records import Rejection
from search.seen_trials import SeenTrials
from search.space import SearchSpace
from trainers.config import TrialConfig


class Admission:
    """Judges configurations by their price and by what was tried.

    Args:
        space: that they are drawn from.
        price: what networks cost; remembers, since it is asked for the same ones again and again.
        budget: what a trial may take.
    """

    def __init__(self, space: SearchSpace, *, price: Price, budget: LatencyBudget) -> None:
        self._space, self._price, self._budget = space, price, budget
        self._seen = SeenTrials(space)

    def note(self, config: TrialConfig) -> None:
        """A configuration was proposed, or is of the study that goes on."""
        self._seen.add(config)

    def judge(self, config: TrialConfig, params: Mapping[str, Any]) -> Proposal | Rejection:
        """A configuration as a proposal, drawn as these parameters, or why it cannot be one."""
        if config in self._seen:
            return Rejection.DUPLICATE
        plan = self._space.network_of(config)
        latency = self._price(plan)
        if not self._budget.admits(latency):
            return Rejection.TOO_SLOW
        return Proposal(config=config, plan=plan, latency=latency, params=dict(params))

    def accepts(self, params: Mapping[str, Any]) -> bool:
        """Whether `judge` would make a proposal of parameters as they were drawn, without a configuration."""
        network = self._space.network_of_params(params)
        return self._budget.admits(self._price(network)) and not self._seen.has(params, network)

    def latency_ms(self, params: Mapping[str, Any]) -> float:
        """What the network that parameters mean is predicted to take."""
        return self._price(self._space.network_of_params(params)).mean_ms
