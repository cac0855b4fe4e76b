"""The sampler that knows latency, as the proposer asks it: anew for every draw."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.study import Study
from optuna.trial import FrozenTrial

from search.known_latency import KnownLatencySampler
from search.parameters import ParameterSpace, Params
from spvit.errors import NothingFeasibleError


class KnownLatencyDraw(KnownLatencySampler):
    """One draw: its seed already tells trials apart, whose numbers in the proposer's shadow change on a restart.

    Args:
        space: where candidates come from; learned from the trials if None.
        arguments: those of `KnownLatencySampler`.
    """

    def __init__(self, *arguments: Any, space: ParameterSpace | None = None, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._given_space = space

    def rng(self, trial_number: int, *more: int) -> np.random.Generator:
        """Randomness from the seed alone."""
        del trial_number
        return super().rng(0, *more)

    def sample_relative(self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]) -> Params:
        """The proposal; left to chance, and to the proposer's verdict, if nothing seems to be left to propose."""
        try:
            return super().sample_relative(study, trial, search_space)
        except NothingFeasibleError:
            return {}

    def _space(self, trials: Sequence[FrozenTrial]) -> ParameterSpace | None:
        return self._given_space or super()._space(trials)
