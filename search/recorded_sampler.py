"""Any Optuna sampler, held to the configurations that were recorded.

A proposal is moved to the nearest recorded configuration that was not tried yet, before anybody judges it, and what the
sampler is told of is the configuration that it was moved to. So a model of quality never learns a value in a wrong
place. A proposal that was drawn at random, as all are before a model is used, becomes a recorded one drawn at random:
moving it would prefer configurations that lie apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from search.parameters import Branch, ParameterSpace, Params
from search.recorded_space import RecordedSpace, params_key


class RecordedParameters(ParameterSpace):
    """A space that consists of recorded configurations: whoever draws from it gets them all."""

    def __init__(self, configurations: Sequence[Mapping[str, Any]], branches: Sequence[Branch]) -> None:
        super().__init__(branches)
        self.configurations = tuple(configurations)
        self.keys = tuple(params_key(params) for params in self.configurations)
        self._encoded = self.encode(self.configurations)

    @classmethod
    def of_space(cls, space: RecordedSpace) -> RecordedParameters:
        """Every configuration of a recorded study, a branch for each set of names."""
        branches: dict[frozenset[str], Branch] = {}
        for trial in space.trials:
            drawn_from = space.distributions(trial.params)
            branches.setdefault(frozenset(trial.params), Branch(distributions=drawn_from, excluded={}))
        return cls([dict(trial.params) for trial in space.trials], list(branches.values()))

    def draw(self, rng: np.random.Generator, num: int) -> list[Params]:
        """All of them, whatever is asked for."""
        del rng, num
        return [dict(params) for params in self.configurations]

    def perturbed(self, rng: np.random.Generator, params: Mapping[str, Any], num: int) -> list[Params]:
        """None: what is near is among those drawn."""
        del rng, params, num
        return []

    def distances(self, params: Mapping[str, Any]) -> NDArray[np.float64]:
        """(num_configurations,): how far parameters lie from each, 0 to 1.

        The mean over what the configuration has: of numbers their distance as a share of the range, on its own scale,
        of categories 0 if equal and else 1.
        """
        gaps = np.abs(self._encoded - self.encode([params]))
        return np.asarray(np.nanmean(np.where(self.is_category, np.sign(gaps), gaps), axis=1), dtype=np.float64)


class RecordedSampler(BaseSampler):  # type: ignore[misc]  # Optuna is not followed by mypy here
    """Makes another sampler propose recorded configurations only, each of them once.

    Args:
        inner: whose proposals are moved.
        recorded: where to.
        is_feasible: (num_configurations,): whether the budget admits them.
        seed: of the configurations drawn at random.
    """

    def __init__(
        self, inner: BaseSampler, recorded: RecordedParameters, *, is_feasible: NDArray[np.bool_], seed: int
    ) -> None:
        self._inner = inner
        self._recorded = recorded
        self._is_feasible = is_feasible
        self._seed = seed

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """As the inner sampler does."""
        self._inner.before_trial(study, trial)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        """As the inner sampler does."""
        self._inner.after_trial(study, trial, state, values)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Every parameter, so that a configuration is proposed as a whole."""
        del study, trial
        return dict(self._recorded.distributions)

    def sample_relative(self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]) -> Params:
        """A recorded configuration that no other trial has; any if all were tried."""
        inner_space = self._inner.infer_relative_search_space(study, trial)
        drawn = self._inner.sample_relative(study, trial, inner_space)
        untried = self._untried(study, trial)
        if not drawn:  # drawing until something is within the budget is drawing from what is
            feasible = untried[self._is_feasible[untried]]
            return self._copy(int(np.random.default_rng(self._seed).choice(feasible if len(feasible) else untried)))
        for name, distribution in search_space.items():
            if name not in drawn:
                drawn[name] = self._inner.sample_independent(study, trial, name, distribution)
        return self._copy(int(untried[np.argmin(self._recorded.distances(drawn)[untried])]))

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """What the inner sampler draws; asked for only where a trial was given some of its parameters beforehand."""
        return self._inner.sample_independent(study, trial, param_name, param_distribution)

    def _untried(self, study: Study, trial: FrozenTrial) -> NDArray[np.intp]:
        """Indices of configurations that are no other trial's; a failed one, such as a rejected draw, is nobody's."""
        tried = {
            params_key(other.params)
            for other in study.get_trials(deepcopy=False)
            if other.state is not TrialState.FAIL and other.number != trial.number
        }
        keys = self._recorded.keys
        return np.array([i for i, key in enumerate(keys) if key not in tried] or range(len(keys)), dtype=np.intp)

    def _copy(self, index: int) -> Params:
        return dict(self._recorded.configurations[index])
